/** Every key of PM2's ecosystem file is mapped or named, and its documented kinds of apps become valid pools. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { entryKindOf, whyNoApp } from "../config/find.js";
import { formatKeyPath } from "../config/problems.js";
import { resolveFleet } from "../config/resolve.js";
import { validate } from "../config/validate.js";
import { importPm2 } from "./pm2.js";
import { PM2_RULES } from "./pm2-rules.js";
import type { Keys, ProjectFacts } from "./rules.js";
import { scanSources } from "./sources.js";
import { documentOf } from "./write-config.js";

const SERVER = "require('http').createServer((q, s) => s.end('hi')).listen(process.env.PORT || 3210);\n";
const FILES: Record<string, string> = {
  "app.js": SERVER,
  "api/server.js": "require('./listen');\n",
  "api/listen.js": SERVER,
  "jobs.js": "setInterval(() => {}, 1000);\n",
  "main.ts": "export default { fetch: () => new Response('hi') };\n",
  "bin/plain": "plain\n",
  "bin/www": "#!/usr/bin/env node\nrequire('../app.js');\n",
  "report.py": "print('hi')\n",
  "site/index.html": "hi\n",
  ".env": "A=1\n",
  "api/prod.env": "A=1\n",
};
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pl-pm2-"));
  for (const [name, text] of Object.entries(FILES)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  // So that no program of this machine is needed.
  mkdirSync(join(folder, "path"));
  for (const name of ["node", "bash", "python3", "npm", "coffee"]) {
    writeFileSync(join(folder, "path", name), "");
    chmodSync(join(folder, "path", name), 0o755);
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

const facts = (environment: Record<string, string> = {}): ProjectFacts => ({
  cpus: 8,
  environment,
  look: (path) => entryKindOf(resolve(folder, path)),
  isText: () => true,
  portIn: (path) => (path === ".env" ? 4321 : undefined),
  isModule: (path) => whyNoApp(resolve(folder, path)) === undefined,
  scan: (path) => scanSources(resolve(folder, path)),
});

/** Returns the problems of a config with these keys. */
function problemsOf(document: Keys): string[] {
  const path = { env: { PATH: join(folder, "path") } };
  const pools = Object.entries((document.pools ?? {}) as Record<string, Keys>);
  // Only the search path is changed.
  const withPath = (pool: Keys) => ({ ...pool, env: { ...(pool.env as object), ...path.env } });
  const whole =
    document.pools === undefined
      ? withPath(document)
      : { ...document, pools: Object.fromEntries(pools.map(([name, pool]) => [name, withPath(pool)])) };
  const { input, findings } = validate(whole);
  const runtimes = { bun: "/bun", node: "/node", preferred: "bun" as const };
  resolveFleet(input, { baseDir: folder, listenDir: folder, defaultName: "shop", runtimes, findings });
  return findings.map(({ path, message }) => `${formatKeyPath(path)}: ${message}`);
}

