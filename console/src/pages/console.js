// Keeps a page fresh without reloading it, and shows moments in the reader's own time zone as well.
// The page is asked for again and its content exchanged, so that there is one way to make it, with and without this script.

"use strict";

const EVERY_MS = 3000;
const status = document.querySelector("#freshness");
const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const zoneName = Intl.DateTimeFormat().resolvedOptions().timeZone;

function showLocalTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const local = zone.format(new Date(time.dateTime)) + " (" + zoneName + ")";
    time.title = time.dateTime + "\n" + local;
    if (time.dataset.local !== undefined && zoneName !== "UTC" && !time.nextElementSibling) {
      const span = document.createElement("span");
      span.className = "local";
      span.textContent = local;
      time.after(span);
    }
  }
}

function readerIsBusy() {
  const focused = document.activeElement;
  const selection = document.getSelection();
  if (document.querySelector("main details.act[open]")) return true;
  return (focused && focused.matches("input, select, textarea")) || (selection && !selection.isCollapsed);
}

function exchange(html) {
  const old = document.querySelector("main");
  const next = new DOMParser().parseFromString(html, "text/html");
  const main = next.querySelector("main");
  if (!main) return false;
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  old.replaceWith(main);
  document.title = next.title;
  status.textContent = next.querySelector("#freshness").textContent;
  showLocalTimes();
  if (focused) main.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  return true;
}

async function refresh() {
  try {
    if (document.hidden || readerIsBusy()) return;
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(10000) });
    const fresh = exchange(await answer.text());
    document.body.classList.toggle("stale", !fresh);
  } catch {
    document.body.classList.add("stale");
  } finally {
    setTimeout(refresh, EVERY_MS);
  }
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

showNotice();
showLocalTimes();
setTimeout(refresh, EVERY_MS);
