// Walks through the pages of a running server as a person would, by clicking, checks that each shows real content
// and that the browser had nothing to complain about, and takes screenshots on a laptop and a phone.
//
//   node web/browser/walk.mjs --url http://127.0.0.1:7400 --out docs/screenshots [--instance NAME] [--alert RULE]
//                             [--forecast-alert RULE] [--forecast QUERY]
//
// The server must hold data of a database with statements, an alert whose evidence names a statement with a plan, and one
// that fires now (that of --forecast-alert, else any): it is acknowledged, silenced, and looked at again.
// Exit 0: all seen. 1: something was missing, said on stderr. 77: skipped, as there is no Chromium here.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const LAPTOP = { width: 1366, height: 768 };
const PHONE = { width: 390, height: 844 };
const WAIT_MS = 45_000;
const SHOT_HEIGHT_MAX = 2600;
const ALERTS_TRIED_MAX = 12;
const EVIDENCE_MS = 100_000;

const { values: given } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:7400" },
    out: { type: "string", default: "docs/screenshots" },
    instance: { type: "string" },
    alert: { type: "string" },
    "forecast-alert": { type: "string" },
    forecast: { type: "string" },
    chromium: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
  },
});

if (!existsSync(given.chromium)) {
  console.log(`skipped: no Chromium at ${given.chromium} (install the package chromium, or name it by --chromium)`);
  process.exit(77);
}

/** What the browser complained about; any of it fails the walk. */
const complaints = [];
const profile = await mkdtemp(path.join(os.tmpdir(), "tidewatch-walk-"));
await mkdir(given.out, { recursive: true });
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: given.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  viewport: LAPTOP,
  locale: "en-GB",
  colorScheme: "light",
});
const page = browser.pages()[0] ?? (await browser.newPage());
page.setDefaultTimeout(WAIT_MS);
page.on("console", (message) => {
  if (message.type() === "error") complaints.push(`console: ${message.text()} (${message.location().url})`);
});
page.on("pageerror", (error) => complaints.push(`page: ${error.stack ?? error}`));
page.on("response", async (response) => {
  if (response.status() >= 400) complaints.push(`HTTP ${response.status()}: ${response.url()} ${await response.text().catch(() => "")}`);
});

class Missing extends Error {}

function need(condition, what) {
  if (!condition) throw new Missing(`${what} (at ${page.url()})`);
}

/** Waits until a condition on the page holds; says what was waited for when it doesn't. */
async function until(what, holds, patienceMs = WAIT_MS) {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    if (await holds()) return;
    if (Date.now() > deadline) throw new Missing(`waited ${patienceMs / 1000} s for ${what} (at ${page.url()}); the page says: ${(await page.locator("main").innerText()).slice(0, 400)}`);
    await page.waitForTimeout(200);
  }
}

/** No part of the page says that something could not be loaded, and nothing is loading any more. */
async function settled() {
  await until("the page to finish loading", async () => (await page.locator("html[data-busy], .loading").count()) === 0);
  const trouble = page.locator(".trouble");
  need((await trouble.count()) === 0, `an error is shown: ${(await trouble.allInnerTexts()).join("; ")}`);
}

/** Waits for content, or for the words that there is none, which are said on the terminal. */
async function contentOrWords(what, selector) {
  await until(what, async () => (await page.locator(selector).count()) + (await page.locator("main .empty:not(.loading)").count()) > 0);
  await settled();
  if ((await page.locator(selector).count()) === 0) console.log(`  note: no ${what}: ${(await page.locator("main .empty").allInnerTexts()).join(" ")}`);
}

/** At least `least` charts are drawn, with a value in each legend. */
async function charts(least) {
  await until(`${least} charts with values`, async () => {
    const legends = await page.locator(".chart:has(canvas) .u-legend").allInnerTexts();
    return legends.filter((text) => /\d/.test(text)).length >= least;
  });
}

