// One message: a question and its card. Parts are replaced only when what they show has changed, so that what a person has
// opened, selected or focused stays as it is while the answer grows.

import { call, h, newId, notice } from "./dom.js";

function part(parent, name, value, build) {
  let slot = parent.querySelector(`:scope > [data-part="${name}"]`);
  if (!slot) parent.append((slot = h("div", { "data-part": name })));
  const shown = JSON.stringify(value ?? null);
  if (slot.dataset.shown === shown) return slot;
  slot.dataset.shown = shown;
  const built = build(value);
  slot.hidden = built === null;
  if (built !== null) slot.replaceChildren(...[built].flat());
  return slot;
}

function copyable(pre) {
  pre.tabIndex = 0;
  const button = h("button", { type: "button", className: "copy tiny" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(pre.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  const box = h("div", { className: "block" });
  pre.replaceWith(box);
  box.append(pre, button);
  return box;
}

function code(text, name, className = "") {
  const pre = h("pre", { className, role: "region", "aria-label": name }, h("code", {}, text));
  const holder = h("div", {}, pre);
  copyable(pre);
  return holder.firstChild;
}

function dress(root) {
  root.querySelectorAll("pre").forEach((pre) => {
    pre.setAttribute("role", "region");
    pre.setAttribute("aria-label", "Code or output");
    copyable(pre);
  });
  root.querySelectorAll("table").forEach((table) => {
    const box = h("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Table" });
    table.replaceWith(box);
    box.append(table);
  });
  return root;
}

export const markdown = (html) => (html ? dress(h("div", { className: "text", html })) : null);

// A question's code is folded: what was asked is what one wants to see.
function asked(html) {
  const root = h("div", { className: "text", html });
  root.querySelectorAll("pre").forEach((pre) => {
    const lines = pre.textContent.trimEnd().split("\n").length;
    const folded = h("details", {}, h("summary", {}, `Python, ${lines} line${lines === 1 ? "" : "s"}`));
    pre.replaceWith(folded);
    folded.append(pre);
  });
  return dress(root);
}

function link(file, words, save) {
  const to = save ? { href: `${file.url}&save`, download: file.name } : { href: file.url, target: "_blank", rel: "noopener noreferrer" };
  return h("a", { ...to, "aria-label": `${words} ${file.name}` }, words);
}

function figure(file) {
  const image = h("img", { src: file.url, alt: file.alt, loading: "lazy" });
  return h(
    "figure",
    { className: "figure" },
    h("button", { type: "button", title: "Enlarge", onclick: () => enlarge(file) }, image),
    h("figcaption", {}, h("span", {}, file.name), link(file, "Download", true)),
  );
}

function enlarge(file) {
  const dialog = document.getElementById("zoom");
  Object.assign(dialog.querySelector("img"), { src: file.url, alt: file.alt });
  dialog.showModal();
}

function fileList(files, name) {
  const item = (file) =>
    h(
      "li",
      {},
      h("span", { className: "name" }, file.name),
      h("span", { className: "small" }, file.size),
      file.kind === "page" ? link(file, "Open") : null,
      link(file, "Download", true),
    );
  return h("ul", { className: "files", "aria-label": name }, files.map(item));
}

const isNumber = (text) => /^[-+]?[\d.,]+(e[-+]?\d+)?%?$/i.test(text.trim());

function table({ columns, types, rows, more }) {
  const numeric = columns.map((_, at) => rows.length > 0 && rows.every((row) => isNumber(row[at]) || row[at] === "" || row[at] === "NaN"));
  const cell = (tag) => (text, at) => h(tag, { className: numeric[at] ? "number" : "", ...(tag === "th" ? { scope: "col", title: types[at] ?? "" } : {}) }, text);
  const body = rows.map((row) => h("tr", {}, row.map(cell("td"))));
  const shape = `Table, ${columns.length} columns, ${rows.length} rows`;
  return [
    h(
      "div",
      { className: "scroll", tabIndex: 0, role: "region", "aria-label": shape },
      h("table", {}, h("thead", {}, h("tr", {}, columns.map(cell("th")))), h("tbody", {}, body)),
    ),
    more ? h("p", { className: "small" }, more) : "",
  ];
}

function step(it, number, count) {
  const head = count > 1 ? h("h3", { className: it.state === "failed" ? "failed" : "" }, `${number + 1}. ${it.title}`) : null;
  return h("div", {}, head, code(it.code, `Code of step ${number + 1}`), it.output ? code(it.output, `Output of step ${number + 1}`, "tail") : null);
}

function steps(card) {
  if (!card.steps.length) return null;
  return h("div", { className: "steps" }, card.steps.map((it, number) => step(it, number, card.steps.length)));
}

// What the running step prints, to its end.
function running(it) {
  if (!it) return null;
  const bar = it.progress && h("progress", { max: 1, value: it.progress.value, "aria-label": it.progress.said });
  const tail = it.output ? code(it.output, "Output so far", "tail") : null;
  if (tail) requestAnimationFrame(() => (tail.firstChild.scrollTop = tail.firstChild.scrollHeight));
  return [bar, tail].filter(Boolean);
}

function who(card, stop) {
  const state = h("span", { className: `state ${card.final ? card.state : "working"}` }, card.line);
  return [h("strong", {}, "Cellmate"), state];
}

function answer(box, thread, turn, card) {
  const now = card.steps.at(-1)?.state === "running" ? card.steps.at(-1) : null;
  const head = part(box, "head", "made", () => []);
  head.className = "who";
  part(head, "who", [card.line, card.final, card.state], () => who(card)).className = "name";
  const act = (name) => async () => {
    try {
      const { notice: said } = await call("POST", "/api/actions", { name, thread, turn });
      if (said) notice(markdown(said));
    } catch (problem) {
      notice(problem.message);
    }
  };
  part(head, "actions", card.actions, (actions) => actions.map(({ name, label }) => h("button", { type: "button", onclick: act(name) }, label)));
  part(box, "text", card.html, markdown);
  part(box, "running", now && { output: now.output, progress: now.progress }, running);
  const pictures = card.files.filter((file) => file.kind === "picture");
  part(box, "figures", pictures, (files) => (files.length ? h("div", { className: "figures" }, files.map(figure)) : null));
  part(box, "table", card.table, (value) => (value ? table(value) : null));
  const others = card.files.filter((file) => file.kind !== "picture");
  part(box, "files", others, (files) => (files.length ? fileList(files, "Files of this answer") : null));
  part(box, "notes", card.notes, (notes) => (notes.length ? h("ul", { className: "notes" }, notes.map((note) => h("li", {}, note))) : null));
  const fold = part(box, "fold", card.steps.length > 0, (any) => (any ? h("details", {}, h("summary", {}, "Show code")) : null));
  if (card.steps.length) {
    const details = fold.firstChild;
    details.firstChild.textContent = card.footer ? `Show code · ${card.footer}` : "Show code";
    part(details, "steps", card.steps, () => steps(card));
  }
}

function question(box, thread, turn, it) {
  part(box, "html", it.html, (html) => (html ? asked(html) : []));
  part(box, "files", it.files, (files) => (files.length ? fileList(files, "Attached files") : null));
  const tools = part(box, "tools", it.text, () => [
    h("button", { type: "button", className: "quiet tiny", "aria-label": "Edit this question", onclick: () => edit(box, turn, it) }, "Edit"),
  ]);
  tools.className = "tools";
}

// The question as a text field. Too late to change it: the sentence that says so, and the new wording can be asked anew.
function edit(box, turn, it) {
  if (box.querySelector(".editor")) return;
  const field = h("textarea", { value: it.text, "aria-label": "The question's new wording" });
  const said = h("p", { className: "small", role: "alert" });
  const close = () => {
    form.remove();
    for (const child of box.children) child.classList.remove("hidden");
    box.querySelector(".tools button").focus();
  };
  const attempt = (work) => async (event) => {
    event.preventDefault();
    try {
      await work();
    } catch (problem) {
      said.textContent = problem.message;
    }
  };
  const anew = h("button", { type: "button", hidden: true, onclick: attempt(async () => {
    await call("POST", `/api/questions/${turn}/again`, { id: newId(), text: field.value });
    close();
  }) }, "Ask it anew");
  const form = h(
    "form",
    { className: "editor", onsubmit: attempt(async () => {
      const { late } = await call("PUT", `/api/questions/${turn}`, { text: field.value });
      if (!late) return close();
      said.textContent = late;
      anew.hidden = false;
      anew.focus();
    }), onkeydown: (event) => event.key === "Escape" && close() },
    field,
    h("div", { className: "row" }, h("button", { className: "primary" }, "Run again"), h("button", { type: "button", onclick: close }, "Cancel"), anew),
    said,
  );
  for (const child of box.children) child.classList.add("hidden");
  box.append(form);
  field.focus();
}

// Bring a message's element up to date; a new one when there is none.
export function show(element, thread, { turn, question: asks, card }) {
  const item = element ?? h("li", { id: `turn-${turn}` });
  if (asks) {
    const box = part(item, "question", "made", () => []);
    box.className = "question";
    question(box, thread, turn, asks);
  }
  if (card) {
    const box = part(item, "answer", "made", () => []);
    box.className = "answer";
    answer(box, thread, turn, card);
  }
  return item;
}
