// The page: which thread is shown, the list at the side, and what the server tells.

import { attach, limit, start } from "./composer.js";
import { $, call, h, newId, notice, say } from "./dom.js";
import { markdown, show } from "./message.js";
import { setup } from "./setup.js";

let thread = null; // the one shown; null: a new one
const opened = () => decodeURIComponent(location.hash.match(/^#\/(.+)$/)?.[1] ?? "") || null;

function atEnd(work) {
  const view = $("view");
  const near = view.scrollHeight - view.scrollTop - view.clientHeight < 120;
  const result = work();
  if (near) view.scrollTop = view.scrollHeight;
  return result;
}

function put(message) {
  atEnd(() => {
    const known = $(`turn-${message.turn}`);
    const item = show(known, thread, message);
    if (!known) $("messages").append(item);
    $("welcome").hidden = true;
  });
}

// Said once when a turn ends or begins, never while text streams.
const told = new Map();
function tell({ turn, card }) {
  if (!card || told.get(turn) === card.final) return;
  told.set(turn, card.final);
  const words = h("div", { html: card.html }).textContent.trim().slice(0, 300);
  const figures = card.files.map((file) => file.alt ?? file.name).join(". ");
  say(card.final ? `Answer: ${words || card.line || "done"} ${figures}` : "Working on it.");
}

function list(threads) {
  const item = ({ id, title, busy }) =>
    h(
      "li",
      {},
      h(
        "a",
        { href: `#/${id}`, "aria-current": id === thread ? "page" : null, title },
        h("span", {}, title),
        busy ? h("span", { className: "busy", role: "img", "aria-label": "working" }) : null,
      ),
    );
  const shown = JSON.stringify([threads, thread]);
  if ($("threads").dataset.shown === shown) return;
  $("threads").dataset.shown = shown;
  const focused = document.activeElement?.closest("#threads a")?.getAttribute("href");
  $("threads").replaceChildren(...threads.map(item));
  if (focused) $("threads").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  const current = threads.find(({ id }) => id === thread);
  $("title").textContent = current?.title ?? "New thread";
  document.title = current ? `${current.title} · Cellmate` : "Cellmate";
}

async function open(id, fresh) {
  const changed = id !== thread;
  thread = id;
  if (changed) {
    $("messages").replaceChildren();
    told.clear();
    notice("");
  }
  $("welcome").hidden = id !== null;
  list(await call("GET", "/api/threads"));
  if (id === null || fresh) return;
  try {
    const { messages } = await call("GET", `/api/threads/${encodeURIComponent(id)}`);
    if (id !== thread) return;
    for (const message of messages) {
      if (message.card) told.set(message.turn, message.card.final);
      put(message);
    }
    if (changed) $("view").scrollTop = $("view").scrollHeight;
  } catch (problem) {
    notice(problem.message);
  }
}

// A first question begins the thread it is asked in.
async function inThread(work) {
  const id = thread ?? newId();
  const began = thread === null;
  if (began) thread = id;
  try {
    const answer = await work(id);
    if (answer.notice !== undefined) {
      if (began) thread = null;
      if (answer.notice) notice(markdown(answer.notice));
      return;
    }
    $("view").scrollTop = $("view").scrollHeight;
    if (began) {
      history.replaceState(null, "", `#/${id}`);
      open(id).catch((problem) => notice(problem.message)); // not awaited: the next question may be sent at once
    }
  } catch (problem) {
    if (began) thread = null;
    throw problem;
  }
}

// A tab that nobody sees lets go of its connection: a browser keeps six to one host, and a person may open more tabs.
let events = null;
let offline = null;
function listen() {
  if (events || document.hidden) return;
  events = new EventSource("/api/events");
  events.addEventListener("hello", (event) => {
    clearTimeout(offline);
    $("offline").hidden = true;
    limit(JSON.parse(event.data).most);
    open(opened()).catch((problem) => notice(problem.message));
  });
  events.addEventListener("setup", (event) => setup(JSON.parse(event.data)));
  events.addEventListener("threads", (event) => list(JSON.parse(event.data)));
  events.addEventListener("message", (event) => {
    const { thread: id, message } = JSON.parse(event.data);
    if (id !== thread) return;
    put(message);
    tell(message);
  });
  events.addEventListener("error", () => {
    clearTimeout(offline);
    offline = setTimeout(() => ($("offline").hidden = false), 1500);
    if (events?.readyState === EventSource.CLOSED) {
      events = null;
      setTimeout(listen, 2000);
    }
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(offline);
    events?.close();
    events = null;
  } else listen();
});

function theme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const label = () => {
    $("theme").textContent = isDark() ? "Light" : "Dark";
    $("theme").setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  if (localStorage.theme) root.dataset.theme = localStorage.theme;
  $("theme").addEventListener("click", () => {
    root.dataset.theme = localStorage.theme = isDark() ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);
  label();
}

function menu(shown) {
  $("side").classList.toggle("open", shown);
  $("menu").setAttribute("aria-expanded", String(shown));
}

start((text, uploads) => inThread((id) => call("POST", "/api/questions", { id: newId(), thread: id, text, uploads })));
$("demo").addEventListener("click", async () => {
  $("demo").disabled = true;
  await inThread((id) => call("POST", "/api/demo", { id: newId(), thread: id })).catch((problem) => notice(problem.message));
  $("demo").disabled = false;
});
$("new").addEventListener("click", () => {
  menu(false);
  history.pushState(null, "", "#");
  open(null);
  $("text").focus();
});
$("menu").addEventListener("click", () => menu(!$("side").classList.contains("open")));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !$("side").classList.contains("open")) return;
  menu(false);
  $("menu").focus();
});
$("threads").addEventListener("click", (event) => event.target.closest("a") && menu(false));
addEventListener("hashchange", () => {
  menu(false);
  open(opened());
});
theme();
listen();
