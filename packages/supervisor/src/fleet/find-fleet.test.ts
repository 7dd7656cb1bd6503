/** A fleet that a command meets while it starts or ends. */
import { once } from "node:events";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeFolder } from "../../test/support.js";
import { runDirName } from "../config/identity.js";
import { takeLock } from "../run-dir/lock.js";
import { findFleet, findSettledFleet } from "./find-fleet.js";

test("a supervisor that has the lock and not yet its socket is waited for, and so is one that is about to end", async () => {
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

test("a fleet whose record cannot be read is found by its config, from a folder below it, too", async () => {
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
