/** The valid keys of a configuration, and the errors for invalid ones, all reported at once. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FleetConfig } from "../core/model.js";
import { KIND_NAMES } from "./kinds/index.js";
import { formatKeyPath } from "./problems.js";
import { resolveFleet } from "./resolve.js";
import { type commonPoolFields, type FleetInput, ownPoolFields } from "./schema.js";
import { type Finding, validate } from "./validate.js";

let folder: string;

/** Reports that it is Python 3.11. */
const INTERPRETER = "./python3";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pl-config-"));
  for (const name of ["app.ts", "api.js"]) writeFileSync(join(folder, name), "export default {}");
  writeFileSync(join(folder, "start.py"), "");
  writeFileSync(join(folder, INTERPRETER), "#!/bin/sh\necho 3.11\n", { mode: 0o755 });
  mkdirSync(join(folder, "site"));
  writeFileSync(join(folder, "site", "server.mjs"), "");
  mkdirSync(join(folder, "empty"));
  writeFileSync(join(folder, ".env"), "# comment\nexport A=from-file\nB='two words'\nC=3\n");
  writeFileSync(join(folder, ".env.more"), "A=from-more\n");
});
afterAll(() => rmSync(folder, { recursive: true }));

const BOTH = { bun: "/bun", node: "/node" };

function read(raw: unknown, runtimes: { bun?: string; node?: string } = BOTH) {
  const { input, findings, original } = validate(raw);
  return resolved(input, findings, runtimes, original);
}

function resolved(
  input: FleetInput,
  findings: Finding[] = [],
  runtimes: Parameters<typeof read>[1] = BOTH,
  original: ReturnType<typeof validate>["original"] = (path) => path,
) {
  const preferred = runtimes.bun === undefined ? ("node" as const) : ("bun" as const);
  const context = {
    baseDir: folder,
    listenDir: folder,
    defaultName: "shop",
    runtimes: { ...runtimes, preferred },
    ...{ findings, original },
  };
  const config = resolveFleet(input, context);
  return { config, problems: findings.map(({ path, message }) => `${formatKeyPath(path)}: ${message}`) };
}

function good(raw: unknown): FleetConfig {
  const { config, problems } = read(raw);
  expect(problems).toEqual([]);
  return config;
}

/** A value for each key that may be a default for all pools; none of them is the built-in default. */
const COMMON: Record<keyof typeof commonPoolFields, unknown> = {
  runtime: "node",
  protocol: "http1",
  cwd: "site",
  env: { A: "own" },
  envFiles: [".env"],
  readyTimeoutMs: 1001,
  stableAfterMs: 1002,
  drainTimeoutMs: 1003,
  termTimeoutMs: 1004,
  killTimeoutMs: 1005,
  minReadyMs: 1006,
  maxSurge: 3,
  hangAfterMs: 1007,
  backoff: { factor: 3 },
  restartBudget: { maxFailures: 7 },
  maxMemoryMb: 1010,
  memoryMetric: "pss",
  maxRequests: 1008,
  maxAgeMs: 1011,
  recycleSchedule: "0 4 * * *",
  recycleJitter: 0.5,
  limits: { maxConnections: 1009 },
  errorPages: { 503: "app.ts" },
  compress: { minBytes: 1012 },
  maxOutputBytes: 1 << 20,
};