/** The keys of PM2's own schema and documentation, with their aliases, and a value that has an effect. */
const KEYS: Record<string, unknown> = {
  ...{
    script: "app.js",
    exec: "app.js",
    cmd: "app.js",
    name: "shop",
    name_prefix: "x-",
    filter_env: true,
    namespace: "front",
  },
  ...{
    install_url: "https://example.com",
    cwd: ".",
    args: "-a 13 -b 12",
    exec_interpreter: "node",
    interpreter: "node",
  },
  ...{ node_args: "--max-old-space-size=256", interpreterArgs: ["--require", "./x"], interpreter_args: "--harmony" },
  ...{
    out_file: "o",
    out: "o",
    output: "o",
    out_log: "o",
    error_file: "e",
    error: "e",
    err: "e",
    err_file: "e",
    err_log: "e",
  },
  ...{ log_file: true, log: "l", disable_logs: true, log_type: "json", log_date_format: "YYYY", time: true },
  ...{
    env_file: ".env",
    env: { A: "1" },
    env_production: { A: "2" },
    env_staging: { A: "3" },
    max_memory_restart: "1G",
  },
  ...{ pid_file: "p", pid: "p", restart_delay: 4000, exp_backoff_restart_delay: 100, source_map_support: true },
  ...{ disable_source_map_support: true, wait_ready: true, instances: "max", kill_timeout: 3000, kill_retry_time: 100 },
  ...{ shutdown_with_message: true, listen_timeout: 8000, cron_restart: "0 0 * * *", cron: "0 0 * * *" },
  ...{ merge_logs: true, combine_logs: true, vizion: false, autorestart: false, watch_delay: 1000, watch: ["server"] },
  ...{ ignore_watch: ["node_modules"], watch_options: { followSymlinks: false }, min_uptime: "10s", max_restarts: 10 },
  ...{ execute_command: true, exec_mode: "cluster", force: true, append_env_to_name: true, post_update: ["npm i"] },
  ...{ trace: true, disable_trace: true, v8: true, event_loop_inspector: true, deep_monitoring: true },
  ...{ increment_var: "PORT", instance_var: "INSTANCE_ID", pmx: false, automation: false, treekill: false, port: 3000 },
  ...{
    username: "www",
    uid: "www",
    user: "www",
    gid: "www",
    windowsHide: true,
    write: true,
    io: {},
    stop_exit_codes: [0],
  },
};

describe("the keys of PM2", () => {
  it.each(Object.entries(KEYS))("%s is mapped or named, and the result is valid", (key, value) => {
    const source = key === "exec" || key === "cmd" ? { [key]: value } : { script: "app.js", [key]: value };
    const imported = importPm2({ apps: [source] }, facts());
    const mapped = imported.mapped.filter((each) => each.key === key);
    const named = imported.notes.filter((each) => each.key === key);
    expect(mapped.length + named.length).toBeGreaterThan(0);
    for (const { advice } of named) {
      expect(advice).not.toMatch(/not a key of PM2/);
      expect(advice).toMatch(/\S/);
      expect(advice).not.toMatch(/\n/);
    }
    expect(problemsOf(documentOf(imported))).toEqual([]);
  });

  it("all have a rule here, and every rule is tested", () => {
    const names = new Set(Object.entries(PM2_RULES).flatMap(([name, { aliases = [] }]) => [name, ...aliases]));
    names.delete("env_*");
    // A misspelling of ignore_watch that many files have.
    names.delete("watch_ignore");
    expect([...names].filter((name) => !(name in KEYS))).toEqual([]);
  });

  it("that are unknown are named", () => {
    const { notes } = importPm2([{ script: "app.js", instanses: 2 }], facts());
    expect(notes).toContainEqual({ app: "app", key: "instanses", advice: expect.stringMatching(/not a key of PM2/) });
  });
});

