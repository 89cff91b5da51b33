// Keeps a page fresh without reloading it, shows moments in the reader's own time zone as well, and listens to keys.
//
// The overview hears of news by one stream; other pages are asked for again. Both bring what the page would be if it were
// loaded now, so that there is one way to make it, with and without this script; what stayed the same keeps its place, its
// focus and its scroll. Nothing moves while somebody selects text or fills in a form.

"use strict";

const EVERY_MS = 3000;
const PATIENCE_MS = 10000;
const freshness = document.querySelector("#freshness");
const keysHelp = document.querySelector("#keys");

// ---- moments ----

const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const zoneName = Intl.DateTimeFormat().resolvedOptions().timeZone;

function showLocalTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const local = zone.format(new Date(time.dateTime)) + " (" + zoneName + ")";
    time.title = time.dateTime + "\n" + local;
    if (time.dataset.local !== undefined && zoneName !== "UTC" && !time.nextElementSibling?.matches(".local")) {
      const span = document.createElement("span");
      span.className = "local";
      span.textContent = local;
      time.after(span);
    }
  }
}

// ---- news ----

function readerIsBusy() {
  const focused = document.activeElement;
  const selection = document.getSelection();
  if (document.querySelector("main details[open], main input:checked, dialog[open]")) return true;
  return (focused && focused.matches("input, select, textarea")) || (selection && !selection.isCollapsed);
}

// What makes an element the same one as before: its id, or the link that its row is about.
function keyOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return null;
  if (node.id) return "#" + node.id;
  if (node.nodeName === "TR") return node.querySelector("a[href]")?.getAttribute("href") ?? null;
  return null;
}

// Makes `old` into `fresh` by the fewest changes.
function morph(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
  }
  const keyed = new Map();
  for (const child of old.childNodes) {
    const key = keyOf(child);
    if (key && !keyed.has(key)) keyed.set(key, child);
  }
  let place = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const key = keyOf(next);
    let match = null;
    if (key) {
      match = keyed.get(key) ?? null;
      keyed.delete(key);
    } else if (place && place.nodeName === next.nodeName && !keyOf(place)) {
      match = place;
    }
    if (!match) {
      old.insertBefore(next, place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else old.insertBefore(match, place);
    if (match.nodeType !== Node.ELEMENT_NODE) {
      if (match.data !== next.data) match.data = next.data;
    } else if (match.nodeName === next.nodeName) {
      morph(match, next);
    } else {
      match.replaceWith(next);
    }
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

function show(old, fresh) {
  showLocalTimes(fresh);
  const focused = document.activeElement;
  morph(old, fresh);
  // Moved to another place, an element loses its focus.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

// One word about how fresh the page is: "fresh", "paused", "stale" or "out".
function say(state, moment) {
  document.body.dataset.fresh = state;
  if (moment) freshness.textContent = moment;
}

function parse(html) {
  return new DOMParser().parseFromString(html, "text/html");
}

async function refresh() {
  if (readerIsBusy()) return say("paused");
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401) return signedOut();
    const next = parse(await answer.text());
    const main = next.querySelector("main");
    if (!main || answer.status >= 500) return say("stale");
    if (readerIsBusy()) return say("paused");
    show(document.querySelector("main"), main);
    document.title = next.title;
    say("fresh", next.querySelector("#freshness").textContent);
  } catch {
    say("stale");
  }
}

function signedOut() {
  say("out");
  const notice = document.querySelector("#notice");
  const again = document.createElement("a");
  again.href = "/sign-in?to=" + encodeURIComponent(location.pathname + location.search);
  again.textContent = "Sign in again";
  notice.replaceChildren("Your session has ended; this page stays as it is. ", again);
  notice.hidden = false;
}

async function askAgainAndAgain() {
  if (!document.hidden && document.body.dataset.fresh !== "out") await refresh();
  setTimeout(askAgainAndAgain, EVERY_MS);
}

let stream = null;
let reopening = null;

function listen() {
  const live = document.querySelector("#live");
  if (stream || document.hidden || document.body.dataset.fresh === "out") return;
  stream = new EventSource(live.dataset.stream);
  stream.addEventListener("overview", (event) => {
    if (readerIsBusy()) return say("paused");
    const fresh = document.createElement("div");
    fresh.id = live.id;
    fresh.dataset.stream = live.dataset.stream;
    fresh.append(...parse(event.data).body.childNodes);
    show(live, fresh);
    const { title, now } = live.querySelector("h1").dataset;
    document.title = title + " · Amzigo";
    say("fresh", now);
  });
  stream.addEventListener("trouble", () => say("stale"));
  stream.addEventListener("error", () => {
    if (!stream || stream.readyState !== EventSource.CLOSED) return say("stale");
    // Refused: signed out, or too many pages. Asking for the page itself tells which.
    stopListening();
    refresh();
    reopening = setTimeout(listen, PATIENCE_MS);
  });
}

function stopListening() {
  clearTimeout(reopening);
  stream?.close();
  stream = null;
}

function keepFresh() {
  if (!freshness || !freshness.textContent) return;
  if (!document.querySelector("#live")) {
    setTimeout(askAgainAndAgain, EVERY_MS);
    return;
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? stopListening() : listen()));
  window.addEventListener("focus", listen);
  window.addEventListener("pagehide", stopListening);
  listen();
}