describe("a valid configuration", () => {
  test("the keys at the top level form one pool named web, with every default filled in", () => {
    const config = good({ app: "./app.ts" });
    expect(config).toMatchObject({
      name: "shop",
      listen: [{ kind: "tcp", host: "127.0.0.1", port: 8080 }],
      orphanGraceMs: 60_000,
      balancer: { processes: 1, runtime: "bun", trustedProxies: [] },
      pools: [
        {
          name: "web",
          kind: "app",
          workload: { app: join(folder, "app.ts") },
          instances: 4,
          routes: ["/"],
          cwd: folder,
          env: {},
        },
      ],
    });
    expect(config.pools[0]?.policy).toEqual({
      readyTimeoutMs: 30_000,
      stableAfterMs: 10_000,
      drainTimeoutMs: 30_000,
      termTimeoutMs: 5_000,
      killTimeoutMs: 5_000,
      minReadyMs: 1_000,
      maxSurge: "25%",
      hangAfterMs: 30_000,
      backoff: { initialMs: 200, maxMs: 10_000, factor: 2, jitter: 0.2 },
      restartBudget: { maxFailures: 5, periodMs: 60_000 },
    });
    const undefinedValues = JSON.stringify(config, (_, value) => (value === undefined ? "UNDEFINED" : value));
    expect(undefinedValues).not.toContain("UNDEFINED");
  });

  test("a style belongs to an app", () => {
    const pools = { web: { app: "./app.ts" }, api: { app: "./api.js", style: "node", routes: "/api/" } };
    expect(good({ pools }).pools.map(({ workload }) => workload.style)).toEqual([undefined, "node"]);
    expect(good({ app: "./app.ts", style: "fetch" }).pools[0]?.workload.style).toBe("fetch");
    expect(read({ style: "fetch", pools }).problems).toHaveLength(1);
    expect(read({ static: ".", style: "fetch" }).problems).toHaveLength(1);
    expect(read({ static: ".", stripPrefix: true }).problems).toHaveLength(1);
    expect(read({ app: "./app.ts", style: "wsgi" }).problems).toHaveLength(1);
  });

  test.each(Object.entries(COMMON))("`%s` beside `pools` applies to each pool", (key, value) => {
    const app = "./app.ts";
    const [before] = good({ pools: { web: { app } } }).pools;
    const [own] = good({ pools: { web: { app, [key]: value } } }).pools;
    expect(good({ [key]: value, pools: { web: { app } } }).pools).toEqual([own]);
    expect(own).not.toEqual(before);
  });

  test("a pool's own keys override those of the top level, part by part", () => {
    const config = good({
      runtime: "node",
      drainTimeoutMs: 1_000,
      backoff: { initialMs: 50, maxMs: 70 },
      limits: { maxHeadBytes: 4_096 },
      env: { A: "top", N: 1, YES: true },
      pools: {
        web: { app: "./app.ts", backoff: { maxMs: 60 }, limits: { maxBodyBytes: 9 }, env: { A: "pool" } },
        api: { app: "./api.js", routes: "/api/", runtime: "bun", drainTimeoutMs: 2_000, instances: "cpus" },
      },
    });
    const [web, api] = config.pools;
    expect(web).toMatchObject({ runtime: "node", env: { A: "pool", N: "1", YES: "true" } });
    expect(web?.policy).toMatchObject({ drainTimeoutMs: 1_000, backoff: { initialMs: 50, maxMs: 60, factor: 2 } });
    expect(web?.limits).toMatchObject({ maxHeadBytes: 4_096, maxBodyBytes: 9, headTimeoutMs: 15_000 });
    expect(api).toMatchObject({ runtime: "bun", routes: ["/api/"], instances: availableParallelism() });
    expect(api?.policy.drainTimeoutMs).toBe(2_000);
    expect(config.balancer).toMatchObject({ runtime: "node", policy: { drainTimeoutMs: 1_000 } });
  });

  test("later env files override earlier ones, and variables override them", () => {
    const config = good({ app: "./app.ts", envFiles: [".env", ".env.more"], env: { C: "own" } });
    expect(config.pools[0]?.env).toEqual({ A: "from-more", B: "two words", C: "own" });
  });

  test.each([
    [{ user: "root" }, { name: "root", uid: 0, gid: 0, group: null, home: "/root" }],
    [
      { user: "0", group: "0" },
      { name: "root", uid: 0, gid: 0, group: "0", home: "/root" },
    ],
    [
      { user: "54321", group: "1" },
      { name: "54321", uid: 54321, gid: 1, group: "1", home: null },
    ],
  ])("%j", (keys, user) => expect(good({ app: "./app.ts", ...keys }).user).toEqual(user));

  test.each([
    ["8080", { kind: "tcp", host: "127.0.0.1", port: 8080 }],
    ["localhost:81", { kind: "tcp", host: "127.0.0.1", port: 81 }],
    ["10.1.2.3:9000", { kind: "tcp", host: "10.1.2.3", port: 9000 }],
    [":8080", { kind: "tcp", host: "0.0.0.0", port: 8080 }],
    ["[::1]:8080", { kind: "tcp", host: "::1", port: 8080 }],
    ["[0:0::1]:8080", { kind: "tcp", host: "::1", port: 8080 }],
    ["[::]:8080", { kind: "tcp", host: "::", port: 8080 }],
    ["unix:/run/shop.sock", { kind: "unix", path: "/run/shop.sock" }],
    ["unix:/run/shop.sock?mode=0660", { kind: "unix", path: "/run/shop.sock", mode: 0o660 }],
    ["unix:/run/shop.sock?group=root", { kind: "unix", path: "/run/shop.sock", group: { name: "root", gid: 0 } }],
    ["unix:/a?group=4711&mode=600", { kind: "unix", path: "/a", mode: 0o600, group: { name: "4711", gid: 4711 } }],
  ])("listen %s", (text, address) => {
    expect(good({ app: "./app.ts", listen: text }).listen).toEqual([address]);
  });

  test("a proxy runs on Node, with its options and the absolute path of its certificates", () => {
    const pools = {
      web: { app: "./app.ts" },
      old: { proxy: "https://old.example/base", routes: "/old/", proxyOptions: { changeOrigin: false } },
    };
    const [web, old] = good({ runtime: "bun", pools }).pools;
    expect(web?.runtime).toBe("bun");
    expect(old).toMatchObject({
      kind: "proxy",
      source: "https://old.example/base",
      runtime: "node",
      instances: 1,
      workload: { proxy: { target: "https://old.example/base", options: { changeOrigin: false } } },
    });
    const cookieDomainRewrite = { "old.example": "" };
    expect(good({ proxy: "http://[::1]:81", proxyOptions: { cookieDomainRewrite } }).pools[0]?.workload).toEqual({
      proxy: { target: "http://[::1]:81", options: { cookieDomainRewrite } },
    });
    expect(good({ proxy: "http://a", runtime: "bun" })).toMatchObject({
      balancer: { runtime: "bun" },
      pools: [{ runtime: "node" }],
    });
  });

  test.each([
    [{ proxy: "old.example" }, 'proxy: must be a URL such as "https://old.example", not "old.example"'],
    [{ proxy: "ftp://a" }, "proxy: must be an http:// or https:// URL, not one of ftp:"],
    [{ proxy: "http://u:p@a" }, "proxy: must not contain a user or password: it appears in status and logs"],
    [{ proxy: "http://a?b" }, 'proxy: must not have a query or a fragment: "http://a?b"'],
    [{ proxy: "http://a:0" }, "proxy: must not have the port 0"],
    [
      { proxy: "http://a", proxyOptions: { secure: false } },
      "proxyOptions.secure: is only valid for an https upstream: http has no certificates",
    ],
    [{ proxy: "https://a", proxyOptions: { ca: "gone.pem" } }, /^proxyOptions\.ca: cannot be read: ENOENT/],
    [{ proxy: "https://a", proxyOptions: { ca: ".env" } }, /^proxyOptions\.ca: has no certificate in PEM form: /],
    [
      { proxy: "https://a", proxyOptions: { cookieDomainRewrite: 1 } },
      /must be text, or a table of names and texts, not 1$/,
    ],
    [{ pools: { old: { proxy: "http://a", runtime: "bun" } } }, "pools.old.runtime: `proxy` pools only run on node"],
  ])("an invalid proxy: %j", (config, problem) => {
    const { problems } = read(config);
    expect(problems).toHaveLength(1);
    if (typeof problem === "string") expect(problems[0]).toBe(problem);
    else expect(problems[0]).toMatch(problem);
  });

  test("the kind and the number of instances follow from the named keys", () => {
    const { pools } = good({
      pools: {
        web: { app: "./app.ts" },
        files: { static: "./site", staticOptions: { listing: true }, routes: ["/static/", "Example.com/"] },
      },
    });
    expect(pools).toMatchObject([
      { kind: "app", instances: 4, source: join(folder, "app.ts"), workload: { app: join(folder, "app.ts") } },
      {
        kind: "static",
        instances: 1,
        source: join(folder, "site"),
        workload: { static: { root: join(folder, "site"), options: { listing: true, prefix: ["/static/", "/"] } } },
      },
    ]);
  });

  test("a start script of FAPWS runs in Python, one request at a time", () => {
    const script = join(folder, "start.py");
    const [pool] = good({ fapws: "./start.py", python: INTERPRETER }).pools;
    expect(pool).toMatchObject({ kind: "fapws", instances: 4, source: script, workload: { fapws: { script } } });
    expect(pool).toMatchObject({ maxInFlight: 1, launch: { command: join(folder, INTERPRETER) } });
  });

  test("an app of Python may be a file, a factory with arguments, or several", () => {
    const python = INTERPRETER;
    const file = join(folder, "start.py");
    for (const [wsgi, workload] of [
      ["site.wsgi", "site.wsgi"],
      ["./start.py", file],
      ["start.py:app.wsgi", `${file}:app.wsgi`],
      ["./start.py:make('a:b', c=1)", `${file}:make('a:b', c=1)`],
      ['shop:create_app("prod")', 'shop:create_app("prod")'],
      [
        { "/": "shop:app", "/x/": "./start.py" },
        { "/": "shop:app", "/x/": file },
      ],
    ] as const) {
      expect(good({ wsgi, python }).pools[0]?.workload.wsgi).toEqual(workload);
    }
  });

  test("an ASGI app runs in Python with its server's options, many requests at once", () => {
    const asgiOptions = { ws_max_size: 1000, access_log: true };
    const [pool] = good({ asgi: "./start.py:app", asgiServer: "hypercorn", asgiOptions, python: INTERPRETER }).pools;
    const app = `${join(folder, "start.py")}:app`;
    expect(pool).toMatchObject({ kind: "asgi", instances: 4, source: app, maxInFlight: null });
    expect(pool?.workload.asgi).toEqual({ app, server: "hypercorn", options: asgiOptions });
    const few = good({ asgi: "main:app", python: INTERPRETER, maxInFlight: 2 }).pools[0];
    expect(few).toMatchObject({ maxInFlight: 2, requestTimeoutMs: 60_000 });
  });

  test("a start script of FAPWS has its arguments", () => {
    const script = join(folder, "start.py");
    const [pool] = good({ fapws: "./start.py", args: ["--port", "80"], python: INTERPRETER }).pools;
    expect(pool?.workload).toEqual({ fapws: { script, args: ["--port", "80"] } });
  });

  test("an app may be a folder that contains one", () => {
    expect(good({ app: "./site" }).pools[0]?.workload.app).toBe(join(folder, "site", "server.mjs"));
  });

  test("a pool may strip its routes' prefix; routes are taken in their normal form", () => {
    const routes = [
      "Example.COM./%7euser/caf%c3%a9",
      "/Größe/€",
      "*.example.com/",
      "[0::0:1]/",
      "/@me",
      "localhost/",
      "a_b.x-y.z/",
    ];
    const config = good({ pools: { web: { app: "./app.ts", routes, stripPrefix: true }, api: { app: "./api.js" } } });
    expect(config.pools[0]?.routes).toEqual([
      "example.com/~user/caf%C3%A9",
      "/Gr%C3%B6%C3%9Fe/%E2%82%AC",
      "*.example.com/",
      "[::1]/",
      "/@me",
      "localhost/",
      "a_b.x-y.z/",
    ]);
    expect(config.pools.map(({ stripPrefix }) => stripPrefix)).toEqual([true, false]);
  });

  test("hosts of routes are converted to lower case, proxies to networks", () => {
    const config = good({
      app: "./app.ts",
      routes: ["Example.COM/Shop"],
      balancer: { trustedProxies: ["10.0.0.1", "fd00::/8", "unix"] },
    });
    expect(config.pools[0]?.routes).toEqual(["example.com/Shop"]);
    expect(config.balancer.trustedProxies).toEqual(["10.0.0.1/32", "fd00::/8", "unix"]);
  });

  test.each([
    ["cookie", { by: "cookie", name: "paceline_shop" }],
    ["cookie:node-id", { by: "cookie", name: "node-id" }],
    ["address", { by: "address" }],
    ["header:X-User", { by: "header", name: "x-user" }],
    ["header:X-Real-IP", { by: "header", name: "x-real-ip" }],
    ["header:host", { by: "header", name: "host" }],
  ])("clients that are recognized by %s", (sticky, rule) => {
    const [pool] = good({ pools: { shop: { app: "./app.ts", sticky } } }).pools;
    expect(pool?.relayed).toEqual({ sendsFiles: true, sticky: rule });
  });

  test("without Bun the runtime is Node", () => {
    const { config, problems } = read({ app: "./app.ts" }, { node: "/node" });
    expect(problems).toEqual([]);
    expect([config.pools[0]?.runtime, config.balancer.runtime]).toEqual(["node", "node"]);
  });
});

