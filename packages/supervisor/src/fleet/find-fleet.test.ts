/** A fleet that a command finds while it starts or stops. */
import { once } from "node:events";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeFolder } from "../../test/support.js";
import { runDirName } from "../config/identity.js";
import { takeLock } from "../run-dir/lock.js";
import { afterLoss, findFleet, findSettledFleet } from "./find-fleet.js";
import type { FoundFleet } from "./known-fleets.js";

test("a supervisor that holds the lock and has no socket yet is awaited, and so is one that is about to exit", async () => {
  const runDir = makeFolder();
  chmodSync(runDir, 0o700);
  const lock = takeLock(runDir);
  const starting = findSettledFleet({ runDir });
  const server = createServer().listen(join(runDir, "control.sock"));
  await once(server, "listening");
  expect(await starting).toMatchObject({ runDir, state: "up" });
  server.close();
  await once(server, "close");
  const ending = findSettledFleet({ runDir });
  lock.release();
  expect(await ending).toMatchObject({ state: "down" });
});

test("a fleet whose record cannot be read is found by its config, even from a folder below it", async () => {
  const [folder, state] = [makeFolder(), makeFolder()];
  const [source, below] = [join(folder, "paceline.config.json"), join(folder, "below")];
  mkdirSync(below);
  writeFileSync(source, "{}");
  const runDir = join(state, runDirName({ source }));
  mkdirSync(runDir, { mode: 0o700 });
  writeFileSync(join(runDir, "fleet.json"), "");
  const environment = { PACELINE_STATE_DIR: state };
  const lock = takeLock(runDir);
  expect(await findFleet({ cwd: below }, environment)).toMatchObject({ runDir, state: "starting" });
  expect(await findFleet({ config: source }, environment)).toMatchObject({ runDir, state: "starting" });
  lock.release();
  await expect(findFleet({ cwd: below }, environment)).rejects.toMatchObject({ code: "not-running" });
});

test.each([
  ["orphaned", 1, null, 0, "wait"],
  ["orphaned", 1, null, 50_000, "wait"],
  ["starting", 2, null, 0, "wait"],
  ["upgrading", 1, null, 0, "wait"],
  ["up", 2, null, 0, "next"],
  // It is about to exit, or it has closed only this connection.
  ["up", 1, null, 0, "wait"],
  ["up", 1, null, 3_000, "ended"],
  ["starting", 1, 5, 0, "ended"],
  ["orphaned", 1, 5, 0, "ended"],
  ["down", 1, null, 0, "ended"],
] as const)(
  "a fleet that is %s with supervisor %d, ended at %s, %d ms after 1 was lost: %s",
  (state, pid, endedAt, waitedMs, next) => {
    const record = { pid, endedAt } as FoundFleet["record"];
    expect(afterLoss({ state, record }, 1, waitedMs)).toBe(next);
  },
);
