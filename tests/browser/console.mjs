// People at the console, in a real browser: an operator with a passkey who finds a dead job and requeues it, and an admin with a
// password and an authenticator app. Every page that they come to is judged and photographed.
//
// Started by tests/it/browser.rs, on whose stage a real scheduler, worker and console run.

import assert from "node:assert/strict";

import { launch, person, picture, seen, show, withPasskeys } from "./browser.mjs";
import { ask, given, say } from "./stage.mjs";
import { App } from "./totp.mjs";

const origin = given("CONSOLE_ORIGIN");
const PASSWORD = "Nine-Otters-Sing-4-Supper";
const shown = new Set();

const heading = (page, name) => page.getByRole("heading", { level: 1, name }).waitFor({ state: "attached" });
const at = (page, path) => page.waitForURL((url) => url.origin === origin && url.pathname === path);
const press = (page, name) => page.getByRole("button", { name, exact: true }).first().click();

async function once(page, name) {
  if (shown.has(name)) return;
  shown.add(name);
  await show(page, name);
}

// Opens the form behind a button, gives the reason and sends it.
async function act(page, name, reason, fill = async () => {}) {
  const form = page.locator("details.act", { has: page.locator("summary", { hasText: name }) }).first();
  await form.locator("summary").click();
  await fill(form);
  await form.locator("input[name=reason]").fill(reason);
  await form.getByRole("button", { name, exact: true }).click();
}

async function signOut(page) {
  await press(page, "Sign out");
  await at(page, "/sign-in");
}

// Whatever the navigation leads to, as this person sees it.
async function everyPage(page) {
  const links = page.getByRole("navigation", { name: "Pages" }).getByRole("link");
  const entries = await links.evaluateAll((all) => all.map((link) => [link.textContent.trim(), link.getAttribute("href")]));
  assert.ok(entries.length >= 8, `the navigation has ${entries.length} entries`);
  const names = [];
  for (const [name, href] of entries) {
    const answer = await page.goto(origin + href);
    assert.equal(answer.status(), 200, href);
    await page.locator("nav a[aria-current=page]", { hasText: name }).waitFor({ state: "attached" });
    await once(page, name.toLowerCase().replaceAll(" ", "-"));
    names.push(name);
  }
  return names;
}

async function operator(browser) {
  const ann = await person(browser, "ann");
  const { page } = ann;
  const passkeys = await withPasskeys(page);

  // Invited, with a passkey.
  const { link } = await ask("invite", { name: "ann.lee", roles: ["oncall"] });
  await page.goto(link);
  await heading(page, "Welcome");
  await once(page, "invitation");
  await press(page, "Make a passkey");
  await heading(page, "Your recovery codes");
  assert.equal(await passkeys(), 1, "the device has a passkey");
  assert.equal(await page.locator("ol.codes li").count(), 10);
  await once(page, "recovery-codes");
  await page.getByRole("link", { name: "I have kept them" }).click();
  await at(page, "/");
  await heading(page, "Overview");

  // The dead job is found by what it says, and done after it was requeued, before her eyes.
  const { job } = await ask("dead");
  await page.getByRole("link", { name: "Jobs", exact: true }).click();
  await at(page, "/jobs");
  await page.keyboard.press("/");
  await page.locator("main input[type=search]:focus").waitFor();
  await page.keyboard.type("state:dead kind:sync_orders");
  await page.keyboard.press("Enter");
  const found = page.locator(`main a[href="/jobs/${job}"]`).first();
  await found.waitFor();
  await once(page, "found-jobs");
  await found.click();
  await at(page, `/jobs/${job}`);
  await once(page, "dead-job");
  await ask("mend", { job });
  await act(page, "Requeue", "its payload is mended");
  await page.locator("#notice", { hasText: "Requeued" }).waitFor();
  await page.evaluate(() => (globalThis.sameDocument = true));
  await page.locator("h1 .state[data-state=done]").waitFor();
  assert.ok(await page.evaluate(() => globalThis.sameDocument), "the page was loaded again");
  await once(page, "job");

  // She leaves, and comes back with the passkey.
  await signOut(page);
  await once(page, "sign-in");
  await press(page, "Sign in with a passkey");
  await at(page, "/");

  // A dangerous act asks for the passkey again, in place, and then is done as it was filled in.
  await ask("forget_step_up", { name: "ann.lee" });
  await page.goto(origin + "/dead");
  await page.getByRole("link", { name: "Requeue all …" }).first().click();
  await at(page, "/bulk/new");
  await once(page, "bulk-plan");
  await ann.expecting(403, async () => {
    await act(page, "Requeue", "the new release can read them");
    await heading(page, "Confirm that it is you");
  });
  await once(page, "step-up");
  await press(page, "Use your passkey");
  await page.waitForURL((url) => /^\/bulk\/[0-9a-f-]{36}$/.test(url.pathname));
  await page.locator("dt:text-is('Ended')").waitFor();
  await once(page, "bulk-operation");

  // All pages, and those that no entry leads to.
  const pages = await everyPage(page);
  await page.goto(origin + "/sellers");
  await page.locator("main tbody a[href^='/sellers/']").first().click();
  await once(page, "seller");
  await page.goto(origin + "/account");
  await once(page, "account");
  await ann.expecting(404, () => page.goto(origin + "/nowhere"));
  await once(page, "no-such-page");
  await ann.expecting(403, () => page.goto(origin + "/keys"));
  await once(page, "not-allowed");

  // By keys alone.
  await page.goto(origin + "/");
  await page.keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  await once(page, "keys-of-the-keyboard");
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.keyboard.press("j");
  await at(page, "/jobs");
  await ann.close();
  return pages;
}

