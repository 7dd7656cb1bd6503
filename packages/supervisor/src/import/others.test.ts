/** Procfiles, app.json, gunicorn's settings, the folders that `init` knows, and how a config is written. */
import { parse } from "smol-toml";
import { describe, expect, it } from "vitest";
import { GUNICORN_RULES, importGunicorn } from "./gunicorn.js";
import { importHeroku, parseProcfile } from "./procfile.js";
import { proposeFor } from "./project.js";
import type { ProjectFacts } from "./rules.js";
import { type Keys, poolName, splitWords } from "./rules.js";
import { documentOf, formatOf, writeConfig } from "./write-config.js";

const facts = (...files: string[]): ProjectFacts => ({
  cpus: 4,
  environment: {},
  look: (path) => (files.includes(path) ? "file" : "nothing"),
  isText: () => true,
  portIn: () => 4321,
  isModule: () => true,
  scan: (path) => ({ serves: true, ...(path === "asks.js" && { port: 3210 }) }),
});
const heroku = (procfile: string | undefined, appJson?: unknown, ...files: string[]) =>
  importHeroku({ procfile, appJson, envFiles: [] }, facts(...files));

describe("a Procfile", () => {
  it.each<[string, Keys]>([
    ["node server.js --dark", { app: "./server.js", args: ["--dark"], instances: 1, runtime: "node" }],
    ["node gone.js", { command: ["node", "gone.js"], instances: 1 }],
    ["npm start", { command: ["npm", "start"], instances: 1 }],
    [
      "gunicorn -b 0.0.0.0:$PORT shop:app",
      { command: ["sh", "-c", "exec gunicorn -b 0.0.0.0:$PORT shop:app"], instances: 1 },
    ],
    ["cd api && npm start", { command: ["sh", "-c", "cd api && npm start"], instances: 1 }],
    ["A=1 npm start", { command: ["sh", "-c", "A=1 npm start"], instances: 1 }],
    ["serve --title {name}", { command: ["serve", "--title", "{{name}}"], instances: 1 }],
  ])("web: %s", (line, expected) => {
    expect(heroku(`web: ${line}\n`, undefined, "server.js").pools.web).toEqual(expected);
  });

  it("has a worker for every other type, and names release", () => {
    const { pools, notes } = heroku("# comment\nweb: npm start\nrelease: npm run migrate\r\nclock: node clock.js\n");
    expect(pools).toMatchObject({ web: { command: ["npm", "start"] }, clock: { worker: ["node", "clock.js"] } });
    expect(notes.map(({ key }) => key)).toEqual(["release", "PORT"]);
    const open = heroku("web: gunicorn -b 0.0.0.0:$PORT shop:app\n");
    expect(open.notes).toContainEqual({ app: "", key: "web", advice: expect.stringMatching(/127\.0\.0\.1/) });
    expect(heroku("Clock: node clock.js\n")).toMatchObject({ pools: { clock: {} }, notes: [] });
    expect(() => heroku("release: npm run migrate\n")).toThrow(/no process type/);
  });

  it.each<[string, string, string[], unknown, string | undefined, RegExp]>([
    ["a command", "npm start", [], undefined, undefined, /127\.0\.0\.1:8080\); each instance gets a PORT of its own$/],
    ["a command", "npm start", [".env"], undefined, "127.0.0.1:4321", /127\.0\.0\.1:4321\); each instance gets a PORT/],
    ["an app", "node server.js", [], undefined, undefined, /127\.0\.0\.1:8080\); the app's own port is not opened$/],
    ["an app", "node server.js", [".env"], undefined, "127.0.0.1:4321", /127\.0\.0\.1:4321\); the app's own port/],
    ["an app that asks for a port", "node asks.js", [], undefined, "127.0.0.1:3210", /127\.0\.0\.1:3210\)/],
    ["an app that asks for a port", "node asks.js", [".env"], undefined, "127.0.0.1:4321", /127\.0\.0\.1:4321\)/],
    ["an app", "node server.js", [".env"], { env: { PORT: "4000" } }, "127.0.0.1:4000", /127\.0\.0\.1:4000\)/],
  ])("the port of %s, %s with %j and %j", (_, line, envFiles, appJson, listen, said) => {
    const { fleet, pools, notes } = importHeroku(
      { procfile: `web: ${line}\n`, envFiles, appJson },
      facts("server.js", "asks.js"),
    );
    expect(fleet.listen).toBe(listen);
    expect(pools.web).not.toHaveProperty("port");
    expect(notes).toContainEqual({ app: "web", key: "PORT", advice: expect.stringMatching(said) });
  });

  it("is read line by line", () => {
    expect(parseProcfile("web:  a b \n\n# note\nnothing\nweb-2: c: d")).toEqual({
      types: { web: "a b", "web-2": "c: d" },
      unread: [{ line: 4, text: "nothing", why: "is not `type: command`" }],
    });
    expect(heroku("web: a b\nworker node w.js").notes).toContainEqual({
      ...{ app: "", key: "Procfile:2" },
      advice: "is not `type: command` and was left out: worker node w.js",
    });
  });

  it.each([
    ["web: c d", "repeats `web` and was left out: web: c d"],
    ["a: echo 'b", "has a quote (') without an end and was left out: a: echo 'b"],
    ['a: echo "b\\"', 'has a quote (") without an end and was left out: a: echo "b\\"'],
    ["a: echo b\\", "ends in a backslash and was left out: a: echo b\\"],
    ["a: echo \"it's\" it\\'s '\"\\' b\\\\ # don't", undefined],
  ])("%s: a line that cannot be used is named", (line, advice) => {
    const { pools, notes } = heroku(`web: a b\n${line}\n`);
    expect(pools.web).toMatchObject({ command: ["a", "b"] });
    expect(Object.keys(pools)).toHaveLength(advice === undefined ? 2 : 1);
    expect(notes.find(({ key }) => key === "Procfile:2")?.advice).toBe(advice);
  });
});

