/** The file of the operator's lock, if a fleet has not written it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { FleetLocking } from "./fleet-locking.js";

test.each([
  ["damaged", (path: string) => writeFileSync(path, "{"), /^unlocked; it was locked .*: its file is damaged$/],
  [
    "a folder",
    (path: string) => mkdirSync(path),
    /^the fleet stays locked .*\/deploy-lock\.json is a folder: remove it$/,
  ],
])("a lock whose file is %s locks, and unlock says what to do", (_, make, message) => {
  const runDir = mkdtempSync(join(tmpdir(), "paceline-locking-"));
  onTestFinished(() => rmSync(runDir, { recursive: true }));
  make(join(runDir, "deploy-lock.json"));
  const locking = new FleetLocking(runDir, { event: () => {} });
  expect(locking.refusal()).toMatchObject({ code: "busy" });
  expect(locking.unlock(undefined).message).toMatch(message);
});