const app = (keys: Keys) => ({ script: "app.js", ...keys });
const VALUES: [Keys, Keys][] = [
  [{ instances: "max" }, { instances: "cpus" }],
  [{ instances: 0 }, { instances: "cpus" }],
  [{ instances: -1 }, { instances: 7 }],
  [{ instances: "4", exec_mode: "cluster_mode" }, { instances: 4 }],
  [{ interpreter: "node@22.1.0" }, { runtime: "node" }],
  [{ interpreter: "/usr/local/bin/bun" }, { runtime: "bun" }],
  [
    { node_args: ["--max-old-space-size=256", "--no-warnings"] },
    { runtime: "node", env: { NODE_OPTIONS: "--max-old-space-size=256 --no-warnings" } },
  ],
  [{ args: "--theme 'very dark'" }, { args: ["--theme", "very dark"] }],
  [{ kill_timeout: 3000 }, { drainTimeoutMs: 3000 }],
  [
    { listen_timeout: 8000, wait_ready: true },
    { readyTimeoutMs: 8000, readySignal: true },
  ],
  [
    { min_uptime: "10s", max_restarts: 10 },
    { stableAfterMs: 10_000, restartBudget: { maxFailures: 10 } },
  ],
  [{ max_memory_restart: "200M" }, { maxMemoryMb: 210 }],
  [{ max_memory_restart: 104_857_600 }, { maxMemoryMb: 105 }],
  [
    { max_memory_restart: "1G", cron_restart: "0 4 * * *" },
    { maxMemoryMb: 1074, recycleSchedule: "0 4 * * *" },
  ],
  [{ restart_delay: 4000 }, { backoff: { initialMs: 4000, maxMs: 4000, factor: 1 } }],
  [{ exp_backoff_restart_delay: 100 }, { backoff: { initialMs: 100, maxMs: 15_000, factor: 1.5 } }],
  [{ env: { N: 1, ON: true, LIST: [1] } }, { env: { N: "1", ON: "true", LIST: "[1]" } }],
  [{ port: 3000 }, { env: { PORT: "3000" } }],
  [{ env_file: ".env" }, { envFiles: [".env"] }],
  // Paceline does the same: there is nothing to write or to report.
  [{ watch: false, autorestart: true, merge_logs: true, time: true, treekill: true, vizion: false }, {}],
];

it.each(VALUES)("%j becomes %j", (keys, expected) => {
  const { pools } = importPm2(app(keys), facts());
  expect(pools.app).toEqual({ app: "./app.js", instances: 1, ...expected });
});

it("an unreadable size or schedule is named", () => {
  const { pools, notes } = importPm2(app({ max_memory_restart: "much", cron_restart: "61 * * * *" }), facts());
  expect(pools.app).toEqual({ app: "./app.js", instances: 1 });
  expect(notes.slice(0, 2)).toEqual([
    { app: "app", key: "max_memory_restart", advice: 'must be a size, not "much"' },
    { app: "app", key: "cron_restart", advice: expect.stringMatching(/^must be a cron pattern/) },
  ]);
});

it("what is no app, and a variable without a value, are named", () => {
  const { pools, notes } = importPm2([null, "str", { script: "app.js", env: { A: null, B: 1 } }, 42], facts());
  expect(Object.keys(pools)).toEqual(["app"]);
  expect(notes.slice(0, 4)).toEqual([
    ...[0, 1, 3].map((at) => ({
      ...{ app: "", key: `apps[${at}]` },
      advice: `is not an app and was left out: ${[null, '"str"', 0, 42][at]}`,
    })),
    { app: "app", key: "env.A", advice: "has no value and was left out" },
  ]);
});

it("values without effect need no note", () => {
  const quiet = {
    watch: false,
    autorestart: true,
    merge_logs: true,
    time: true,
    treekill: true,
    max_memory_restart: "",
    cron_restart: 0,
  };
  expect(importPm2(app(quiet), facts()).notes.map(({ key }) => key)).toEqual(["listen"]);
});

