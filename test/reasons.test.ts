/** Reports about a fleet are true: failure reasons, resources, addresses. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { PacelineError } from "../packages/supervisor/dist/errors.js";
import { HELLO } from "./support/apps.js";
import { Project, RUNTIMES } from "./support/fleet.js";
import { get } from "./support/raw-http.js";

/** Serves at the given address, and also at a public one; uses 60 MB more. */
const OPEN_SERVER = `
import http from "node:http";
const { HOSTNAME, PORT } = process.env;
const ballast = Buffer.alloc(60e6, 1);
http.createServer((request, response) => response.end([HOSTNAME, ballast.length, process.argv[2]].join(" "))).listen(PORT, HOSTNAME);
http.createServer(() => {}).listen(0, "0.0.0.0");
`;
/** Sets the clock forward by an hour when there is a file named `later`, like a change of the machine's clock. */
const CLOCK = `
const { existsSync } = require("node:fs");
const { join } = require("node:path");
const now = Date.now;
Date.now = () => now() + (existsSync(join(__dirname, "later")) ? 3600e3 : 0);
`;
const FAILS = 'throw new TypeError("no database is configured");\n';
/** Listens by itself, and never finishes loading. */
const HANGS = `
import { createServer } from "node:net";
await new Promise(() => createServer().listen(0, "127.0.0.1"));
`;

describe.each(RUNTIMES)("what is told on %s", (runtime) => {
  test("of a command: its own memory, an address that others reach; {bun}; a pool of no instances; an uptime by no wall clock", async () => {
    const pools = {
      api: { command: ["{bun}", "./server.mjs", "tcp://{host}:{port}"], routes: ["/api/"] },
      none: { app: "./app.js", instances: 0, routes: ["/none/"] },
      web: { app: "./app.js", instances: 1 },
    };
    const files = { "server.mjs": OPEN_SERVER, "clock.cjs": CLOCK };
    const project = await Project.make({ runtime, app: HELLO, config: { pools }, files });
    // Bun has no option that loads a caller's code into our processes.
    const clock = runtime === "node" && { NODE_OPTIONS: `--require ${join(project.folder, "clock.cjs")}` };
    const env = { ...project.startEnvironment(), ...clock };
    expect(await project.cli(["start", "--detach"], { env })).toMatchObject({ code: 0 });
    expect((await get(project.port, "/api/")).body).toMatch(/^127\.0\.0\.1 60000000 tcp:\/\/127\.0\.0\.1:\d+$/);
    expect((await get(project.port, "/none/")).status).toBe(503);
    const status = await project.statusWhere("the memory of all, and the address", ({ pools: [api] }) => {
      const [command] = api?.instances ?? [];
      // The first measurement was made during its start.
      const isWhole = (command?.rssBytes ?? 0) > 60e6;
      return isWhole && (command?.shim?.rssBytes ?? 0) > 0 && (command?.exposed.length ?? 0) > 0;
    });
    const [api, none] = status.pools;
    expect(none).toMatchObject({ wanted: 0, ready: 0 });
    expect(status.state).toBe("running");
    const command = api?.instances[0];
    expect(command?.shim?.rssBytes).toBeLessThan(60e6);
    expect(command?.exposed).toEqual([expect.stringMatching(/^0\.0\.0\.0:\d+$/)]);
    const told = `listens on ${command?.exposed[0]}, where others can reach it without the balancer`;
    expect((await project.cli(["status", "--wide"])).stdout).toContain(`api.1: ${told}`);
    expect((await project.cli(["events", "api"])).stdout).toContain(`${told}; let it listen on {socket}`);
    expect((await project.scale("none", 1)).code).toBe(0);
    expect((await get(project.port, "/none/")).status).toBe(200);
    project.write("later", "");
    const { uptimeSeconds, pools: later } = await project.status();
    const uptimes = [uptimeSeconds, ...later.flatMap(({ instances }) => instances.map((each) => each.uptimeSeconds))];
    for (const seconds of uptimes) expect(seconds).toBeLessThan(1800);
  });

  const kinds: [string, Record<string, unknown>, RegExp][] = [
    ["an app", { app: "./fails.mjs" }, /TypeError: no database is configured/],
    ["a command on Node", { command: [process.execPath, "fails.mjs"] }, /TypeError: no database is configured/],
    ["a command on Bun", { command: ["{bun}", "fails.mjs"] }, /TypeError: no database is configured/],
    ["a Python application", { wsgi: "fails:app" }, /ValueError: no database is configured/],
  ];
  const isLate =
    /was not ready within \d+ s \(readyTimeoutMs\); it listens on 127\.0\.0\.1:\d+; killed by SIGKILL .*: its module has not finished loading: a top-level await/;
  // The program of a command or Python does not depend on the runtime.
  test.each([
    ...kinds.slice(0, runtime === "bun" ? 4 : 1),
    ["an app in time", { app: "./hangs.mjs" }, isLate] as const,
  ])("of %s that fails: the error's own line", async (kind, pool, expected) => {
    const files = {
      "fails.mjs": FAILS,
      "hangs.mjs": HANGS,
      "fails.py": 'raise ValueError("no database is configured")\n',
    };
    const isHanging = expected === isLate;
    const limits = { ...(isHanging && { readyTimeoutMs: 3000 }), restartBudget: { maxFailures: 1 } };
    const config = { pools: { web: { instances: 1, ...pool } }, ...limits };
    const project = await Project.make({ runtime, app: HELLO, config, files });
    // The command prints what a program gets.
    const start = async () => {
      if (kind === "an app") return await project.startDetached();
      const error: PacelineError | undefined = await project.start().catch((error) => error);
      return { code: error?.exitStatus, stderr: `paceline: ${error?.message}\n` };
    };
    let { code, stderr } = await start();
    if (isHanging && !stderr.includes("; it listens on ")) {
      // On a busy machine it did not get that far.
      project.writeConfig({ readyTimeoutMs: 30_000 });
      ({ code, stderr } = await start());
    }
    expect(code).toBe(1);
    const reason = /^paceline: (web\.1 .*)$/m.exec(stderr)?.[1] ?? stderr;
    expect(reason).toMatch(expected);
    expect(reason).not.toMatch(/(Node\.js|Bun) v/);
  });
});
