// Set-up while it goes on, and the check-up.

import { $, call, h, notice, say } from "./dom.js";

const WORDS = { waiting: "waits", running: "under way", asking: "your choice", done: "ready", failed: "failed" };
const post = (body) => call("POST", "/api/setup", body).catch((problem) => notice(problem.message));
let stages = [];

function elapsed({ state, since, seconds }) {
  const count = state === "done" ? seconds : state === "running" ? Date.now() / 1000 - since : 0;
  return count >= 1 ? `${Math.floor(count)} s` : "";
}

function stage(it) {
  const bar = it.total ? h("progress", { max: it.total, value: it.done ?? 0, "aria-label": `${it.title}, fetched` }) : null;
  const choices = it.choices.map(({ value, label }) => h("button", { type: "button", onclick: () => post({ choice: value }) }, label));
  return h(
    "li",
    { className: it.state },
    h("span", { className: "mark", "aria-hidden": "true" }, { done: "✓", failed: "✗", asking: "?" }[it.state] ?? "·"),
    h("div", {},
      h("p", {}, h("strong", {}, it.title), ` ${WORDS[it.state]} `, h("span", { className: "small", id: `elapsed-${it.name}` }, elapsed(it))),
      it.said ? h("p", { className: "small" }, it.said, it.bytes ? ` · ${it.bytes}` : "") : null,
      bar,
      choices.length ? h("div", { className: "row" }, choices) : null,
      it.log ? h("pre", { tabIndex: 0, role: "region", "aria-label": "What was tried" }, it.log) : null,
      it.state === "failed" ? h("button", { type: "button", onclick: () => post({}) }, "Try again") : null,
    ),
  );
}

function line() {
  const open = stages.find(({ state }) => state === "failed") ?? stages.find(({ state }) => state === "asking") ?? stages.find(({ state }) => state === "running");
  if (!open) return "Set-up";
  return `Setting up: ${open.title.toLowerCase()} ${WORDS[open.state]} ${elapsed(open)}`;
}

export function setup(now) {
  const was = new Map(stages.map(({ name, state }) => [name, state]));
  for (const { name, title, state } of now)
    if (was.size && was.get(name) !== state && state !== "running") say(`${title}: ${WORDS[state]}`);
  const shown = stages.some(({ state }) => state !== "done");
  stages = now;
  const busy = now.some(({ state }) => state !== "done");
  $("setup").hidden = !busy;
  if (busy && !shown) $("setup").open = true;
  $("setup-line").textContent = line();
  $("stages").replaceChildren(...now.map(stage));
  const model = now.find(({ name }) => name === "model");
  $("answers").textContent =
    model?.state === "done" ? `Questions are answered by: ${model.said.replace(/\.$/, "")}.` : model ? "" : "No language model is set up: code is run as you write it.";
}

// Seconds go on without the server.
setInterval(() => {
  if ($("setup").hidden) return;
  $("setup-line").textContent = line();
  for (const it of stages) $(`elapsed-${it.name}`).textContent = elapsed(it);
}, 1000);

const finding = ({ check, state, said, remedy }) =>
  h(
    "li",
    { className: state },
    h("span", { className: "mark", "aria-hidden": "true" }, { ok: "✓", warn: "!", fail: "✗" }[state]),
    h("div", {}, h("p", {}, h("strong", {}, check), ` ${{ ok: "well", warn: "warning", fail: "failed" }[state]}`), h("p", { className: "small" }, said), remedy ? h("pre", { tabIndex: 0, role: "region", "aria-label": `Remedy: ${check}` }, remedy) : null),
  );

$("doctor").addEventListener("click", async () => {
  $("findings").replaceChildren();
  $("checkup-busy").textContent = "Trying everything that Cellmate needs …";
  $("checkup").showModal();
  try {
    const findings = await call("POST", "/api/doctor", {});
    $("findings").replaceChildren(...findings.map(finding));
    const bad = findings.filter(({ state }) => state === "fail").length;
    $("checkup-busy").textContent = bad ? `${bad} of ${findings.length} checks failed.` : `${findings.length} checks, none failed.`;
  } catch (problem) {
    $("checkup-busy").textContent = problem.message;
  }
});