const KINDS: [string, Keys, Keys][] = [
  ["a module in TypeScript", { script: "main.ts", interpreter: "ts-node" }, { app: "./main.ts" }],
  ["a module without its extension", { script: "./app" }, { app: "./app.js" }],
  ["a module below cwd", { script: "server.js", cwd: "api" }, { app: "./api/server.js", cwd: "api" }],
  ["a script of Node without an extension", { script: "bin/www" }, { app: "./bin/www" }],
  ["a text of Node without a sign of it", { script: "bin/plain" }, { command: ["node", "bin/plain"] }],
  [
    "a module that serves nothing",
    { script: "jobs.js", args: "-v", kill_timeout: 9000 },
    { worker: "./jobs.js", args: ["-v"], stopSignal: "SIGINT", drainTimeoutMs: 9000 },
  ],
  ["a module by an absolute path", { script: "FOLDER/api/server.js" }, { app: "FOLDER/api/server.js" }],
  [
    "a module and its cwd by absolute paths",
    { script: "FOLDER/api/server.js", cwd: "FOLDER/api", env_file: "prod.env" },
    { app: "FOLDER/api/server.js", cwd: "FOLDER/api", envFiles: ["FOLDER/api/prod.env"] },
  ],
  [
    "a module below an absolute cwd",
    { script: "server.js", cwd: "FOLDER/api" },
    { app: "FOLDER/api/server.js", cwd: "FOLDER/api" },
  ],
  [
    "a worker by an absolute path",
    { script: "FOLDER/jobs.js", cwd: "api", env_file: ["prod.env"] },
    { worker: "FOLDER/jobs.js", stopSignal: "SIGINT", cwd: "api", envFiles: ["api/prod.env"] },
  ],
  ["a Python script by an absolute path", { script: "FOLDER/report.py" }, { command: ["python3", "FOLDER/report.py"] }],
  [
    "an interpreter with arguments",
    { script: "report.py", interpreter: "python3", interpreter_args: "-u" },
    { command: ["python3", "-u", "./report.py"] },
  ],
  [
    "Node with arguments for a text",
    { script: "bin/plain", node_args: ["--harmony"] },
    { command: ["node", "--harmony", "bin/plain"] },
  ],
  ["a Python script", { script: "report.py", args: ["--all"] }, { command: ["python3", "./report.py", "--all"] }],
  ["an interpreter of one's own", { script: "report.py", interpreter: "bash" }, { command: ["bash", "./report.py"] }],
  ["a program on PATH", { script: "npm", args: "run start" }, { command: ["npm", "run", "start"] }],
  ["a program with its arguments in one text", { script: "npm run start" }, { command: ["npm", "run", "start"] }],
  ["a shell's command line", { script: "cd api && npm start" }, { command: ["sh", "-c", "cd api && npm start"] }],
  [
    "a program with braces",
    { script: "npm", args: ["{port}"], env: { X: "{name}" } },
    { command: ["npm", "{{port}}"], env: { X: "{{name}}" } },
  ],
];

it.each(KINDS)("%s", (_, ...row) => {
  const [keys, expected] = JSON.parse(JSON.stringify(row).replaceAll("FOLDER", folder)) as [Keys, Keys];
  const imported = importPm2({ apps: [{ name: "one", ...keys }] }, facts());
  expect(imported.pools.one).toEqual({ instances: 1, ...expected });
  const words = { command: ["npm"] };
  // A path of the program itself is checked against the file system.
  expect(problemsOf({ ...documentOf(imported), ...("command" in expected && words) })).toEqual([]);
});

it("a list of folders becomes static pools, and `pm2` is another name of `apps`", () => {
  const folders = importPm2({ static: [{ path: "site", port: 8081, monitor: true }] }, facts());
  expect(documentOf(folders)).toEqual({ name: "static-8081", listen: "127.0.0.1:8081", static: "./site" });
  expect(folders.notes.map(({ key }) => key)).toContain("env.PM2_SERVE_MONITOR");
  expect(importPm2({ pm2: [app({})] }, facts()).pools).toEqual({ app: { app: "./app.js", instances: 1 } });
});

it("PM2's file server becomes a static pool", () => {
  const env = { PM2_SERVE_PATH: "site", PM2_SERVE_PORT: 8081, PM2_SERVE_SPA: "true" };
  const imported = importPm2([{ name: "front", script: "serve", env }], facts());
  expect(documentOf(imported)).toEqual({ name: "front", listen: "127.0.0.1:8081", static: "./site" });
  expect(imported.notes.map(({ key }) => key)).toContain("env.PM2_SERVE_SPA");
  expect(problemsOf(documentOf(imported))).toEqual([]);
  const absolute = importPm2([{ script: "serve", env: { ...env, PM2_SERVE_PATH: join(folder, "site") } }], facts());
  expect(absolute.pools.serve).toEqual({ static: join(folder, "site") });
  const beside = importPm2([{ script: "serve", env: { PM2_SERVE_PATH: "./" } }], facts());
  expect(beside.pools.serve).toEqual({ static: "." });
  expect(beside.notes).toContainEqual({ app: "serve", key: "script", advice: expect.stringMatching(/package\.json/) });
});

