/** The keys of a `worker` pool, their resolved values, and the errors for invalid ones. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { formatKeyPath } from "../problems.js";
import { resolveFleet } from "../resolve.js";
import { ownPoolFields } from "../schema.js";
import { validate } from "../validate.js";
import { kindFields, REQUEST_KEYS } from "./index.js";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pl-worker-"));
  for (const name of ["consume", "queue.ts", "app.js", "job.py"]) writeFileSync(join(folder, name), "");
  chmodSync(join(folder, "consume"), 0o755);
});
afterAll(() => rmSync(folder, { recursive: true }));

function read(raw: object) {
  const { input, findings } = validate(raw);
  const runtimes = { bun: "/bun", node: "/node", preferred: "bun" as const };
  const config = resolveFleet(input, { baseDir: folder, listenDir: folder, defaultName: "x", runtimes, findings });
  return { config, problems: findings.map(({ path, message }) => `${formatKeyPath(path)}: ${message}`) };
}

const WORKER = { readyAfterMs: 1000, readySignal: false };
const COMMAND = { env: {}, stopSignal: "SIGTERM", isOnSocket: false, hasPort: false };

test("a program, and a module of the pool's runtime; neither has a route, and old and new processes never overlap", () => {
  const pools = { mail: { worker: ["./consume", "--as={name}"] }, jobs: { worker: "./queue.ts", args: ["a"] } };
  const { config, problems } = read({ pools });
  expect(problems).toEqual([]);
  const common = { kind: "worker", serves: false, overlap: false, routes: [], instances: 1, launch: { entry: "shim" } };
  const args = [join(folder, "consume"), "--as={name}"];
  const module = join(folder, "queue.ts");
  expect(config.pools).toMatchObject([
    { ...common, source: "consume --as={name}", workload: { command: { ...COMMAND, args, worker: WORKER } } },
    { ...common, source: module, workload: { command: { ...COMMAND, module, args: ["a"], worker: WORKER } } },
  ]);
});

test("a fleet of only workers listens nowhere and has no balancer; with an app it has both", () => {
  const alone = read({ worker: "queue.ts" });
  expect(alone.problems).toEqual([]);
  expect(alone.config).toMatchObject({ listen: [], balancer: { processes: 0 }, pools: [{ name: "worker" }] });
  const { config, problems } = read({ pools: { web: { app: "app.js" }, jobs: { worker: "queue.ts" } } });
  expect(problems).toEqual([]);
  expect(config).toMatchObject({ listen: [{ port: 8080 }], balancer: { processes: 1 } });
});

test("a schedule is one instance; its keys have defaults", () => {
  const { config, problems } = read({ worker: "queue.ts", cron: "0 3 * * *", timezone: "Europe/Berlin" });
  expect(problems).toEqual([]);
  const schedule = { cron: "0 3 * * *", timezone: "Europe/Berlin", runTimeoutMs: 3_600_000 };
  expect(config.pools[0]).toMatchObject({
    cron: "0 3 * * *",
    maxInstances: 1,
    workload: { command: { worker: { schedule } } },
  });
  expect(read({ worker: "queue.ts" }).config.pools[0]?.cron).toBeNull();
});

test("every key of a pool belongs to its kind, is about requests, or is allowed for a pool without requests", () => {
  const others = Object.keys(ownPoolFields).filter((key) => !(key in kindFields) && !REQUEST_KEYS.includes(key));
  expect(others).toEqual(["instances"]);
  const values: Record<string, unknown> = {
    mode: "tcp",
    bind: "1",
    routes: "/",
    stripPrefix: true,
    warmup: "/",
    policy: "exact",
    ejection: {},
    retryBudget: {},
    protocol: "http1",
    limits: {},
    priority: {},
    compress: true,
  };
  for (const key of REQUEST_KEYS) {
    const value = values[key] ?? (/Path$/.test(key) ? "/up" : key === "checkHost" ? "a.test" : 1);
    expect(read({ worker: "queue.ts", [key]: value }).problems.join()).toContain(
      `${key}: is not valid in \`worker\` pools: they get no requests`,
    );
  }
});

test.each([
  [{ worker: "queue.ts", cron: "61 * * * *" }, 'cron: must be a cron pattern such as "*/5 * * * *", not "61 * * * *"'],
  [{ worker: "queue.ts", cron: "0 0 30 2 *" }, 'cron: never comes: "0 0 30 2 *"'],
  [{ worker: "queue.ts", cron: "@daily", timezone: "Mars/X" }, 'timezone: there is no time zone "Mars/X"'],
  [{ worker: "queue.ts", cron: "@daily", instances: 2 }, "instances: cannot be more than 1 with `cron`"],
  [{ worker: "queue.ts", cron: "@daily", readySignal: true }, "readySignal: cannot be combined with `cron`"],
  [{ worker: "queue.ts", runTimeoutMs: 5 }, "runTimeoutMs: is only valid with `cron`"],
  [{ app: "app.js", cron: "@daily" }, "cron: is only valid in `worker` pools"],
  [{ worker: "nope.js" }, "worker: there is no such file: nope.js"],
  [{ worker: "node queue.js" }, 'arguments: ["node","queue.js"]'],
  [
    { worker: "job.py" },
    'worker: is not JavaScript or TypeScript; write a list with its program, such as ["python3", "job.py"]',
  ],
  [{ worker: ["nothing-like-it"] }, 'worker[0]: there is no program "nothing-like-it" on PATH'],
  [{ worker: ["./consume", "{socket}"] }, "worker[1]: unknown placeholder {socket}"],
  [{ worker: ["./consume"], args: ["a"] }, "args: is only valid with a module: add the arguments to `worker`"],
  [{ worker: ["./consume"], stopSignal: "SIGNOPE" }, 'stopSignal: there is no signal "SIGNOPE"'],
  [
    { worker: ["./consume"], readySignal: true, readyAfterMs: 5 },
    "readyAfterMs: cannot be combined with `readySignal`",
  ],
  [{ worker: ["./consume"], routes: ["/"] }, "routes: is not valid in `worker` pools: they get no requests"],
  [{ worker: ["./consume"], healthPath: "/up" }, "healthPath: is not valid in `worker` pools: they get no requests"],
  [{ worker: ["./consume"], policy: "exact" }, "policy: is not valid in `worker` pools: they get no requests"],
  [{ worker: ["./consume"], maxRequests: 9 }, "maxRequests: is not valid in `worker` pools: they get no requests"],
  [{ worker: ["./consume"], maxInFlight: 9 }, "maxInFlight: is only valid in `asgi` and `command` pools"],
  [{ worker: ["./consume"], app: "app.js" }, "worker: cannot be combined with `app`: a pool has exactly one of"],
  [
    { worker: ["./consume"], listen: "8080" },
    "listen: is not valid without a pool that gets requests: `worker` pools do not listen",
  ],
  [{ app: "app.js", overlap: false }, "overlap: is only valid in `worker` pools"],
])("%j is an error", (raw, problem) => {
  expect(read(raw).problems.join("\n")).toContain(problem);
});
