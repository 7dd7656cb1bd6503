/** Proportional memory, from sample kernel output and of this process. */
import { expect, onTestFinished, test, vi } from "vitest";
import { waitFor } from "../../../../test/support/wait.js";
import { PssSampler, parseRollup, readRollup, UsageSampler } from "./usage.js";

test("only the sum is read, not its parts", () => {
  const rollup = "00200000-7ffe9905 ---p 0 00:00 0 [rollup]\nRss:   38988 kB\nPss:    9472 kB\nPss_Dirty:   7000 kB\n";
  expect(parseRollup(rollup, "Pss")).toBe(9472 * 1024);
  expect(parseRollup("Rss:   38988 kB\n", "Pss")).toBeNull();
  expect(parseRollup("Rss:   38988 kB\n", "Rss")).toBe(38988 * 1024);
});

test.runIf(process.platform === "linux")("a process that runs has some, one that does not has none", async () => {
  expect((await readRollup(process.pid))?.pss).toBeGreaterThan(1 << 20);
  expect(await readRollup(2 ** 22 + 1)).toBeNull();
});

test.runIf(process.platform === "linux")("the first question begins the readings", async () => {
  const sampler = new PssSampler(() => new Map([[process.pid, [process.pid]]]));
  onTestFinished(() => sampler.stop());
  expect(sampler.of(process.pid)).toBeNull();
  await expect.poll(() => sampler.of(process.pid) ?? 0).toBeGreaterThan(1 << 20);
});

test("processes that have just exited are ignored", async () => {
  const problem = vi.fn();
  const groups = new Map([[process.pid, [process.pid]]]);
  const sampler = new UsageSampler(() => groups, problem);
  onTestFinished(() => sampler.stop());
  sampler.start();
  sampler.soon();
  await expect.poll(() => sampler.of(process.pid)?.rssBytes ?? 0).toBeGreaterThan(1 << 20);
  const asked = vi.fn(() => new Map([[2 ** 22 + 1, [2 ** 22 + 1]]]));
  const ended = new UsageSampler(asked, problem);
  onTestFinished(() => ended.stop());
  // A caller shortens the interval.
  ended.of(process.pid);
  ended.start();
  ended.soon();
  // The second reading follows the result of the first.
  await expect.poll(() => asked.mock.calls.length).toBeGreaterThan(1);
  expect(problem).not.toHaveBeenCalled();
});

test.runIf(process.platform === "linux")("of processes that are followed, no other is read", async () => {
  const groups = new Map([
    [process.pid, [process.pid]],
    [process.ppid, [process.ppid]],
  ]);
  const sampler = new PssSampler(() => groups);
  onTestFinished(() => sampler.stop());
  const before = performance.now();
  expect(sampler.follow(process.pid)).toBeNull();
  const read = await waitFor("a reading", () => sampler.follow(process.pid) ?? undefined);
  expect(read.bytes).toBeGreaterThan(1 << 20);
  expect(read.at).toBeGreaterThanOrEqual(before);
  expect(sampler.of(process.ppid)).toBeNull();
});

test("a sample is reported, says when it was taken, and does not count as a client's request", async () => {
  const sampled = vi.fn();
  const isPressing = vi.fn(() => false);
  const sampler = new UsageSampler(() => new Map([[process.pid, [process.pid]]]), vi.fn(), {
    ...{ onSample: sampled, isPressing },
  });
  onTestFinished(() => sampler.stop());
  sampler.start();
  const before = performance.now();
  sampler.soon();
  await expect.poll(() => sampled.mock.calls.length).toBeGreaterThan(0);
  expect(sampler.peek(process.pid)?.at).toBeGreaterThanOrEqual(before);
  // The interval depends on it only while no client asks.
  expect(isPressing).toHaveBeenCalled();
});
