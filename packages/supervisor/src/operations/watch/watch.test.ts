import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { waitFor } from "../../../../../test/support/wait.js";
import type { OperationResult } from "../../control/api.js";
import type { FleetConfig, PoolConfig } from "../../core/model.js";
import { Watch } from "./watch.js";

let folder: string;
let watch: Watch;
/** The reloaded pools; `all` for all of them. */
let asked: string[];
let events: string[];
/** The results of the next reloads; success if the list is empty. */
let results: OperationResult[];

let isServing: boolean;
let readySince: number | undefined;

const done: OperationResult = { ok: true, message: "" };
const write = (name: string) => writeFileSync(join(folder, name), `${Math.random()}`);
const asks = (count: number) =>
  waitFor(`${count} reloads`, () => asked.length >= count, { details: () => `${events}` });
const settled = (status: string | null) => waitFor(`${status}`, () => watch.status.failure === status);

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "pl-watch-")));
  for (const name of ["web", "api", "run"]) mkdirSync(join(folder, name));
  const pools = ["web", "api"].map((name) => {
    return {
      name,
      kind: "app",
      source: join(folder, name, "app.js"),
      cwd: folder,
      envFiles: [join(folder, ".env")],
    } as unknown;
  }) as PoolConfig[];
  asked = [];
  events = [];
  results = [];
  isServing = true;
  readySince = undefined;
  watch = new Watch({
    configFile: join(folder, "paceline.toml"),
    runDir: join(folder, "run"),
    log: { event: (level, subject, message) => events.push(`${level} ${subject} ${message}`) },
    config: () => ({ pools }) as FleetConfig,
    isServing: () => isServing,
    allReadySince: () => readySince,
    reload: async (pool) => {
      asked.push(pool ?? "all");
      const result = results.shift() ?? done;
      // Like the supervisor on every reload.
      if (result.ok) watch.reloaded(pool);
      return result;
    },
  });
});
afterEach(() => {
  watch.stop();
  rmSync(folder, { recursive: true });
});

test("reloads the changed pools, and says which and why", async () => {
  write("web/app.js");
  await asks(1);
  expect(asked).toEqual(["web"]);
  expect(events).toEqual([
    `info paceline watches ${folder}/web, ${folder}/api`,
    "info paceline web/app.js changed: reloads web",
  ]);
  write(".env");
  await asks(3);
  expect(asked.slice(1)).toEqual(["web", "api"]);
});

test("tries again if another operation was in progress", async () => {
  results = [{ ok: false, code: "busy", message: "a scale is under way" }];
  write("api/app.js");
  await asks(2);
  expect(asked).toEqual(["api", "api"]);
  expect(events.filter((event) => event.includes("changed"))).toHaveLength(1);
  expect(watch.status.failure).toBeNull();
});

test("remembers failed reloads until they succeed, after a change or by hand", async () => {
  results = [
    { ok: false, code: "failed", message: "web: reload ended after 0 of 2: no" },
    { ok: false, code: "failed", message: "api: no either" },
  ];
  write("web/app.js");
  await settled("web: reload ended after 0 of 2: no");
  expect(events.at(-1)).toBe("warn paceline the change was not applied: the previous version keeps serving");
  write("api/app.js");
  await settled("api: no either");
  write("api/app.js");
  await settled("web: reload ended after 0 of 2: no");
  watch.reloaded(undefined);
  expect(watch.status.failure).toBeNull();
});

test("forgets a failed reload when all processes of the pool began after the change and are ready", async () => {
  isServing = false;
  readySince = performance.now();
  results = [{ ok: false, code: "failed", message: "web: no" }];
  write("web/app.js");
  await settled("web: no");
  expect(events.at(-1)).toBe("warn paceline the change was not applied: the previous version is not ready either");
  for (const [since, failure] of [
    [readySince, "web: no"],
    [undefined, "web: no"],
    [performance.now(), null],
  ] as const) {
    readySince = since;
    watch.observe();
    expect(watch.status.failure).toBe(failure);
  }
  // A restarted process has the old values of the env file.
  results = [{ ok: false, code: "failed", message: "api: no" }].flatMap((one) => [done, one as OperationResult]);
  write(".env");
  await settled("api: no");
  readySince = performance.now();
  watch.observe();
  expect(watch.status.failure).toBe("api: no");
});

test("with the next change, also applies what an invalid config had held back", async () => {
  results = [{ ok: false, code: "config", message: "paceline.toml: a: unknown key\npaceline.toml: b: unknown key" }];
  write("paceline.toml");
  await settled("paceline.toml: a: unknown key");
  expect(events.at(-1)).toBe(
    "error paceline the change was not applied: paceline.toml: a: unknown key; paceline.toml: b: unknown key",
  );
  write("web/app.js");
  await asks(2);
  write("web/app.js");
  await asks(3);
  expect(asked).toEqual(["all", "all", "web"]);
  expect(watch.status.failure).toBeNull();
});
