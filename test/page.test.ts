/** The page in a real browser: it follows the fleet, can be searched and used with the keyboard alone, and is accessible. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { expect, onTestFinished, type TestContext, test } from "vitest";
import { askControl, Project } from "./support/fleet.js";
import { freePort } from "./support/ports.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const APP = `export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/crash") setTimeout(() => { throw new TypeError("no cart 771"); });
    if (pathname === "/say") console.log("needle in the log");
    return new Response("ok");
  },
};
`;
/** Every fifth response fails when there is a file `worse`: before that, the verdict is in progress. */
const FAILS = `import { existsSync } from "node:fs";
let count = 0;
const fails = () => ++count % 5 === 0 && existsSync(new URL("./worse", import.meta.url));
export default { fetch: () => new Response("bad", { status: fails() ? 500 : 200 }) };
`;

/** How long a change may take to become visible. */
const SEEN = { timeout: 60_000 };

function findChromium(context: TestContext): string {
  const found = ["chromium", "chromium-browser", "google-chrome"].map((name) => `/usr/bin/${name}`).find(existsSync);
  return found ?? context.skip("chromium is not installed");
}

async function open(program: string): Promise<Browser> {
  // Without its own sandbox it also runs as root and in containers; it loads nothing but this page.
  const args = ["--no-sandbox", "--disable-gpu"];
  const browser = await chromium.launch({ executablePath: program, args, ...SEEN });
  onTestFinished(() => browser.close());
  return browser;
}

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** Returns the serious problems in the current view, by some or all rules: rule and element. */
async function seriousProblems(page: Page, rules: string[] | undefined): Promise<string[]> {
  // Another view is in the same document.
  if (!(await page.evaluate<boolean>("'axe' in globalThis"))) await page.addScriptTag({ path: AXE });
  return page.evaluate(async (runOnly) => {
    type Axe = { run(options: object): Promise<{ violations: Violation[] }> };
    const { axe } = globalThis as unknown as { axe: Axe };
    const { violations } = await axe.run(runOnly === undefined ? {} : { runOnly });
    const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    return serious.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`));
  }, rules);
}

interface Violation {
  id: string;
  impact: string;
  nodes: { html: string }[];
}

test("follows the fleet, is searched and operated by keyboard alone, shows a deploy's verdict, and has no serious barrier", async (context) => {
  const program = findChromium(context);
  const port = await freePort();
  const project = await Project.make({
    ...{ runtime: "bun", app: APP, instances: 2 },
    config: { admin: { listen: `127.0.0.1:${port}`, write: true }, deploy: { judgeMs: 120_000, canaryPercent: 50 } },
  });
  const [browser] = await Promise.all([open(program), project.start()]);
  const { url } = JSON.parse(await askControl(join(project.runDir, "control.sock"), "/v1/page"));
  const errors: string[] = [];

  // Without the token nothing is shown; a token in the address is removed from it immediately.
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(SEEN.timeout);
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().includes("401")) errors.push(message.text());
  });
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.locator("#token").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText("needs the token").waitFor(SEEN);
  await page.goto(url);
  await page.getByText("2 of 2 ready").waitFor(SEEN);
  expect(page.url()).toBe(`http://127.0.0.1:${port}/#/`);

  // The page follows what happens.
  const load = project.load({ mode: "keep-alive", clients: 2, delayMs: 20 });
  const rate = page.getByRole("region", { name: "requests/s", exact: true }).locator(".value");
  await waitFor("the rate to be shown", async () => Number((await rate.textContent())?.replace(",", "")) > 10);
  await get(project.port, "/crash");
  await page.locator(".deaths").getByText("TypeError: no cart 771").waitFor(SEEN);
  await page.locator(".line.cyan").first().waitFor({ state: "attached" });

  // The log is searched with the keyboard alone.
  await get(project.port, "/say");
  await page.keyboard.press("l");
  await page.getByText("needle in the log").waitFor(SEEN);
  await page.keyboard.press("/");
  await page.keyboard.type("needle -nothing");
  await page
    .getByRole("status")
    .getByText(/^1 of [\d,]+ lines$/)
    .waitFor(SEEN);
  expect(await page.locator(".log li").count()).toBe(1);
  await page.locator("#filter").fill("");
  await page.keyboard.press("Escape");

  // A process is opened and restarted with the keyboard alone.
  await page.getByRole("link", { name: "web.1", exact: true }).first().waitFor(SEEN);
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "web.2" }).waitFor(SEEN);
  const before = await project.status();
  await press(page, "Restart");
  await page.getByRole("dialog").getByText("Restart web.2?").waitFor(SEEN);
  await press(page, "Restart");
  await page
    .locator(".notice")
    .getByText(/restart/)
    .waitFor(SEEN);
  await project.statusWhere("web.2 to have another process", ({ pools }) => {
    const [pid, former] = [pools[0]?.instances[1]?.pid, before.pools[0]?.instances[1]?.pid];
    return pid != null && pid !== former && pools[0]?.ready === 2;
  });
  await page.keyboard.press("?");
  await page.getByRole("dialog").getByText("search the log").waitFor(SEEN);
  await page.keyboard.press("Escape");
  // The page is notified later than the browser that its dialog is closed, and then drops its content.
  await page.locator("#dialog h2").waitFor({ ...SEEN, state: "detached" });
  await page.keyboard.press("Escape");
  await page.getByRole("region", { name: "processes" }).waitFor(SEEN);

  // A deploy of a worse release.
  project.write("releases/bad/app.js", FAILS);
  project.writeConfig({}, "releases/bad");
  await page.keyboard.press("d");
  const deployed = project.deploy({ dir: join(project.folder, "releases/bad") });
  await page
    .locator(".verdict")
    .getByText(/Judging|Passing/)
    .waitFor(SEEN);
  await page.locator(".tests").getByRole("rowheader", { name: "5xx", exact: true }).waitFor(SEEN);
  await page.setViewportSize({ width: PHONE, height: 800 });
  expect(await widthOf(page)).toBeLessThanOrEqual(PHONE);
  await page.setViewportSize({ width: 1280, height: 900 });
  project.write("releases/bad/worse", "");
  expect((await deployed).code).toBe(7);
  await page.getByText("No deploy is under way").waitFor(SEEN);
  await page
    .locator(".head")
    .getByText(/web is worse than before: .*5xx/)
    .waitFor(SEEN);
  await page.locator(".history").getByText("taken-back").first().waitFor(SEEN);
  await load.stop();
  expect(errors).toEqual([]);

  // What axe reports as serious, in both colour schemes and on a phone. Its script does not belong to this page, whose policy would reject
  // it.
  const phone = await browser.newContext({ viewport: { width: PHONE, height: 800 }, bypassCSP: true });
  const read = await phone.newPage();
  read.setDefaultTimeout(SEEN.timeout);
  await read.goto(url);
  const found: Record<string, string[]> = {};
  for (const scheme of ["dark", "light"] as const) {
    await read.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    for (const view of ["", "instance/web.1", "log", "deploy", "death/1"]) {
      await read.goto(`http://127.0.0.1:${port}/#/${view}`);
      await read.locator("main .card").first().waitFor(SEEN);
      const width = await widthOf(read);
      if (width > PHONE) found[`${scheme} ${view} width`] = [`${width}`];
      // Only the colours differ.
      const problems = await seriousProblems(read, scheme === "dark" ? undefined : ["color-contrast"]);
      if (problems.length > 0) found[`${scheme} ${view}`] = problems;
    }
  }
  expect(found).toEqual({});
});

const PHONE = 390;

function widthOf(page: Page): Promise<number> {
  return page.evaluate<number>("document.documentElement.scrollWidth");
}

/** Moves the focus to the button with Tab alone, and presses it. */
async function press(page: Page, name: string): Promise<void> {
  await waitFor(`the focus to reach ${name}`, async () => {
    await page.keyboard.press("Tab");
    return (await page.evaluate<string>("document.activeElement.textContent")) === name;
  });
  await page.keyboard.press("Enter");
}