const visited = [];
async function shot(name) {
  await settled();
  await page.mouse.move(0, 0);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  need(wide <= 0, `${name} is ${wide} px wider than the screen`);
  const height = Math.min(SHOT_HEIGHT_MAX, await page.evaluate(() => document.documentElement.scrollHeight));
  const { width } = page.viewportSize();
  const file = path.join(given.out, `${name}.png`);
  await page.screenshot({ path: file, fullPage: true, clip: { x: 0, y: 0, width, height } });
  console.log(`  ${file}`);
}

/** A page reached by clicking: shown on the laptop now, on the phone later. */
async function seen(name) {
  await shot(name);
  visited.push([name, page.url()]);
}

const nav = (name) => page.getByRole("navigation").getByRole("link", { name, exact: false }).first().click();
const tab = (name) => page.locator("main .choices").first().getByRole("button", { name, exact: true }).click();

async function overviewToStatement() {
  console.log("overview → database → statement");
  await page.goto(given.url);
  await until("a watched database", async () => (await page.locator("table.cards .identity a").count()) > 0);
  await until("its numbers", async () => /\d( [kMGT])?\/s/.test(await page.locator("table.cards").first().innerText()));
  await seen("overview");
  const link = given.instance === undefined ? page.locator("table.cards tr:has(.state.ok):has(.level) .identity a, table.cards tr:has(.state.ok) .identity a").first() : page.getByRole("link", { name: given.instance, exact: true }).first();
  const instance = await link.innerText();
  await link.click();
  await until(`the page of ${instance}`, async () => (await page.locator("h1").innerText()).includes(instance));
  await charts(6);
  await until("its top statements", async () => (await page.locator("td.statement a").count()) > 0);
  await seen("database");
  await tab("Statements");
  await until("statements", async () => (await page.locator("td.statement a").count()) > 0);
  await seen("statements");
  await tab("Sessions");
  await until("sessions or the word that there are none", async () => (await page.locator(".panel").count()) >= 3);
  await seen("sessions");
  await tab("Logs");
  await contentOrWords("log lines", ".log li");
  await seen("logs");
  await tab("Settings & changes");
  await contentOrWords("settings", ".settings dt");
  await seen("settings");
  await tab("Statements");
  await page.locator("td.statement a").first().click();
  await statementPage();
}

async function statementPage() {
  await until("the statement's text", async () => ((await page.locator(".statement-text").first().innerText().catch(() => "")) ?? "").trim().length > 3);
  await charts(2);
}

/** Opens alerts one after the other until one has evidence with a statement whose page shows a plan. */
async function alertToPlan() {
  console.log("alerts → alert → its statement → its plan");
  await nav("Alerts");
  await settled();
  const wanted = given.alert === undefined ? alertLinks() : alertLinks().filter({ hasText: given.alert });
  if ((await wanted.count()) === 0) await tab("All");
  await until("an alert", async () => (await wanted.count()) > 0);
  await seen("alerts");
  const list = page.url();
  const names = (await alertLinks().allInnerTexts()).map((name, at) => [name, at]).filter(([name]) => given.alert === undefined || name === given.alert);
  need(names.length > 0, `no alert is called ${given.alert}`);
  const deadline = Date.now() + EVIDENCE_MS;
  let tried = [];
  do {
    tried = [];
    for (const [name, at] of names.slice(0, ALERTS_TRIED_MAX)) {
      if (page.url() !== list) await page.goto(list);
      await until("the list of alerts", async () => (await alertLinks().count()) > at);
      await alertLinks().nth(at).click();
      await until(`the alert ${name}`, async () => (await page.locator(".alert-head h1").innerText().catch(() => "")).includes(name));
      await settled();
      tried.push(`${name}: ${await page.locator(".evidence-statements > li").count()} statements`);
      const withPlan = page.locator(".evidence-statements > li:has([data-plan])");
      if ((await withPlan.count()) === 0) continue;
      need((await page.locator(".chart canvas").count()) > 0, `the evidence of ${name} has no series`);
      need((await page.locator(".timeline li").count()) > 0, `the alert ${name} has no timeline`);
      const plan = withPlan.first().locator("details").first();
      if ((await plan.getAttribute("open")) === null) await plan.locator("summary").first().click();
      await seen("alert");
      const link = withPlan.first().locator("a.statement-link");
      const text = (await link.innerText()).trim();
      await link.click();
      await statementPage();
      await until("the plan", async () => (await page.locator("#plans [data-plan] li").count()) > 0);
      console.log(`  ${name}: ${text.replace(/\s+/g, " ").slice(0, 100)}`);
      await seen("statement");
      return;
    }
    // Evidence is completed for up to 90 seconds after an alert fired.
    await page.waitForTimeout(2000);
  } while (Date.now() < deadline);
  throw new Missing(`no alert's evidence names a statement with a plan; tried ${tried.join(", ")}`);
}