const KINDS = KIND_NAMES.map((name) => `\`${name}\``).join(", ");

type Case = [string, unknown, string[]];

const BAD: Case[] = [
  ["nothing to run", {}, [`app: is missing: set one of ${KINDS}, or define \`pools\``]],
  ...["a\u001b[31mX", "a\nExecStartPre=/bin/evil", "a\u0085b"].map(
    (name): Case => [
      "a name with a control character",
      { app: "./app.ts", name },
      [`name: must be text without control characters, not ${JSON.stringify(name)}`],
    ],
  ),
  ["a pool with nothing to run", { pools: { web: {} } }, [`pools.web.app: is missing: set one of ${KINDS}`]],
  [
    "an app and a folder of files",
    { app: "./app.ts", static: "./site" },
    [`static: cannot be combined with \`app\`: a pool has exactly one of ${KINDS}`],
  ],
  ["a folder of files that is none", { static: "./app.ts" }, ["static: there is no such folder: ./app.ts"]],
  [
    "an option for files in a pool of an app",
    { app: "./app.ts", staticOptions: { listing: true } },
    ["staticOptions: is only valid in `static` pools"],
  ],
  ["a folder of files that is a number", { static: 1 }, ["static: must be text, not 1"]],
  [
    "a coding nobody has",
    { static: "./site", staticOptions: { precompressed: ["lzma"] } },
    ['staticOptions.precompressed[0]: must be a list of some of "br", "zstd", "gzip", not "lzma"'],
  ],
  [
    "an option for files that is mistyped",
    { static: "./site", staticOptions: { listings: true } },
    ['staticOptions.listings: unknown key; did you mean "listing"?'],
  ],
  [
    "pools and a folder of files",
    { static: "./site", pools: { web: { app: "./app.ts" } } },
    ["static: must be in one of the `pools`"],
  ],
  [
    "a start script that is not there",
    { fapws: "./no.py", python: INTERPRETER },
    ["fapws: there is no such file: ./no.py"],
  ],
  [
    "options of an ASGI server that are not the user's",
    { asgi: "main:app", asgiOptions: { uds: "/tmp/x", ssl_keyfile: "k" }, python: INTERPRETER },
    ["asgiOptions.uds: is set by Paceline", "asgiOptions.ssl_keyfile: is set by Paceline"],
  ],
  [
    "a timeout of requests that nobody counts",
    { asgi: "main:app", requestTimeoutMs: 1000, python: INTERPRETER },
    [
      "requestTimeoutMs: is only valid with `maxInFlight`: without it Paceline does not know which requests are running",
    ],
  ],
  [
    "a WSGI file that is not there",
    { wsgi: "./no.wsgi:app", python: INTERPRETER },
    ["wsgi: there is no such file: ./no.wsgi"],
  ],
  [
    "a start script and an app",
    { app: "./app.ts", fapws: "./app.ts" },
    [`fapws: cannot be combined with \`app\`: a pool has exactly one of ${KINDS}`],
  ],
  ...["cooky", "cookie:", "cookie:a b", "cookie:__Host-id", "address:x", "header:", "header:a b", true].map(
    (sticky): Case => [
      `clients that are recognized by ${JSON.stringify(sticky)}`,
      { app: "./app.ts", sticky },
      [`sticky: must be "cookie", "cookie:NAME", "address" or "header:NAME", not ${JSON.stringify(sticky)}`],
    ],
  ),
  ...["TE", "Content-Length", "X_Forwarded_For", "Proxy"].map(
    (name): Case => [
      `clients that are recognized by ${name}`,
      { app: "./app.ts", sticky: `header:${name}` },
      [`sticky: cannot use ${name}: instances never get it from a client`],
    ],
  ),
  [
    "clients that are recognized by a field of proxies",
    { app: "./app.ts", sticky: "header:X-Forwarded-For" },
    ['sticky: cannot use X-Forwarded-For, which Paceline makes itself: use "address" for the client\'s address'],
  ],
  ...[{ static: "./site" }, { proxy: "http://a.example" }].map(
    (kind): Case => [
      `clients that keep to an instance of ${Object.keys(kind)}`,
      { ...kind, sticky: "cookie" },
      ["sticky: is only valid in `app`, `wsgi`, `asgi`, `fapws` and `command` pools"],
    ],
  ),
  [
    "an unknown policy",
    { app: "./app.ts", policy: "hash:luck" },
    [
      'policy: must be "round-robin", "exact", "least-busy", "random-two", "hash:address", "hash:path", "hash:cookie:NAME" or "hash:header:NAME", not "hash:luck"',
    ],
  ],
  [
    "two keys that choose the instance",
    { app: "./app.ts", policy: "hash:path", sticky: "cookie" },
    ["policy: a hash cannot be combined with `sticky`: each of them chooses the instance"],
  ],
  [
    "no instance but backups",
    { app: "./app.ts", instances: 2, backups: 2 },
    ["backups: must be below the number of instances, which is 2"],
  ],
  [
    "two pools with one cookie",
    {
      pools: {
        web: { app: "./app.ts", sticky: "cookie:id" },
        api: { app: "./app.ts", sticky: "cookie:id", routes: ["/api/"] },
      },
    },
    ["pools.api.sticky: the pool web already has the cookie id"],
  ],
  ["no table", [], [": must be a table of keys, not an empty list"]],
  ["an app that is not there", { app: "./no.ts" }, ["app: there is no such file: FOLDER/no.ts"]],
  ["a folder without an app", { app: "./empty" }, ["app: the folder FOLDER/empty has no app"]],
  ["a mistyped key", { app: "./app.ts", instnaces: 3 }, ['instnaces: unknown key; did you mean "instances"?']],
  ["a key under its name of before", { app: "./app.ts", link: "lane" }, ['link: is called "protocol" now']],
  ["a key with two letters swapped", { app: "./app.ts", nmae: "a" }, ['nmae: unknown key; did you mean "name"?']],
  [
    "the end of several keys",
    { app: "./app.ts", timeout: 3 },
    ['timeout: unknown key; did you mean "requestTimeoutMs" or '],
  ],
  ["a key nothing is like", { app: "./app.ts", colour: "red" }, ["colour: unknown key; known keys: name, listen, "]],
  [
    "a unit left out",
    { app: "./app.ts", drainTimeout: 3 },
    ['drainTimeout: unknown key; did you mean "drainTimeoutMs"?'],
  ],
  [
    "mistyped keys deep down",
    { pools: { web: { app: "./app.ts", limits: { maxHedBytes: 1 } } }, balancer: { proceses: 2 } },
    [
      'pools.web.limits.maxHedBytes: unknown key; did you mean "maxHeadBytes"?',
      'balancer.proceses: unknown key; did you mean "processes"?',
    ],
  ],
  [
    "instances that are none",
    { app: "./app.ts", instances: -1 },
    ['instances: must be a whole number from 0 to 1024, or "cpus", not -1'],
  ],
  [
    "a text for a time",
    { app: "./app.ts", readyTimeoutMs: "30s" },
    ['readyTimeoutMs: must be a whole number of milliseconds from 1 to 86400000, not "30s"'],
  ],
  ["a runtime nobody has", { app: "./app.ts", runtime: "deno" }, ['runtime: must be "bun" or "node", not "deno"']],
  [
    "a port out of range",
    { app: "./app.ts", listen: ["70000"] },
    ["listen[0]: the port must be between 1 and 65535, not 70000"],
  ],
  [
    "a port without quotes",
    { app: "./app.ts", listen: 8080 },
    ['listen: must be text, or a list of texts, not 8080; write "127.0.0.1:8080", or ":8080" for all addresses'],
  ],
  [
    "a host that is a name",
    { app: "./app.ts", listen: "example.com:80" },
    ['listen[0]: the host must be an IP address or localhost, not "example.com"'],
  ],
  [
    "an address twice",
    { app: "./app.ts", listen: ["8080", "127.0.0.1:8080"] },
    ['listen[1]: "127.0.0.1:8080" is the same address as "8080"'],
  ],
  ...(
    [
      [["[::]:80", ":80", "127.0.0.1:80"], 'listen[2]: ":80" includes "127.0.0.1:80": list one of them'],
      [["127.0.0.1:80", "[::]:80"], 'listen[1]: "[::]:80" includes "127.0.0.1:80": list one of them'],
      [["[::]:80", "[::1]:80"], 'listen[1]: "[::]:80" includes "[::1]:80": list one of them'],
      [["localhost:80", ":80"], 'listen[1]: ":80" includes "localhost:80": list one of them'],
      [["[::1]:80", "[0::1]:80"], 'listen[1]: "[0::1]:80" is the same address as "[::1]:80"'],
      [["unix:a", "unix:./a?mode=666"], 'listen[1]: "unix:./a?mode=666" is the same address as "unix:a"'],
      [["[::ffff:127.0.0.1]:80"], "listen[0]: [::ffff:127.0.0.1] is an IPv4 address: write 127.0.0.1"],
      [["unix:a?mode=rw"], 'listen[0]: the mode must be three octal digits such as 660, not "rw"'],
      [["unix:a?group=nobody-has-it"], 'listen[0]: there is no group "nobody-has-it" on this machine'],
      [["unix:a?owner=x"], 'listen[0]: a unix socket has the options mode and group, not "owner"'],
      [["unix:a?mode=660&mode=600"], "listen[0]: has mode twice"],
      [["unix:?mode=660"], 'listen[0]: must name a path after "unix:"'],
    ] as const
  ).map(([listen, problem]): [string, object, string[]] => [listen.join(" "), { app: "./app.ts", listen }, [problem]]),
  [
    "a socket path too long",
    { app: "./app.ts", listen: `unix:/${"x".repeat(120)}` },
    ["listen[0]: the path is longer than"],
  ],
  ["no address", { app: "./app.ts", listen: [] }, ["listen: must have at least one address"]],
  [
    "a bad pool name",
    { pools: { Web: { app: "./app.ts" } } },
    ["pools.Web: a pool's name must be a lower-case letter"],
  ],
  [
    "a name that is taken",
    { pools: { balancer: { app: "./app.ts" } } },
    ['pools.balancer: a pool cannot be named "balancer"'],
  ],
  ["no pool", { pools: {} }, ["pools: must have at least one pool"]],
  [
    "pools and an app",
    { app: "./app.ts", pools: { web: { app: "./app.ts" } } },
    ["app: must be in one of the `pools`"],
  ],
  [
    "two pools with one route",
    { pools: { web: { app: "./app.ts", routes: "/api" }, api: { app: "./api.js", routes: "/api/" } } },
    ['pools.api.routes: the pool web already has the route "/api/"'],
  ],
  [
    "two pools with one route in two spellings",
    { pools: { web: { app: "./app.ts", routes: "A.x/%40me/" }, api: { app: "./api.js", routes: "a.x./@me" } } },
    ['pools.api.routes: the pool web already has the route "a.x/@me"'],
  ],
  [
    "a route outside ASCII twice",
    { pools: { web: { app: "./app.ts", routes: "/é" }, api: { app: "./api.js", routes: "/%c3%a9/" } } },
    ['pools.api.routes: the pool web already has the route "/%C3%A9/"'],
  ],
  ["a route twice", { app: "./app.ts", routes: ["/a", "/a/"] }, ['routes: has the route "/a/" twice']],
  ["a route without a slash", { app: "./app.ts", routes: "api" }, ["routes[0]: must be a path, or a host and a path"]],
  ...(
    [
      ["http://a.x/", "must have no scheme"],
      ["a.x:80/", "the host of a route must not have a port"],
      ["[::1]:80/", "the host of a route must not have a port"],
      ["[::z]/", '"[::z]" is not an IPv6 address'],
      ["a b/", "the host of a route is a name"],
      ["*/", "the host of a route is a name"],
      ["a.*.x/", "the host of a route is a name"],
      [".x/", "the host of a route is a name"],
      ["/a?b", "a route matches only the path"],
      ["/a#b", "a route matches only the path"],
      ["/a/*", "a path is a prefix and must not contain *"],
      ["/a b", 'a path must percent-encode " "'],
      [`/${"é".repeat(200)}`, "is longer than 1024 characters"],
      ["/a\\b", 'a path must percent-encode "\\\\"'],
      ["/a%", "a % must be followed"],
      ["/a%2Fb", "a route cannot have %00, %2F or %5C"],
      ["/a%00", "a route cannot have %00, %2F or %5C"],
      ["/a//b", "a route cannot have an empty segment"],
      ["/a/../b", 'a route cannot have the segments "." and ".."'],
      ["/%2e/b", 'a route cannot have the segments "." and ".."'],
      [`/${"a".repeat(1024)}`, "is longer than 1024 characters"],
    ] as const
  ).map(([route, problem]): [string, unknown, string[]] => [
    `the route ${route.slice(0, 20)}`,
    { app: "./app.ts", routes: ["/", route] },
    [`routes[1]: ${problem}`],
  ]),
  [
    "stripPrefix at the top",
    { stripPrefix: true, pools: { web: { app: "./app.ts" } } },
    ["stripPrefix: must be in one of the `pools`"],
  ],
  ["stripPrefix that is a text", { app: "./app.ts", stripPrefix: "yes" }, ["stripPrefix: must be true or false"]],
  ["an env file that is not there", { app: "./app.ts", envFiles: "no.env" }, ["envFiles[0]: cannot be read: ENOENT"]],
  [
    "an env variable of ours",
    { app: "./app.ts", env: { PACELINE_POOL: "x" } },
    ["env.PACELINE_POOL: names that begin with PACELINE_"],
  ],
  [
    "an env variable that is a table",
    { app: "./app.ts", env: { A: {} } },
    ['env.A: must be text, a number, a boolean, { file: "path" } or { credential: "name" }, not a table'],
  ],
  [
    "an excepted route without a path",
    { app: "./app.ts", balancer: { accessLog: { except: ["/healthz", "healthz"] } } },
    ["balancer.accessLog.except[1]: must be a path"],
  ],
  [
    "a proxy that is a name",
    { app: "./app.ts", balancer: { trustedProxies: ["10.0.0.0/8", "x"] } },
    ['balancer.trustedProxies[1]: must be an IP address, a CIDR block or "unix", not "x"'],
  ],
  [
    "a user that is not there",
    { app: "./app.ts", user: "nobody-here" },
    ['user: there is no user "nobody-here" on this machine; create it'],
  ],
  ["a user that is an option", { app: "./app.ts", user: "-h" }, ['user: there is no user "-h"']],
  [
    "a uid without an entry",
    { app: "./app.ts", user: "54321" },
    ["user: uid 54321 has no entry in /etc/passwd: set `group`, too"],
  ],
  [
    "a group that is not there",
    { app: "./app.ts", user: "nobody", group: "none-here" },
    ['group: there is no group "none-here" on this machine; create it'],
  ],
  ["a group alone", { app: "./app.ts", group: "root" }, ["group: needs `user`"]],
  [
    "a compression that cannot be",
    { app: "./app.ts", compress: { codings: [], types: ["html", "*+json", "text/*"] } },
    [
      "compress.codings: must name at least one of br, zstd, gzip",
      'compress.types[0]: must be a media type such as "text/html", "text/*" or "*+json", not "html"',
    ],
  ],
  [
    "a coding that there is not",
    { app: "./app.ts", compress: { codings: ["lzma"] } },
    ["compress.codings[0]: must be"],
  ],
  [
    "compressed files",
    { pools: { web: { static: ".", compress: true } } },
    ["pools.web.compress: is not valid in `static` pools: they send precompressed files"],
  ],
  ["a folder that is not there", { app: "./app.ts", cwd: "gone" }, ["cwd: there is no such folder: gone"]],
];

