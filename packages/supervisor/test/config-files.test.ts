/** Every kind of config file is loaded on both runtimes, and problems are reported with their place. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { afterAll, test as anyTest, beforeAll, describe, expect } from "vitest";
import { waitFor } from "../../../test/support/wait.js";
import { FIXTURES, RUNTIMES } from "./support.js";

/** One after another on each runtime; the runtimes run concurrently. */
const test = anyTest.sequential;

const all = realpathSync(mkdtempSync(join(tmpdir(), "pl-")));
afterAll(() => rmSync(all, { recursive: true, force: true }));

/** Creates a folder with `files`. */
function makeFolder(files: Record<string, string> = {}): string {
  const folder = mkdtempSync(join(all, "-"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

const APP = { "app.js": "export default {}" };

interface LoadOptions {
  target?: string;
  overrides?: object;
  timeoutMs?: number;
}

describe.concurrent.each(RUNTIMES)("config files on %s", (_, program) => {
  let loader: ChildProcess;
  let answers: AsyncIterator<string>;
  let lines: Interface;
  let stderr = "";
  beforeAll(() => {
    loader = spawn(program, [join(FIXTURES, "load-fleet.mjs")], { stdio: ["pipe", "pipe", "pipe"] });
    loader.stderr?.setEncoding("utf8").on("data", (text) => (stderr += text));
    lines = createInterface({ input: loader.stdout as NodeJS.ReadableStream });
    answers = lines[Symbol.asyncIterator]();
  });
  afterAll(() => {
    lines.close();
    loader.kill("SIGKILL");
  });

  /** Loads the config in a process of the runtime, whose working directory is the folder. */
  async function load(cwd: string, options: LoadOptions = {}) {
    loader.stdin?.write(`${JSON.stringify({ cwd, target: ".", overrides: {}, ...options })}\n`);
    const { value, done } = await answers.next();
    if (done) throw new Error(`the loader ended: ${stderr}`);
    return JSON.parse(value);
  }

  test.each([
    ["paceline.config.ts", "type A = string; const app: A = './app.js'; export default { app, instances: 7 };"],
    ["paceline.config.js", "export default Promise.resolve({ app: './app.js', instances: 7 });"],
    [
      "paceline.config.mjs",
      "export default async ({ mode, env }) => ({ app: './app.js', instances: mode === env.NODE_ENV ? 7 : 1 });",
    ],
    ["paceline.config.json", '{ "$schema": "./schema.json", "app": "./app.js", "instances": 7 }'],
    ["paceline.toml", 'app = "./app.js"\ninstances = 7\n'],
  ])("%s", async (name, text) => {
    const folder = makeFolder({ ...APP, "package.json": '{ "type": "module" }', [name]: text });
    const { config } = await load(folder);
    expect(config.pools).toMatchObject([{ name: "web", workload: { app: join(folder, "app.js") }, instances: 7 }]);
    // The same file by its own name, from another folder.
    expect((await load("/", { target: join(folder, name) })).config.pools).toEqual(config.pools);
  });

  test("without a config file the folder's app is run, and the command line says how", async () => {
    const folder = makeFolder({ "shop/index.mjs": "" });
    const overrides = { instances: 9, listen: ["23999"], runtime: "bun" };
    const { config } = await load(folder, { target: "shop", overrides });
    expect(config).toMatchObject({ name: "shop", listen: [{ port: 23999 }], balancer: { runtime: "bun" } });
    expect(config.pools).toMatchObject([
      { workload: { app: join(folder, "shop/index.mjs") }, instances: 9, runtime: "bun", cwd: folder },
    ]);
  });

  test("what a config module prints is not mistaken for its configuration", async () => {
    const text = "console.log('{\"app\":1}'); process.stdout.write('noise'); export default { app: './app.js' };";
    const { config } = await load(makeFolder({ ...APP, "paceline.config.mjs": text }));
    expect(config.pools).toHaveLength(1);
    await waitFor("its output", () => stderr.includes("noise"));
  });

  test.each([
    ["throws", "throw new Error('no database');", /^paceline\.config\.mjs: threw .*no database/],
    ["ends", "process.exit(0);", /^paceline\.config\.mjs: ended with code 0 before/],
    ["exports nothing", "export const a = 1;", /^paceline\.config\.mjs: has no default export/],
    [
      "holds a function",
      "export default { app() {} };",
      /^paceline\.config\.mjs: app: must be something JSON can hold[^\n]*$/,
    ],
    [
      "holds a function and a wrong port",
      "export default { app: './app.js', instances: Number.NaN, env: { A() {} }, listen: '99999' };",
      /^[^\n]*mjs: instances: must be a finite number, not NaN\n[^\n]*mjs: env.A: must be something JSON [^\n]*\n[^\n]*mjs: listen\[0\]: [^\n]*$/,
    ],
    [
      "cannot be parsed",
      "export default {\n  app: './app.js' instances: 2,\n};",
      /^paceline\.config\.mjs:2:19: syntax error: \w.*$/,
    ],
    ["fails to parse other text", "JSON.parse('{');", /^paceline\.config\.mjs: threw SyntaxError/],
    [
      "hangs",
      "await new Promise(() => setInterval(() => {}, 1000));",
      /paceline\.config\.mjs: did not finish loading within 0.7 s$/,
    ],
    ["spins", "for (;;);", /paceline\.config\.mjs: did not finish loading within 0.7 s$/],
  ])("a config module that %s", async (what, text, expected) => {
    const options = what === "hangs" || what === "spins" ? { timeoutMs: 700 } : {};
    const { message } = await load(makeFolder({ ...APP, "paceline.config.mjs": text }), options);
    expect(message).toMatch(expected);
  });

  test("a syntax error in TypeScript, and in a module that a config imports, has its place", async () => {
    const typed = makeFolder({ ...APP, "paceline.config.ts": "const a: number = 1;\nexport default {\n  a b,\n};" });
    expect((await load(typed)).message).toMatch(/^paceline\.config\.ts:3:5: syntax error: \w.*$/);
    const parts = { "paceline.config.js": "module.exports = require('./part.cjs');", "part.cjs": "\nlet a b;" };
    expect((await load(makeFolder({ ...APP, ...parts }))).message).toMatch(/^part\.cjs:2:7: syntax error: \w.*$/);
  });

  test("errors in JSON and TOML are reported with their line", async () => {
    const broken = await load(
      makeFolder({ ...APP, "paceline.config.json": '{\n  "app": "./app.js",\n  instances: 3\n}' }),
    );
    expect(broken.message).toMatch(/^paceline\.config\.json:3: is not valid JSON: /);
    const twice = '{\n  "app": "./app.js",\n  "env": {"A": "1"},\n  "pools": [{"env": 1}],\n  "env": {}\n}';
    expect((await load(makeFolder({ ...APP, "paceline.config.json": twice }))).message).toMatch(
      /^paceline\.config\.json:5: has the key "env" twice in one table/,
    );
    const others = '{\n "app": "./nope.js",\n "instances": 2,\n "listen": "99999",\n "instances": 0.5\n}';
    const { message: all }: { message: string } = await load(makeFolder({ ...APP, "paceline.config.json": others }));
    expect(all.split("\n").map((line) => line.replace(/^paceline\.config\.json:(\d: [\w[\]]+).*/, "$1"))).toEqual([
      ...["5: has", "5: instances", "2: app", "4: listen[0]"],
    ]);
    const toml = await load(makeFolder({ ...APP, "paceline.toml": 'app = "./app.js"\ninstances = = 3\n' }));
    expect(toml.message).toMatch(/^paceline\.toml:2: is not valid TOML: /);
    // A line that others may depend on ends the reading.
    for (const [text, lines] of [
      ["[pools.web\napp = 1\nb = c\n", ["1"]],
      ['name = shop\nlisten = "80"\nuser = root\n', ["1", "3"]],
      ["name = shop\nuser = root\ncwd = [1,\nenv = 2\ngroup = x\n", ["1", "2", "4"]],
      ['name = shop\nenv = { A = """b\n""" }\nuser = root\n', ["1", "4"]],
    ] as const) {
      const { message }: { message: string } = await load(makeFolder({ ...APP, "paceline.toml": text }));
      const found = message.split("\n").filter((line) => line.includes("not valid TOML"));
      expect({ text, lines: found.map((line) => line.split(":")[1]) }).toEqual({ text, lines });
    }
    const json = '{\n  "app": "./app.js", // comment\n  "name": "a"\n  "user": "b",\n  "lisen": 1,\n}';
    const { message }: { message: string } = await load(makeFolder({ ...APP, "paceline.config.json": json }));
    expect(message.split("\n").map((line) => line.split(":")[1])).toEqual(["2", "4", "6"]);
    const wrong = await load(
      makeFolder({ ...APP, "paceline.config.json": '{\n  "app": "./app.js",\n  "instances": -1,\n  "lisen": "80"\n}' }),
    );
    // An invalid value is not also reported as a missing one.
    const target = { max: 0, target: { cpuPercent: 0 }, schedule: [{ cron: "@daily", min: 0 }] };
    const pools = { web: { app: "./app.js", instances: target, recycleSchedule: "", cwd: "a\0b" } };
    const once = await load(
      makeFolder({ ...APP, "paceline.config.json": JSON.stringify({ pools, user: "", group: -1, name: "a\nb" }) }),
    );
    expect(once.message.replaceAll("paceline.config.json:1: ", "").split("\n").sort()).toEqual([
      "group: must be a name or a number, not -1",
      'name: must be text without control characters, not "a\\nb"',
      "pools.web.cwd: must not contain a NUL",
      'pools.web.instances.max: must be a whole number from 1 to 1024, or "cpus", not 0',
      "pools.web.instances.schedule[0].min: must be a whole number from 1 to 1024, not 0",
      "pools.web.instances.target.cpuPercent: must be a whole number from 1 to 6400, not 0",
      "pools.web.recycleSchedule: must not be empty",
      "user: must not be empty",
    ]);
    expect(wrong.message.split("\n")).toEqual([
      'paceline.config.json:3: instances: must be a whole number from 0 to 1024, or "cpus", not -1',
      'paceline.config.json:4: lisen: unknown key; did you mean "listen"?',
    ]);
  });

  test("missing files are reported", async () => {
    const folder = makeFolder({
      ...{ "empty/readme": "", "ecosystem.config.js": "", "conf.yaml": "", "app.py": "" },
      ...{ "yaml/paceline.config.yaml": "", "yaml/app.js": "", "both/paceline.config.cjs": "" },
      "both/paceline.config.json": '{ "static": "." }',
    });
    for (const [name, message] of [
      ["ecosystem.config.js", /is the configuration of another program; run: paceline import ecosystem/],
      ["conf.yaml", /is neither an app \(.*\) nor a config \(/],
      ["app.py", /is Python; run: /],
    ] as const)
      expect((await load(folder, { target: name })).message).toMatch(message);
    expect((await load(folder, { target: "nothing.toml" })).message).toBe(
      "nothing.toml: there is no such file or folder",
    );
    expect((await load(folder, { target: "empty" })).message).toMatch(
      /^empty: has no config file \(.*\) and no app \(/,
    );
    expect((await load(folder, { target: "yaml" })).message).toMatch(
      /^yaml\/paceline\.config\.yaml: is not read: a config file is named paceline\.config\.ts, .*paceline\.toml$/,
    );
    expect((await load(folder, { target: "both" })).config).toBeDefined();
  });
});