const alertLinks = () => page.locator("table.cards a.alert-link");

/** Opens the list of alerts that fire, and there the one that was named, else the first. */
async function openFiring() {
  await nav("Alerts");
  await settled();
  const wanted = given["forecast-alert"];
  const links = wanted === undefined ? alertLinks() : alertLinks().filter({ hasText: wanted });
  await until(`the firing alert ${wanted ?? "(any)"}`, async () => (await links.count()) > 0);
  await links.first().click();
  await until("the alert's page", async () => (await page.locator(".alert-head h1").count()) > 0);
  await settled();
}

/** Asks the page anew until something that the server does a moment later is there. */
async function soon(what, selector) {
  await until(what, async () => {
    if ((await page.locator(selector).count()) > 0) return true;
    await page.getByRole("button", { name: "Refresh" }).click();
    await page.waitForTimeout(400);
    // A second refresh would give up on the answers to this one.
    await settled();
    return (await page.locator(selector).count()) > 0;
  });
}

/** Acknowledges a living alert, silences it with a look at what that mutes, sees both told, and ends the silence. */
async function operate() {
  console.log("alert → acknowledge → silence → its ledger → silence ended");
  await openFiring();
  const alert = page.url();
  if (given["forecast-alert"] !== undefined) {
    await soon("the forecast of the alert", ".forecast .chart canvas");
    need(/reach/.test(await page.locator(".forecast .reach").first().innerText()), "the forecast says when the limit is reached");
  }
  const taken = page.getByRole("button", { name: "Take back" });
  if ((await taken.count()) > 0) await taken.click();
  await page.getByRole("button", { name: "Acknowledge" }).click();
  await page.getByLabel("Your name").fill("Wang Li");
  await page.getByLabel("Comment").fill("Moving the archive to a larger volume");
  await page.locator("form.operate button[type=submit]").click();
  await soon("who has acknowledged", "div.acknowledged");
  need((await page.locator("div.acknowledged").innerText()).includes("Wang Li"), "the acknowledgement names its author");
  await soon("the acknowledgement in the ledger", ".ledger li.step-acknowledged");
  await page.locator(".actions").getByRole("link", { name: "Silence" }).click();
  await until("a preview of what would be muted", async () => Number((await page.locator("[data-preview]").getAttribute("data-preview").catch(() => "0")) ?? 0) > 0);
  need((await page.getByLabel("Your name").inputValue()) === "Wang Li", "the form remembers who I am");
  await page.getByRole("button", { name: "4 h", exact: true }).click();
  await page.getByLabel("Comment").fill("Known: the archive moves tonight");
  await seen("silence-new");
  await page.locator("form.silence-form button[type=submit]").click();
  await until("the silence in the list", async () => (await page.locator("tr:has-text('Known: the archive moves tonight'):has(.tag.good)").count()) === 1);
  await page.goto(alert);
  await soon("the word that it is silenced", ".flags a[href*='silences']");
  await soon("why whom was told", ".why-list li");
  await seen("alert-operated");
  await nav("Silences");
  await until("the silence", async () => (await page.locator("tr:has-text('Known: the archive moves tonight')").count()) >= 1);
  await seen("silences");
  await page.locator("tr:has-text('Known: the archive moves tonight')").getByRole("button", { name: "Expire" }).first().click();
  await until("the silence to be expired", async () => {
    const ended = await page.locator("tr.past:has-text('Known: the archive moves tonight')").count();
    return ended > 0 && (await page.locator("tr:has-text('Known: the archive moves tonight'):has(.tag.good)").count()) === 0;
  });
  await nav("Rules");
  await until("rules", async () => (await page.locator(".rules details").count()) > 20);
  await page.locator(".rules summary").first().click();
  await seen("rules");
}

