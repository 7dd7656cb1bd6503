/** A stop of a running fleet, with a process in place of its supervisor. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { identify, isRunning, type ProcessIdentity } from "../run-dir/lock.js";
import { FleetClient } from "./fleet.js";

test("a stop resolves when the supervisor has ended, not when it responds", async () => {
  const runDir = mkdtempSync(join(tmpdir(), "pl-"));
  onTestFinished(() => rmSync(runDir, { recursive: true, force: true }));
  const supervisor = spawn("sleep", ["60"]);
  onTestFinished(() => void supervisor.kill());
  await once(supervisor, "spawn");
  const identity = identify(supervisor.pid as number) as ProcessIdentity;
  writeFileSync(join(runDir, "lock.1"), JSON.stringify(identity));
  const controlSocket = join(runDir, "control.sock");
  const server = createServer((request, response) => {
    request.resume();
    response.end('{"result":{"ok":true,"message":"stopped"}}\n');
    response.on("close", () => setTimeout(() => supervisor.kill(), 100));
  }).listen(controlSocket);
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const fleet = new FleetClient({ runDir, controlSocket, owner: undefined, pid: supervisor.pid });
  expect(await fleet.stop()).toMatchObject({ message: "stopped" });
  expect(isRunning(identity)).toBe(false);
});
