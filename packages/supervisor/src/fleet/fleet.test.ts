/** A stop of a running fleet, with a process that plays its supervisor. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHANNEL_ENVIRONMENT } from "@paceline/wire";
import { describe, expect, onTestFinished, test } from "vitest";
import { identify, isRunning, type ProcessIdentity } from "../run-dir/lock.js";
import { FleetClient } from "./fleet.js";

test("a stop resolves when the supervisor has exited, not when it responds", async () => {
  const { fleet, supervisor, identity } = await fleetOf((response) => {
    response.end('{"result":{"ok":true,"message":"stopped"}}\n');
    response.on("close", () => setTimeout(() => supervisor.kill(), 100));
  });
  expect(await fleet.stop()).toMatchObject({ message: "stopped" });
  expect(isRunning(identity)).toBe(false);
});

describe("a supervisor that is killed while a stop waits for it", () => {
  test("makes the stop end the processes left behind, and the start of another supervisor", async () => {
    const { fleet, supervisor, runDir } = await fleetOf((response) => {
      supervisor.kill("SIGKILL");
      response.socket?.destroy();
    });
    const instance = await started("sleep", ["60"], { [CHANNEL_ENVIRONMENT.channel]: join(runDir, "channel.sock") });
    const revival = await started("sh", ["-c", "sleep 0.7; exit", "x", "--only-adopts", "--run-dir", runDir]);
    expect(await fleet.stop()).toMatchObject({ ok: true, message: "stopped the processes of a killed supervisor" });
    expect([instance, revival].map(({ identity }) => isRunning(identity))).toEqual([false, false]);
    // It may also be killed before the connection.
    expect(await fleet.stop()).toMatchObject({ ok: true, message: "nothing of the fleet runs any more" });
  });

  test("is not mistaken by other commands for a fleet that is not running", async () => {
    const { fleet, supervisor, runDir, server } = await fleetOf(() => {});
    await started("sleep", ["60"], { [CHANNEL_ENVIRONMENT.channel]: join(runDir, "channel.sock") });
    supervisor.kill("SIGKILL");
    server.close();
    const killed = { code: "orphaned", message: expect.stringContaining("was killed; 1 process of it keeps running") };
    await expect(fleet.status()).rejects.toMatchObject(killed);
    await expect(fleet.reload()).rejects.toMatchObject(killed);
  });
});

/** A run directory with a process that plays its supervisor and answers each request with `answer`. */
async function fleetOf(answer: (response: ServerResponse) => void) {
  const runDir = mkdtempSync(join(tmpdir(), "pl-"));
  onTestFinished(() => rmSync(runDir, { recursive: true, force: true }));
  const { child: supervisor, identity } = await started("sleep", ["60"]);
  writeFileSync(join(runDir, "lock.1"), JSON.stringify(identity));
  const controlSocket = join(runDir, "control.sock");
  const server = createServer((request, response) => {
    request.resume();
    answer(response);
    server.close();
  }).listen(controlSocket);
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const fleet = new FleetClient({ runDir, controlSocket, owner: undefined, pid: supervisor.pid });
  return { fleet, supervisor, identity, runDir, server };
}

async function started(command: string, args: string[], environment: NodeJS.ProcessEnv = {}) {
  const child = spawn(command, args, { env: { ...process.env, ...environment } });
  onTestFinished(() => void child.kill());
  await once(child, "spawn");
  return { child, identity: identify(child.pid as number) as ProcessIdentity };
}