/** The future of a query, reached from its graph. */
async function foresee(query) {
  console.log("explore → forecast");
  await nav("Explore");
  await page.getByRole("textbox").fill(query);
  await page.getByRole("button", { name: "Run" }).click();
  await charts(1);
  await page.locator("main").getByRole("link", { name: "Forecast" }).click();
  await tab("15m");
  await until("a forecast drawn with its band", async () => {
    await settled();
    if ((await page.locator(".forecast .chart canvas").count()) > 0) return true;
    // A young server has too few steps at first.
    await page.waitForTimeout(5000);
    await page.reload();
    return false;
  }, EVIDENCE_MS);
  await seen("forecast");
}

async function others() {
  console.log("explore, about, the other language, dark, phone");
  await nav("Explore");
  await page.getByRole("textbox").fill("sum by (mode) (rate(node_cpu_seconds_total[1m]))");
  await page.getByRole("button", { name: "Run" }).click();
  await charts(1);
  await seen("explore");
  await nav("About");
  await until("licences", async () => (await page.locator("details summary").count()) >= 2);
  await seen("about");
  const address = new Map(visited);
  await page.getByRole("button", { name: "Language" }).click();
  await until("Chinese", async () => (await page.locator("html").getAttribute("lang")) === "zh-CN");
  for (const name of ["overview", "alert", "alert-operated", "silence-new"]) {
    await page.goto(address.get(name));
    await until(`${name} in Chinese`, async () => /告警|总览|静默/.test(await page.locator("main").innerText()));
    await shot(`${name}-zh`);
  }
  await page.getByRole("button", { name: "语言" }).click();
  await page.emulateMedia({ colorScheme: "dark" });
  await page.goto(address.get("database"));
  await charts(6);
  await shot("database-dark");
  await page.goto(address.get("alert-operated"));
  await until("the alert in the dark", async () => (await page.locator(".alert-head h1").count()) > 0);
  await shot("alert-operated-dark");
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(PHONE);
  for (const [name, url] of visited) {
    await page.goto(url);
    await until(`${name} on a phone`, async () => (await page.locator("main").innerText()).length > 40);
    await shot(`${name}-phone`);
  }
}

let code = 0;
try {
  await overviewToStatement();
  await alertToPlan();
  await operate();
  if (given.forecast !== undefined) await foresee(given.forecast);
  await others();
  if (complaints.length > 0) throw new Missing(`the browser complained:\n  ${[...new Set(complaints)].slice(0, 20).join("\n  ")}`);
  console.log(`ok: ${visited.length} pages seen on a laptop and a phone`);
} catch (error) {
  code = 1;
  console.error(`failed: ${error instanceof Missing ? error.message : (error.stack ?? error)}`);
  if (complaints.length > 0) console.error(`the browser said:\n  ${[...new Set(complaints)].slice(0, 20).join("\n  ")}`);
  await page.screenshot({ path: path.join(given.out, "failed.png") }).catch(() => undefined);
} finally {
  await browser.close();
  await rm(profile, { recursive: true, force: true });
}
process.exit(code);
