// Where one asks: text, files by button, drop and paste.

import { $, call, h, notice } from "./dom.js";

let most = Infinity;
const chips = new Map(); // by key, what is attached: {name, id} once uploaded

export function limit(bytes) {
  most = bytes;
}

function draw() {
  $("chips").hidden = chips.size === 0;
  const item = ([key, it]) =>
    h(
      "li",
      {},
      h("span", { className: "name" }, it.name),
      it.id ? null : h("span", { className: "small" }, "uploading…"),
      h("button", { type: "button", className: "quiet tiny", "aria-label": `Remove ${it.name}`, onclick: () => remove(key) }, "Remove"),
    );
  $("chips").replaceChildren(...[...chips].map(item));
}

function remove(key) {
  chips.delete(key);
  draw();
  $("text").focus();
}

async function add(file) {
  if (file.size > most) return notice(`${file.name} is too large: a file may have ${Math.round(most / 2 ** 20)} MiB here.`);
  const key = Symbol(file.name);
  const it = { name: file.name };
  it.done = call("POST", `/api/uploads?name=${encodeURIComponent(file.name)}`, file.slice()).then(
    ({ id }) => (it.id = id),
    (problem) => {
      chips.delete(key);
      notice(`${file.name} was not taken. ${problem.message}`);
    },
  );
  chips.set(key, it);
  draw();
  await it.done;
  draw();
}

export const attach = (files) => Promise.all([...files].map(add));

// `ask` sends; what was written and attached stays until it has.
export function start(ask) {
  const form = $("composer"), text = $("text");
  let sending = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (sending || (!text.value.trim() && chips.size === 0)) return text.focus();
    sending = $("send").disabled = true;
    try {
      const chosen = new Map(chips);
      await Promise.all([...chosen.values()].map((it) => it.done));
      const uploads = [...chosen.values()].map((it) => it.id).filter(Boolean);
      if (uploads.length < chosen.size) return; // one was not taken, and a notice says why
      const wording = text.value;
      notice("");
      await ask(wording, uploads);
      for (const key of chosen.keys()) chips.delete(key);
      if (text.value === wording) text.value = "";
      draw();
    } catch (problem) {
      notice(problem.message);
    } finally {
      sending = $("send").disabled = false;
      text.focus();
    }
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  $("attach").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => {
    attach($("files").files);
    $("files").value = "";
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length === 0) return;
    event.preventDefault();
    attach(event.clipboardData.files);
  });
  let depth = 0;
  const over = (change) => (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    depth = Math.max(0, depth + change);
    $("drop").hidden = depth === 0;
  };
  document.addEventListener("dragenter", over(1));
  document.addEventListener("dragover", over(0));
  document.addEventListener("dragleave", over(-1));
  document.addEventListener("drop", (event) => {
    over(-depth)(event);
    const isFolder = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()?.isDirectory);
    const files = [...event.dataTransfer.files].filter((_, at) => !isFolder[at]);
    if (files.length < event.dataTransfer.files.length) notice("A folder cannot be attached. Drop the files in it, or an archive of it.");
    attach(files);
    text.focus();
  });
}
