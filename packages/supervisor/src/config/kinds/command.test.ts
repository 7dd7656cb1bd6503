/** The keys of a `command` pool, their resolved values, and the errors for invalid ones. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { formatKeyPath } from "../problems.js";
import { resolveFleet } from "../resolve.js";
import { validate } from "../validate.js";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pl-command-"));
  mkdirSync(join(folder, "bin/sub"), { recursive: true });
  for (const name of ["bin/serve", "bin/plain"]) writeFileSync(join(folder, name), "");
  chmodSync(join(folder, "bin/serve"), 0o755);
});
afterAll(() => rmSync(folder, { recursive: true }));

function read(pool: object) {
  const { input, findings } = validate({ pools: { api: pool } });
  const runtimes = { bun: "/bun", node: "/node", preferred: "bun" as const };
  const config = resolveFleet(input, { baseDir: folder, listenDir: folder, defaultName: "x", runtimes, findings });
  return { pool: config.pools[0], problems: findings.map(({ path, message }) => `${formatKeyPath(path)}: ${message}`) };
}

test("{bun} is the Bun that was found, also as the program", () => {
  const { pool, problems } = read({ command: ["{bun}", "run", "x.ts", "--with={bun}"] });
  expect(problems).toEqual([]);
  expect(pool?.workload.command).toMatchObject({ args: ["/bun", "run", "x.ts", "--with={bun}"] });
});

test("a program on the PATH of the pool, on a socket, with every default", () => {
  const env = { PATH: join(folder, "bin"), TITLE: "{name}" };
  const { pool, problems } = read({ command: ["serve", "--bind", "unix:{socket}"], env });
  expect(problems).toEqual([]);
  expect(pool).toMatchObject({
    kind: "command",
    source: "serve --bind unix:{socket}",
    launch: { entry: "shim" },
    instances: 1,
    maxInFlight: null,
  });
  expect(pool?.health).toEqual({
    healthIntervalMs: 10_000,
    healthTimeoutMs: 5_000,
    healthFailures: 3,
    checkHost: "localhost",
  });
  expect(pool?.workload.command).toEqual({
    args: [join(folder, "bin/serve"), "--bind", "unix:{socket}"],
    env,
    stopSignal: "SIGTERM",
    isOnSocket: true,
    hasPort: false,
  });
});

test.each([
  [{}, false, true],
  [{ env: { ADDRESS: "{host}:{port}" } }, false, true],
  [{ env: { WHERE: "{socket}" } }, true, false],
  [{ env: { WHERE: "{socket}", STATS: "{port}" } }, true, true],
])("%j serves on a socket: %s, has a port: %s", (more, isOnSocket, hasPort) => {
  const { pool, problems } = read({ command: ["./bin/serve"], ...more });
  expect(problems).toEqual([]);
  expect(pool?.workload.command).toMatchObject({ isOnSocket, hasPort });
});

test("a path is relative to the working directory", () => {
  const { pool, problems } = read({ command: ["./serve"], cwd: "./bin", maxInFlight: 2 });
  expect(problems).toEqual([]);
  expect(pool?.workload.command).toMatchObject({ args: [join(folder, "bin/serve")] });
  expect(pool?.maxInFlight).toBe(2);
});

const good = { command: ["./bin/serve"] };

test.each([
  [
    { command: "gunicorn  --bind {socket} api:app" },
    'command: must be a list of texts, the program and each of its arguments, not "gunicorn  --bind {socket} api:app"; write ["gunicorn","--bind","{socket}","api:app"]',
  ],
  [{ command: [] }, "command: must not be empty"],
  [{ command: ["./bin/serve", 1] }, "command[1]: must be text, not 1"],
  [{ command: ["./bin/none"] }, "command[0]: there is no such file: "],
  [{ command: ["./bin/plain"] }, "command[0]: is not executable: "],
  [{ command: ["./bin/sub"] }, "command[0]: is not a program: "],
  [{ command: ["serve"], env: { PATH: "/nowhere" } }, 'command[0]: there is no program "serve" on PATH (/nowhere)'],
  [
    { command: ["./bin/serve", "{sockt}"] },
    "command[1]: unknown placeholder {sockt}; did you mean {socket}? (write {{sockt}} for the text {sockt})",
  ],
  [
    { ...good, env: { A: "{what}" } },
    "env.A: unknown placeholder {what} (known: {socket}, {port}, {host}, {name}, {bun})",
  ],
  [{ ...good, readyPath: "ready" }, 'readyPath: must be a path that begins with /, without spaces, not "ready"'],
  [{ ...good, healthPath: "/a b" }, "healthPath: must be a path that begins with /"],
  [{ ...good, healthPath: "/a\r\nB: c" }, "healthPath: must be a path that begins with /"],
  [{ ...good, healthFailures: 2 }, "healthFailures: is only valid with `healthPath`"],
  [
    { ...good, healthPath: "/", healthFall: 5, healthFailures: 3 },
    "healthFall: cannot be more than `healthFailures`, which is 3",
  ],
  [{ ...good, checkHost: "a\r\nB: c" }, "checkHost: must be a host"],
  [{ ...good, stopSignal: "SIGTER" }, 'stopSignal: there is no signal "SIGTER"; did you mean "SIGTERM"?'],
  [{ ...good, stopSignal: "QUIT" }, 'stopSignal: there is no signal "QUIT"; did you mean "SIGQUIT"?'],
  [{ ...good, maxInFlight: 0 }, "maxInFlight: must be a whole number from 1"],
  [
    { static: ".", healthPath: "health" },
    'healthPath: must be a path that begins with /, without spaces, not "health"',
  ],
  [{ static: ".", stopSignal: "SIGTERM" }, "stopSignal: is only valid in `command` and `worker` pools"],
  [{ ...good, style: "node" }, "style: is only valid in `app` pools"],
])("%j", (pool, problem) => {
  const { problems } = read(pool);
  expect(problems).toHaveLength(1);
  expect(problems[0]?.slice(0, problem.length + 10)).toBe(`pools.api.${problem}`.slice(0, problem.length + 10));
});
