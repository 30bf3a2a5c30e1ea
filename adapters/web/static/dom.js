// What every module needs: elements, requests, ids.

export const $ = (id) => document.getElementById(id);

// An element. Text is set as text; only `html`, which the server has rendered with HTML switched off, is parsed.
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "html") element.innerHTML = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(10)), (b) => b.toString(16).padStart(2, "0")).join("");

// A request; its JSON. Throws an Error whose message is for the person.
export async function call(method, path, body) {
  const raw = body instanceof Blob;
  let response;
  try {
    response = await fetch(path, { method, body: raw || body === undefined ? body : JSON.stringify(body) });
  } catch {
    throw new Error("Cellmate is not answering. What you wrote is still here: send it again when it is back.");
  }
  const type = response.headers.get("Content-Type") ?? "";
  const answer = type.startsWith("application/json") ? await response.json() : null;
  if (!response.ok) throw new Error(answer?.error ?? (await response.text().catch(() => "")) ?? response.statusText);
  return answer;
}

export function say(words) {
  $("status").textContent = words;
}

// Something for the person alone, above the composer, until it is put away.
export function notice(content, ...more) {
  const box = $("notice");
  box.hidden = !content;
  if (!content) return box.replaceChildren();
  const text = typeof content === "string" ? h("div", {}, content) : content;
  box.replaceChildren(text, ...more, h("button", { type: "button", className: "quiet tiny", onclick: () => notice("") }, "Dismiss"));
}
