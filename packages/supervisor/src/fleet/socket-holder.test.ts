/** How long a balancer is awaited that has the listening sockets. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { CHANNEL_ENVIRONMENT, CHANNEL_VERSION } from "@paceline/wire";
import { expect, onTestFinished, test } from "vitest";
import { makeFolder } from "../../test/support.js";
import { writeFleetFile } from "../run-dir/fleet-file.js";
import { takeLock } from "../run-dir/lock.js";
import { findSocketHolder } from "./socket-holder.js";

const TOKEN = "t".repeat(32);

const testOnLinux = test.runIf(process.platform === "linux");

testOnLinux.each(["ready", "starting"])(
  "one that is %s, for longer than one that is stopped or has ended",
  async (phase) => {
    const runDir = makeFolder();
    chmodSync(runDir, 0o700);
    const channelSocket = join(runDir, "channel.sock");
    const texts = {
      source: "/s",
      folder: "/",
      release: "/",
      name: "shop",
      controlSocket: join(runDir, "control.sock"),
    };
    const numbers = { version: 1, pid: 2 ** 22 + 1, startedAt: 0, orphanGraceMs: 1 } as const;
    writeFleetFile(runDir, { ...texts, ...numbers, endedAt: null, channelSocket });
    const environment = { PACELINE_POOL: "balancer", PACELINE_INSTANCE: "balancer.1" };
    const { channel, token } = CHANNEL_ENVIRONMENT;
    const env = { ...environment, [channel]: channelSocket, [token]: TOKEN };
    const balancer = spawn("/bin/sleep", ["600"], { env, detached: true, stdio: "ignore" });
    onTestFinished(() => void balancer.kill("SIGKILL"));
    const { pid } = balancer;

    // Another start is in progress; the processes that it leaves are awaited.
    const other = takeLock(runDir);
    const found = findSocketHolder(runDir, { usualMs: 0, mostMs: 60_000 });
    await new Promise((resolve) => setTimeout(resolve, 1));
    other.release();
    await expect.poll(() => existsSync(channelSocket)).toBe(true);
    const late = connect(channelSocket).on("error", () => {});
    onTestFinished(() => void late.destroy());
    await once(late, "connect");
    const hello = {
      type: "hello",
      channelVersion: CHANNEL_VERSION,
      role: "balancer",
      phase,
      pid,
      token: TOKEN,
    };
    const name = {
      pool: "balancer",
      name: "balancer.1",
      attempt: 1,
      generation: 1,
      runtime: "bun 1",
      snapshotVersion: 1,
    };
    late.write(`${JSON.stringify({ ...hello, ...name })}\n`);
    const holder = await found;
    expect(holder).toMatchObject({ folder: runDir, isStarting: phase === "starting" });
    holder?.close();

    balancer.kill("SIGSTOP");
    expect(await findSocketHolder(runDir, { usualMs: 100, mostMs: 600_000 })).toBe(undefined);

    // It exits while it is awaited, as in a stop.
    const gone = findSocketHolder(runDir, { usualMs: 600_000, mostMs: 600_000 });
    await expect.poll(() => existsSync(channelSocket)).toBe(true);
    balancer.kill("SIGKILL");
    expect(await gone).toBe(undefined);
  },
);
