/** Proportional memory, from sample kernel output and of this process. */
import { expect, onTestFinished, test, vi } from "vitest";
import { PssSampler, parsePss, readPss } from "./usage.js";

test("the sum alone is taken, not its parts", () => {
  const rollup = "00200000-7ffe9905 ---p 0 00:00 0 [rollup]\nRss:   38988 kB\nPss:    9472 kB\nPss_Dirty:   7000 kB\n";
  expect(parsePss(rollup)).toBe(9472 * 1024);
  expect(parsePss("Rss:   38988 kB\n")).toBeNull();
});

test.runIf(process.platform === "linux")("a process that runs has some, one that does not has none", async () => {
  expect(await readPss(process.pid)).toBeGreaterThan(1 << 20);
  expect(await readPss(2 ** 22 + 1)).toBeNull();
});

test.runIf(process.platform === "linux")("the first question begins the readings", async () => {
  const sampler = new PssSampler(() => new Map([[process.pid, [process.pid]]]));
  onTestFinished(() => sampler.stop());
  expect(sampler.of(process.pid)).toBeNull();
  await vi.waitFor(() => expect(sampler.of(process.pid)).toBeGreaterThan(1 << 20));
});
