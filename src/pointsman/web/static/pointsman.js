// Keys and live updates. Every page works without this file.
"use strict";

const main = () => document.getElementById("main");
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const one = (selector, inside = document) => inside.querySelector(selector);

// What only this file makes work is hidden without it.
for (const element of all(".scripted:not(#changed)")) element.hidden = false;

// Keys. A person who dictates or has other shortcuts can turn them off (WCAG 2.1.4).
const keysOn = document.getElementById("keys-on");
keysOn.checked = localStorage.getItem("keys") !== "off";
keysOn.addEventListener("change", () => localStorage.setItem("keys", keysOn.checked ? "on" : "off"));

const dialog = document.getElementById("keys");
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-opens=keys]")) dialog.showModal();
  if (event.target.closest("[data-reloads]")) refresh(true);
});

const writes = (element) => element.closest("textarea, select, [contenteditable], input:not([type=radio], [type=checkbox], [type=submit])");

function move(by) {
  const rows = all("a.row");
  if (!rows.length) return false;
  const at = rows.indexOf(document.activeElement);
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  return true;
}

// The first or the second choice of the first question of the answer.
function choose(number) {
  const first = one(".answer input[type=radio], .answer button[name=answer]");
  if (!first) return false;
  const choices = all(`.answer [name="${CSS.escape(first.name)}"]`);
  const chosen = choices[number];
  if (!chosen) return false;
  if (chosen.type === "radio") {
    chosen.checked = true;
    chosen.dispatchEvent(new Event("input", { bubbles: true }));
    const empty = number > 0 && all(".answer textarea, .answer input[type=text]").find((field) => !field.value && field.checkVisibility());
    (empty || one("[data-sends]")).focus();
  } else chosen.focus();
  return true;
}

function act(key) {
  const named = all(`[data-key="${CSS.escape(key)}"]`).find((element) => element.checkVisibility());
  if (named) {
    if (named.matches("a")) named.click();
    else named.focus();
    if (named.matches("input[type=radio]")) named.checked = true;
    return true;
  }
  if (key === "j" || key === "k") return move(key === "j" ? 1 : -1);
  if (key === "a" || key === "r") return choose(key === "a" ? 0 : 1);
  if (key === "?") dialog.showModal();
  return key === "?";
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && writes(event.target)) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || writes(event.target) || dialog.open || !keysOn.checked) return;
  if (event.key.length === 1 && act(event.key)) event.preventDefault();
});

// What the checks of a text object to, while it is being written.
const CHECK_MS = 600; // after the last key: a pause between two words
let checking = 0;
document.addEventListener("input", (event) => {
  const field = event.target.closest("[data-checks]");
  if (!field) return;
  clearTimeout(checking);
  checking = setTimeout(() => check(field), CHECK_MS);
});

async function check(field) {
  const body = new URLSearchParams(new FormData(field.form));
  const place = document.getElementById(field.getAttribute("aria-describedby"));
  try {
    const answer = await fetch(field.dataset.checks, { method: "POST", body });
    if (answer.ok) tell(place, await answer.json());
  } catch { /* the server checks again when the text is sent */ }
}

function tell(place, objections) {
  const text = objections.length ? "As written now, it breaks:" : "As written now, it passes every check.";
  const said = Object.assign(document.createElement("p"), { className: objections.length ? "bad" : "good", textContent: text });
  const list = document.createElement("ul");
  list.append(...objections.map((one) => Object.assign(document.createElement("li"), { textContent: one })));
  place.replaceChildren(said, ...(objections.length ? [list] : []));
}

// Live updates: the server says that something was committed, and the page fetches itself again.
let touched = false;
document.addEventListener("input", (event) => { if (event.target.closest("main form")) touched = true; });
document.addEventListener("submit", (event) => { if (event.target.closest("main form")) touched = false; });

const placeOf = (element) => element && (element.id ? `#${CSS.escape(element.id)}` : element.dataset?.row ? `[data-row="${element.dataset.row}"]` : null);

let asking = false, again = false;
async function refresh(forced = false) {
  if (asking) { again = true; return; }
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
    if (fresh) show(fresh, forced);
  } catch { /* the stream tells when the server is back */ } finally {
    asking = false;
    if (again) { again = false; refresh(); }
  }
}

function show(fresh, forced) {
  const digest = (inside) => one("[data-digest]", inside)?.dataset.digest;
  if (touched && !forced) {
    const note = document.getElementById("changed");
    if (note && digest(fresh) !== digest(main())) note.hidden = false;
    return;
  }
  const said = one("[data-said]", fresh)?.dataset.said;
  const before = one("[data-said]", main())?.dataset.said;
  const place = placeOf(document.activeElement);
  const open = all("details[open]", main()).map((details) => details.id).filter(Boolean);
  for (const element of all(".scripted:not(#changed)", fresh)) element.hidden = false;
  main().replaceChildren(...fresh.childNodes);
  touched = false;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (place) one(place)?.focus({ preventScroll: true });
  if (said && said !== before) document.getElementById("said").textContent = said;
}

let stream = null, lost = false;
function listen() {
  if (!document.body.dataset.live || stream) return;
  const state = document.getElementById("live-state");
  stream = new EventSource(document.body.dataset.live);
  stream.onmessage = () => refresh();
  stream.onopen = () => { state.hidden = true; if (lost) refresh(); lost = false; };
  stream.onerror = () => { lost = true; state.textContent = "not connected"; state.hidden = false; };
}
// A page that nobody sees holds no connection: a browser has six for each server.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { stream?.close(); stream = null; lost = true; } else listen();
});
if (!document.hidden) listen();
