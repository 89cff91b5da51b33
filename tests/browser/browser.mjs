// A headless Chromium whose pages are watched: whatever a page says on the console, every broken request and every violation of
// the content security policy is kept, and fails the test. Judges accessibility with axe-core, and takes screenshots.

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import { given } from "./stage.mjs";

const modules = given("TEST_NODE_MODULES");
const { chromium } = createRequire(join(modules, "here.js"))("playwright-core");
const axe = readFileSync(join(modules, "axe-core/axe.min.js"), "utf8");
const screens = given("SCREENS");

const DESK = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const PATIENCE_MS = 30_000;

export const seen = { screens: [], violations: [], troubles: [] };

export async function launch() {
  mkdirSync(screens, { recursive: true });
  // Root has no sandbox of its own to give away, and containers have little shared memory.
  const args = ["--no-sandbox", "--disable-dev-shm-usage"];
  return chromium.launch({ executablePath: given("TEST_CHROMIUM"), args });
}

// A person at a browser of their own: nothing is shared with others.
export async function person(browser, name) {
  const context = await browser.newContext({ reducedMotion: "reduce", viewport: DESK, locale: "en-GB", timezoneId: "Europe/London" });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const expected = new Set();
  const trouble = (what) => seen.troubles.push(`${name}, ${page.url()}: ${what}`);
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`the policy forbids ${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
    });
  });
  page.on("console", (message) => {
    if (message.type() !== "error" && message.type() !== "warning") return;
    const status = /the server responded with a status of (\d+)/.exec(message.text());
    if (!status || !expected.has(Number(status[1]))) trouble(`the console says: ${message.text()}`);
  });
  page.on("pageerror", (error) => trouble(`a script failed: ${error.stack}`));
  page.on("response", (response) => {
    if (response.status() >= 500) trouble(`${response.status()} from ${response.url()}`);
  });
  return {
    name,
    page,
    // Runs something after which answers of this status are right; any other refusal is a trouble.
    async expecting(status, act) {
      expected.add(status);
      await act();
      await page.waitForLoadState();
      expected.delete(status);
    },
    close: () => context.close(),
  };
}

// An authenticator inside the device of whoever looks at this page, which says yes to everything.
export async function withPasskeys(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("WebAuthn.enable");
  const options = {
    protocol: "ctap2",
    transport: "internal",
    hasResidentKey: true,
    hasUserVerification: true,
    isUserVerified: true,
    automaticPresenceSimulation: true,
  };
  const { authenticatorId } = await session.send("WebAuthn.addVirtualAuthenticator", { options });
  return async () => (await session.send("WebAuthn.getCredentials", { authenticatorId })).credentials.length;
}

// Judges the page and takes its pictures: light and dark, at a desk and on a phone.
export async function show(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await judge(page, `${name} (${colorScheme})`);
    await picture(page, `${name}-${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(PHONE);
  const { wide, widest } = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    widest: [...document.querySelectorAll("main *, header *")]
      .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
      .filter((element) => !element.closest(".scroll"))
      .slice(0, 3)
      .map((element) => element.outerHTML.slice(0, 120)),
  }));
  if (wide > 0) seen.troubles.push(`${name}: a phone has to scroll sideways, ${wide} px: ${widest.join(" | ")}`);
  await picture(page, `${name}-phone`);
  await page.setViewportSize(DESK);
}

export async function picture(page, name) {
  await page.screenshot({ path: join(screens, `${name}.png`), fullPage: true, animations: "disabled" });
  seen.screens.push(name);
}

async function judge(page, where) {
  // Evaluated by the debugger, because the page's policy lets no such script in.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of violations) {
    const places = nodes.slice(0, 3).map((node) => `${node.target.join(" ")}: ${node.failureSummary ?? ""}`);
    const violation = `${where}: ${impact} ${id}, ${help}\n    ${places.join("\n    ").replaceAll("\n", "\n    ")}`;
    if (impact === "serious" || impact === "critical") seen.violations.push(violation);
  }
}
