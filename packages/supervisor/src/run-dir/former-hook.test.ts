import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { endHook, followHook, writeHook } from "./former-hook.js";

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

test("a hook ends before its deadline if that is wanted", async () => {
  const { exit } = hookOf(600_000);
  await endHook(runDir);
  expect(await exit).toEqual([null, "SIGTERM"]);
  expect(followHook(runDir)).toBe(undefined);
});

test.each(["", "{}", '{"pid":1}', `{"pid":${process.pid},"startedAt":"1","boot":"","until":0,"name":"before"}`])(
  "%j names no hook, and is removed",
  (text) => {
    writeFileSync(file, text);
    expect(followHook(runDir)).toBe(undefined);
    expect(existsSync(file)).toBe(false);
  },
);