// What the last form did is told once, by a cookie that only this page reads.
function showNotice() {
  const name = "__Host-notice=";
  const found = document.cookie.split("; ").find((cookie) => cookie.startsWith(name));
  if (!found) return;
  document.cookie = name + "; Max-Age=0; Path=/; Secure; SameSite=Strict";
  const notice = document.querySelector("#notice");
  notice.textContent = decodeURIComponent(found.slice(name.length).replaceAll("+", " "));
  notice.hidden = false;
}

// ---- keys ----

function rows() {
  return [...document.querySelectorAll("main tbody tr")].filter((row) => row.querySelector("a[href]"));
}

// The link of the next or the previous row gets the focus, so that Enter opens it as any link.
function step(by) {
  const all = rows();
  const here = all.findIndex((row) => row.contains(document.activeElement));
  const row = all[here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(here + by, 0), all.length - 1)];
  row?.querySelector("a[href]").focus();
  row?.scrollIntoView({ block: "nearest" });
}

// Opens the form of a button that begins with this letter, in the row that has the focus or else on the page. The form asks
// for a reason; no key does anything by itself.
function openForm(letter) {
  const row = document.activeElement.closest("tr, section");
  for (const place of [row, document.querySelector("main")]) {
    const summaries = [...(place?.querySelectorAll("details.act > summary") ?? [])];
    const found = summaries.find((summary) => summary.textContent.trim().toUpperCase().startsWith(letter));
    if (found) {
      found.parentElement.open = true;
      found.parentElement.querySelector("input:not([type=hidden]), select, textarea")?.focus();
      return true;
    }
  }
  return false;
}

function search() {
  const field = document.querySelector("main input[type=search], main .filters input:not([type=hidden])");
  if (field) field.focus();
  else location.href = "/jobs";
}

let going = 0;

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "Escape") {
    if (typing) typing.blur();
    document.activeElement.closest?.("details.act[open]")?.removeAttribute("open");
    return;
  }
  if (typing || keysHelp?.open) return;
  const goes = Date.now() - going < 1500;
  going = 0;
  if (goes) {
    const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
    if (link) location.href = link.href;
    return;
  }
  if (event.key === "g") going = Date.now();
  else if (event.key === "?") keysHelp?.showModal();
  else if (event.key === "/") search();
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (!/^[A-Z]$/.test(event.key) || !openForm(event.key)) return;
  event.preventDefault();
}

function listenToKeys() {
  const button = document.querySelector("#help");
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => keysHelp.showModal());
  document.addEventListener("keydown", press);
}

showNotice();
showLocalTimes(document);
keepFresh();
listenToKeys();