it.each<[Keys]>([
  [{ apps: [{ script: "serve", env: { PM2_SERVE_PATH: "site", PM2_SERVE_BASIC_AUTH: "true" } }] }],
  [{ apps: [{ script: "serve", env: { PM2_SERVE_BASIC_AUTH_USERNAME: "u", PM2_SERVE_BASIC_AUTH_PASSWORD: "p" } }] }],
  [{ apps: [{ script: "serve", args: "site", env_production: { PM2_SERVE_BASIC_AUTH: true } }] }],
  [{ apps: [{ script: "serve", args: "site 8080 --basic-auth-username u --basic-auth-password p" }] }],
  [{ static: [{ name: "serve", path: "site", basic_auth: { username: "u" } }] }],
])("files behind a password are left out: %j", (document) => {
  expect(() => importPm2(document, facts())).toThrow(/no app for a pool: serve: omitted, since its files need a pass/);
  const { pools, notes } = importPm2({ pm2: [app({})], ...document }, facts());
  expect(Object.keys(pools)).toEqual(["app"]);
  expect(notes).toContainEqual({
    app: "serve",
    key: "script",
    advice: expect.stringMatching(/^omitted, since its f/),
  });
});

describe("a file with several apps", () => {
  const apps = [
    {
      name: "Shop API",
      script: "api/server.js",
      instances: 4,
      env: { PORT: 4000 },
      env_production: { NODE_ENV: "production" },
    },
    { name: "admin", script: "app.js", env: { PORT: 4001 } },
    { name: "jobs", script: "jobs.js", watch: true },
  ];

  it("has a pool for each app that serves, at a separate path, and names the rest", () => {
    const imported = importPm2({ apps, deploy: { production: { host: "example.com" } } }, facts());
    const document = documentOf(imported);
    expect(document).toEqual({
      listen: "127.0.0.1:4000",
      pools: {
        "shop-api": { app: "./api/server.js", instances: 4, env: { PORT: "4000" } },
        admin: { app: "./app.js", instances: 1, env: { PORT: "4001" }, routes: "/admin/", stripPrefix: true },
        jobs: { worker: "./jobs.js", instances: 1, stopSignal: "SIGINT" },
      },
    });
    expect(problemsOf(document)).toEqual([]);
    const named = imported.notes.map((note) => `${note.app}: ${note.key}`);
    expect(named).toEqual(
      expect.arrayContaining([": deploy", "Shop API: env_production", "jobs: script", "admin: routes"]),
    );
  });

  it("imports one of them with --only, and its variables with --env", () => {
    const imported = importPm2({ apps }, facts(), { only: ["Shop API"], envName: "production" });
    expect(documentOf(imported)).toEqual({
      name: "Shop API",
      listen: "127.0.0.1:4000",
      ...{ app: "./api/server.js", instances: 4, env: { PORT: "4000", NODE_ENV: "production" } },
    });
    expect(() => importPm2({ apps }, facts(), { only: ["shop"] })).toThrow(
      /has no app shop \(known: Shop API, admin, jobs\)/,
    );
    const unknown = (only: string[]) => () => importPm2({ apps }, facts(), { only, envName: "produktion" });
    expect(unknown(["Shop API"])).toThrow("has no env_produktion for --env produktion (known: production)");
    expect(unknown(["admin"])).toThrow(/--env produktion \(no app has an env_NAME\)/);
  });
});