it("app.json: every key is mapped or named, and package.json stands in for a Procfile", () => {
  const appJson = {
    ...{ name: "Shop", description: "x", keywords: [], website: "x", repository: "x", logo: "x", success_url: "/" },
    ...{
      scripts: { postdeploy: "x" },
      addons: ["postgres"],
      buildpacks: [],
      environments: {},
      stack: "heroku-24",
      image: "x",
    },
    env: { A: "1", B: { value: "2" }, C: { description: "a secret", generator: "secret" } },
    formation: { web: { quantity: 3, size: "basic" }, clock: { quantity: 1 } },
    odd: 1,
  };
  const imported = heroku(undefined, appJson, "package.json");
  expect(documentOf(imported)).toEqual({
    name: "Shop",
    command: ["npm", "start"],
    instances: 3,
    env: { A: "1", B: "2" },
  });
  const known = [...imported.mapped, ...imported.notes].map(({ key }) => key);
  expect(known).toEqual(
    expect.arrayContaining([...Object.keys(appJson), "env.C", "formation.clock", "formation.web.size"]),
  );
});

describe("gunicorn's settings", () => {
  const none = () => false;

  it("become the keys of a pool", () => {
    const settings = {
      ...{ wsgi_app: "shop.wsgi:application", bind: ["0.0.0.0:9000", "unix:/run/shop.sock"], workers: 5, threads: 4 },
      ...{
        timeout: 90,
        graceful_timeout: 20,
        max_requests: 1000,
        max_requests_jitter: 250,
        preload_app: true,
        chdir: "/srv/shop",
      },
      ...{ raw_env: ["A=1", "B=x=y"], accesslog: "-", forwarded_allow_ips: "10.0.0.1,10.0.0.2", proc_name: "shop" },
    };
    const imported = importGunicorn(settings, undefined, (path) => path === ".venv/bin/python");
    expect(documentOf(imported)).toEqual({
      name: "shop",
      listen: ["0.0.0.0:9000", "unix:/run/shop.sock"],
      wsgi: "shop.wsgi:application",
      python: ".venv/bin/python",
      ...{
        instances: 5,
        threads: 4,
        requestTimeoutMs: 90_000,
        drainTimeoutMs: 20_000,
        maxRequests: 1250,
        recycleJitter: 0.2,
        preload: true,
      },
      cwd: "/srv/shop",
      env: { A: "1", B: "x=y" },
      balancer: { accessLog: true, trustedProxies: ["10.0.0.1", "10.0.0.2"] },
    });
    expect(imported.notes).toEqual([]);
  });

  it("with uvicorn's workers become an asgi pool", () => {
    const settings = { worker_class: "uvicorn.workers.UvicornWorker", threads: 4, timeout: 5, bind: "[::1]:8001" };
    const { fleet, pools, notes } = importGunicorn(settings, "main:app", none);
    expect({ fleet, pools }).toEqual({
      fleet: { listen: "[::1]:8001" },
      pools: { web: { asgi: "main:app", instances: 1 } },
    });
    expect(notes.map(({ key }) => key)).toEqual(["threads", "timeout", "python"]);
  });

  it.each(Object.keys(GUNICORN_RULES))("%s is mapped or named", (key) => {
    for (const value of ["<function>", 3, "some", true]) {
      const { mapped, notes } = importGunicorn({ [key]: value }, "a:b", none);
      expect([...mapped, ...notes].map((each) => each.key)).toContain(key);
    }
  });

  it.each<[Keys, RegExp]>([
    [{ raw_env: ["A", "=b"] }, /^is not NAME=value and was left out: A$/],
    [{ timeout: -1 }, /^must be a whole number from 0 to 86400, not -1$/],
    [{ graceful_timeout: 1e9 }, /^must be a whole number from 0 to /],
    [{ workers: 2.5 }, /^must be a whole number from 0 to /],
    [{ workers: -2 }, /^must be a whole number from 0 to /],
    [{ bind: "127.0.0.1:70000" }, /^127\.0\.0\.1:70000 was left out: the port must be between/],
    [{ bind: ["shop.example"] }, /^shop\.example:8000 was left out: the host must be an IP address/],
    [{ wrokers: null }, /^not a setting of gunicorn$/],
  ])("%j cannot be converted and is named", (settings, advice) => {
    const { fleet, pools, notes } = importGunicorn(settings, "a:b", () => true);
    expect({ fleet, pools }).toEqual({
      fleet: {},
      pools: { web: { wsgi: "a:b", python: ".venv/bin/python", instances: 1 } },
    });
    expect(notes[0]).toMatchObject({ key: Object.keys(settings)[0], advice: expect.stringMatching(advice) });
  });

  it("without an app are rejected", () => {
    expect(() => importGunicorn({ workers: 2 }, undefined, none)).toThrow(/--app MODULE:CALLABLE/);
  });
});

