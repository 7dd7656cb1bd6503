import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterAll, expect, test } from "vitest";
import { endHook, followHook, writeHook } from "./former-hook.js";
import { bootId, identify } from "./lock.js";

const runDir = mkdtempSync(join(tmpdir(), "former-hook-"));
const file = join(runDir, "hook.json");
afterAll(() => rmSync(runDir, { recursive: true, force: true }));

function hookOf(timeoutMs: number) {
  const child = spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
  const pid = child.pid as number;
  writeHook(runDir, "before", pid, timeoutMs);
  return { pid, exit: once(child, "exit") };
}

test("a hook ends at the deadline that it had", async () => {
  const { exit } = hookOf(0);
  const former = followHook(runDir);
  expect(former).toMatchObject({ name: "before", until: expect.any(Number) });
  expect(await exit).toEqual([null, "SIGTERM"]);
  await former?.ended;
  expect(existsSync(file)).toBe(false);
});

test("a hook ends before its deadline on request", async () => {
  const { exit } = hookOf(600_000);
  await endHook(runDir);
  expect(await exit).toEqual([null, "SIGTERM"]);
  expect(followHook(runDir)).toBe(undefined);
});

test.each([
  ["of the hook", true, {}, "before"],
  ["of another program", false, {}, undefined],
  ["of another hook", false, {}, "after"],
  ["older than the hook", false, { startedAt: "99999999999999" }, "before"],
  ["of an earlier boot", false, { boot: "another" }, "before"],
])("what is left in the group of a hook that has exited: %s", async (_, isEnded, changes, hook) => {
  const { PACELINE_HOOK: _own, ...environment } = process.env;
  const env = { ...environment, ...(hook !== undefined && { PACELINE_HOOK: hook }) };
  const leader = spawn("sh", ["-c", "sleep 600 >/dev/null & echo $!; read line"], {
    ...{ detached: true, env, stdio: ["pipe", "pipe", "ignore"] },
  });
  const pid = leader.pid as number;
  const [line] = await once(leader.stdout as Readable, "data");
  const left = Number(`${line}`);
  const identity = { ...identify(pid), ...changes };
  leader.stdin?.end();
  await once(leader, "exit");
  writeFileSync(file, JSON.stringify({ ...identity, name: "before", until: 0 }));
  expect(followHook(runDir)).toBe(undefined);
  expect(existsSync(file)).toBe(false);
  try {
    if (!isEnded) expect(identify(left)).toMatchObject({ boot: bootId() });
    for (const by = performance.now() + 10_000; isEnded && identify(left) !== undefined; ) {
      expect(performance.now()).toBeLessThan(by);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  } finally {
    if (!isEnded) process.kill(left, "SIGKILL");
  }
});

test.each(["", "{}", '{"pid":1}', `{"pid":${process.pid},"startedAt":"1","boot":"","until":0,"name":"before"}`])(
  "%j names no hook, and is removed",
  (text) => {
    writeFileSync(file, text);
    expect(followHook(runDir)).toBe(undefined);
    expect(existsSync(file)).toBe(false);
  },
);