it("an app that PM2 starts at given times becomes a worker with cron; one that runs once is left out, with its keys", () => {
  const times = {
    autorestart: false,
    cron_restart: "0 3 * * *",
    instances: 2,
    wait_ready: true,
    max_memory_restart: "1G",
  };
  const { pools, notes } = importPm2([{ name: "nightly", script: "jobs.js", ...times }], facts());
  expect(pools.nightly).toEqual({ worker: "./jobs.js", cron: "0 3 * * *", stopSignal: "SIGINT" });
  expect(notes.map(({ key }) => key)).toEqual(["script", "wait_ready", "max_memory_restart"]);
  expect(problemsOf(documentOf({ fleet: {}, pools, mapped: [], notes }))).toEqual([]);
  const script = importPm2([{ name: "nightly", script: "report.py", ...times }], facts());
  expect(script.pools.nightly).toEqual({
    worker: ["python3", "./report.py"],
    ...{ cron: "0 3 * * *", stopSignal: "SIGINT" },
  });
  const runsOnce = { script: "jobs.js", autorestart: false, max_restarts: 1 };
  expect(() => importPm2([runsOnce], facts())).toThrow(/has no app for a pool: jobs: omitted, since it runs once/);
  const once = importPm2([{ script: "app.js" }, runsOnce], facts());
  expect(Object.keys(once.pools)).toEqual(["app"]);
  expect(once.notes).toContainEqual({ app: "jobs", key: "script", advice: expect.stringMatching(/^omitted/) });
  expect(once.mapped.map(({ key }) => key)).toEqual(expect.arrayContaining(["autorestart", "max_restarts"]));
});

it("a fleet of only workers has no listen and no routes", () => {
  const apps = [
    { name: "a", script: "jobs.js", env: { PORT: 1, X: "{name}" }, node_args: "--no-warnings" },
    { name: "b", script: "jobs.js", wait_ready: true },
  ];
  const document = documentOf(importPm2({ apps }, facts()));
  expect(document).toEqual({
    pools: {
      a: {
        worker: "./jobs.js",
        instances: 1,
        stopSignal: "SIGINT",
        runtime: "node",
        env: { PORT: "1", X: "{{name}}", NODE_OPTIONS: "--no-warnings" },
      },
      b: { worker: "./jobs.js", instances: 1, stopSignal: "SIGINT", readySignal: true },
    },
  });
  expect(problemsOf(document)).toEqual([]);
});

it("the port is the one in the sources, if no variable sets it", () => {
  expect(importPm2({ apps: [{ script: "api/server.js" }] }, facts()).fleet.listen).toBe("127.0.0.1:3210");
});

it("the port is the one in an env file, if no variable sets it", () => {
  const imported = (keys: Keys) => importPm2({ apps: [{ script: "app.js", env_file: ".env", ...keys }] }, facts());
  expect(imported({}).fleet.listen).toBe("127.0.0.1:4321");
  expect(imported({ env: { PORT: 4000 } }).fleet.listen).toBe("127.0.0.1:4000");
});

it("a secret of the importing shell is not written", () => {
  const env = { DB_PASSWORD: "hunter2", API_KEY: "in the file", PACELINE_POOL: "x" };
  const { pools, notes } = importPm2(app({ env }), facts({ DB_PASSWORD: "hunter2" }));
  expect(pools.app?.env).toEqual({ API_KEY: "in the file" });
  expect(notes.map(({ key }) => key)).toEqual(expect.arrayContaining(["env.DB_PASSWORD", "env.PACELINE_POOL"]));
});

it("a compose file is rejected with one line", () => {
  const compose = { services: { web: { image: "nginx" } } };
  expect(() => importPm2(compose, facts())).toThrow(/^is a compose file, which is not imported/);
});

it.each([[{}], [{ apps: [] }], [[]], [undefined], ["text"], [{ apps: "app.js" }]])(
  "%j is not an ecosystem file",
  (document) => {
    expect(() => importPm2(document, facts())).toThrow(/must export/);
  },
);