async function admin(browser) {
  const bea = await person(browser, "bea");
  const { page } = bea;

  // Invited, with a password and an app.
  const { link } = await ask("invite", { name: "bea", roles: ["admin"] });
  await page.goto(link);
  await page.locator("summary", { hasText: "A password and an authenticator app" }).click();
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByLabel("The same again").fill(PASSWORD);
  await press(page, "Go on to the app");
  await heading(page, "Your authenticator app");
  await once(page, "authenticator");
  const app = new App(await page.locator(".secret code").textContent());
  await page.locator("input[name=code]").fill(await app.code());
  await press(page, "Confirm");
  await heading(page, "Your recovery codes");
  await page.getByRole("link", { name: "I have kept them" }).click();
  await at(page, "/");

  // A code counts once; the next one opens.
  await signOut(page);
  await page.locator("form[action='/sign-in'] input[name=name]").fill("bea");
  await page.locator("form[action='/sign-in'] input[name=password]").fill(PASSWORD);
  await page.locator("form[action='/sign-in'] button").click();
  await heading(page, "One more step");
  await once(page, "second-factor");
  await page.locator("input[name=code]").fill(app.again());
  await bea.expecting(422, async () => {
    await press(page, "Sign in");
    await page.getByRole("alert").waitFor();
  });
  await once(page, "second-factor-refused");
  await page.locator("input[name=code]").fill(await app.code());
  await press(page, "Sign in");
  await at(page, "/");

  // A key is made after a code is given again, in place.
  await ask("forget_step_up", { name: "bea" });
  await page.goto(origin + "/keys");
  await bea.expecting(403, async () => {
    await act(page, "Make a key", "for the platform's orders", async (form) => {
      await form.locator("input[name=owner]").fill("platform.orders");
      await form.locator("input[name=enqueue]").check();
    });
    await heading(page, "Confirm that it is you");
  });
  await page.locator("input[name=step_up_code]").fill(await app.code());
  await press(page, "Confirm and go on");
  await heading(page, "A new secret");
  await once(page, "new-key");

  const pages = await everyPage(page);
  await bea.close();
  return pages;
}

// What programs are told: a page of others, which is not ours to judge, but must work under our policy.
async function developer(browser) {
  const eve = await person(browser, "eve");
  await eve.page.goto(given("API_ORIGIN") + "/docs/");
  await eve.page.getByText("/v1/jobs/bulk", { exact: true }).first().waitFor();
  await picture(eve.page, "api-light");
  await eve.close();
}

const browser = await launch();
try {
  const pages = new Set([...(await operator(browser)), ...(await admin(browser))]);
  await developer(browser);
  say({ pages: [...pages], ...seen });
} catch (error) {
  // What was found before may be why.
  say({ pages: [], ...seen });
  throw error;
} finally {
  await browser.close();
}
process.exit(0);