describe("an invalid configuration", () => {
  test.each(BAD)("%s", (_, raw, expected) => {
    const { problems } = read(raw);
    expect(problems).toHaveLength(expected.length);
    for (const [at, start] of expected.entries()) {
      expect(problems[at]?.startsWith(start.replace("FOLDER", folder)), problems[at]).toBe(true);
    }
  });

  test.each(Object.keys(ownPoolFields))("reports `%s` beside `pools`: it applies only to one pool", (key) => {
    expect(resolved({ pools: { web: { app: "./app.ts" } }, [key]: "x" }).problems).toEqual([
      `${key}: must be in one of the \`pools\`, not at the top level`,
    ]);
  });

  test("reports a missing runtime", () => {
    expect(read({ app: "./app.ts", runtime: "bun" }, { node: "/node" }).problems).toEqual([
      "runtime: bun is not installed here",
    ]);
  });

  test("reports problems of form and of content together, each key once", () => {
    const { problems } = read({
      instances: "many",
      app: "./no.ts",
      listen: ["8080", "99999"],
      orphanGraceMs: -1,
      envFiles: ["no.env"],
      extra: 1,
    });
    expect(problems.map((problem) => problem.split(":")[0])).toEqual([
      "instances",
      "orphanGraceMs",
      "extra",
      "envFiles[0]",
      "app",
      "listen[1]",
    ]);
  });

  test("reports what is wrong in the other items of a list, in their places", () => {
    const { problems } = read({
      app: "./app.ts",
      listen: [1, "8080", 2, "99999"],
      balancer: {
        trustedProxies: ["x", 7],
        rateLimits: [{ requests: "5" }, { requests: 5, by: "x" }, {}],
        acessLog: true,
      },
      cwd: "gone",
    });
    expect(problems.map((problem) => problem.split(":")[0]).sort()).toEqual([
      "balancer.acessLog",
      "balancer.rateLimits[0].requests",
      "balancer.rateLimits[1].by",
      "balancer.rateLimits[2].requests",
      "balancer.trustedProxies[0]",
      "balancer.trustedProxies[1]",
      "cwd",
      "listen[0]",
      "listen[2]",
      "listen[3]",
    ]);
  });
});