describe("init", () => {
  const propose = (files: Record<string, string>) =>
    proposeFor({
      isFile: (path) => path.replace(/^\.\//, "") in files,
      text: (path) => files[path] ?? "",
      scan: (path) => ({ serves: files[path.replace(/^\.\//, "")] !== "jobs" }),
      names: [...new Set(Object.keys(files).map((path) => path.split("/")[0] as string))],
    });

  it.each<[Record<string, string>, Keys | undefined]>([
    [{ "app.js": "" }, { app: "./app.js", instances: 4 }],
    [
      { "package.json": '{"main":"lib/x.js"}', "lib/x.js": "", "app.js": "" },
      { app: "./lib/x.js", instances: 4 },
    ],
    [
      { "package.json": '{"scripts":{"start":"node ./src/go.mjs"}}', "src/go.mjs": "" },
      { app: "./src/go.mjs", instances: 4 },
    ],
    [{ "package.json": '{"scripts":{"start":"next start"}}' }, { command: ["npm", "start"], instances: 1 }],
    [
      { "package.json": "broken", "index.js": "" },
      { app: "./index.js", instances: 4 },
    ],
    [
      { "build/index.js": "", "package.json": '{"scripts":{"start":"vite preview"}}' },
      { command: ["node", "build/index.js"], instances: 2 },
    ],
    [
      { ".next/standalone/server.js": "" },
      { command: ["node", ".next/standalone/server.js"], env: { HOSTNAME: "{host}" }, instances: 2 },
    ],
    [
      { "manage.py": "", "shop/wsgi.py": "", "venv/bin/python": "" },
      { wsgi: "shop.wsgi:application", python: "venv/bin/python", instances: 4 },
    ],
    [{ "app.py": "from flask import Flask\napp = Flask(__name__)\n" }, { wsgi: "app:app", instances: 4 }],
    [{ "main.py": "app: FastAPI = fastapi.FastAPI()\n" }, { asgi: "main:app", instances: 4 }],
    [{ "start.py": "import fapws.base\n" }, { fapws: "./start.py", instances: 4 }],
    [{ "api.py": "def api(environ, start_response):\n" }, { wsgi: "api:api", instances: 4 }],
    [{ "index.html": "", "package.json": "{}" }, undefined],
    [{ "index.html": "", "public/index.html": "" }, { static: "./public" }],
    [{ "index.js": "jobs" }, { worker: "./index.js", instances: 1 }],
    [
      { "index.js": "jobs", "server.js": "" },
      { app: "./server.js", instances: 4 },
    ],
    [
      { "package.json": '{"scripts":{"start":"node index.js"}}', "index.js": "jobs", "server.js": "" },
      { worker: "./index.js", instances: 1 },
    ],
    [
      { "package.json": '{"main":"lib/x.js"}', "lib/x.js": "jobs", "app.js": "" },
      { app: "./app.js", instances: 4 },
    ],
    [
      { "package.json": '{"bin":"./bin/www"}', "bin/www": "" },
      { app: "./bin/www", instances: 4 },
    ],
    [
      { "package.json": '{"bin":{"tool":"cli.js","serve":"bin/serve.js"}}', "cli.js": "jobs", "bin/serve.js": "" },
      { app: "./bin/serve.js", instances: 4 },
    ],
    [{ "wsgi.py": "application = make()\n" }, { wsgi: "wsgi:application", instances: 4 }],
    [{ "wsgi.py": "from shop import app as application\n" }, { wsgi: "wsgi:application", instances: 4 }],
    [{ "asgi.py": "from shop import app\n" }, { asgi: "asgi:app", instances: 4 }],
    [{ "wsgi.py": "def application(env, start_response):\n" }, { wsgi: "wsgi:application", instances: 4 }],
    [{ "site.py": "def hello(env, start_response):\n" }, { wsgi: "site:hello", instances: 4 }],
    [{ "wsgi.py": "import os\n" }, undefined],
    [{ "dist/index.html": "", "README.md": "" }, { static: "./dist" }],
    [{ "README.md": "" }, undefined],
  ])("%j", (files, expected) => {
    const proposal = propose(files);
    expect(proposal?.keys).toEqual(expected);
    // Each line says what it does.
    if (proposal !== undefined)
      expect(Object.keys(proposal.comments)).toEqual(expect.arrayContaining(Object.keys(proposal.keys)));
  });
});

describe("a written config", () => {
  const document = {
    name: 'a "b"\\',
    listen: ["127.0.0.1:1", "unix:/x"],
    env: { "odd name": "é\n", PATH: "$x" },
    pools: {
      web: { app: "./app.js", instances: 2, backoff: { factor: 1.5 } },
      "b-2": { static: ".", immutable: true },
    },
  };
  const text = { head: ["line"], document, comments: { "pools.web.app": "the app", pools: "all" } };

  it("reads back the same in every format", () => {
    expect(parse(writeConfig(text, "toml"))).toEqual(document);
    expect(JSON.parse(writeConfig(text, "json"))).toEqual(document);
    const module = writeConfig(text, "module");
    expect(new Function(module.replace("export default", "return"))()).toEqual(document);
    for (const format of ["toml", "module"] as const)
      expect(writeConfig(text, format)).toMatch(/^.{1,3}line\n[\s\S]*(#|\/\/) the app\n/);
  });

  it("has the format of its name", () => {
    expect(["a.toml", "a.json", "a.ts", "a.mjs", "a.yml", "a"].map(formatOf)).toEqual([
      "toml",
      "json",
      "module",
      "module",
      undefined,
      undefined,
    ]);
  });
});

it("command lines are split as a shell splits them, or run in a shell", () => {
  expect(splitWords(`node  "a b" 'c"d' e\\ f g"h"i`)).toEqual(["node", "a b", 'c"d', "e f", "ghi"]);
  for (const line of ["a | b", "a && b", "a $B", 'a "$B"', "a > b", "A=1 b", "a 'b", "a; b", "a `b`", "~/a", "a *.js"])
    expect(splitWords(line)).toBeUndefined();
});

it("pools get valid, distinct names", () => {
  const taken = ["web"];
  expect(["My Shop!", "web", "1st", "balancer", "–"].map((name) => poolName(name, taken))).toEqual([
    "my-shop",
    "web-2",
    "st",
    "balancer-2",
    "app",
  ]);
});
