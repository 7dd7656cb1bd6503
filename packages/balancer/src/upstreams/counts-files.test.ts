/** The files by which balancers find each other: as on Bun, with memory that two of them share in this process, and on Node. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { CountsFiles } from "./counts-files.js";

let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "paceline-counts-"));
  const memory = new Map<string, Uint8Array>();
  const mmap = (path: string) => {
    // A new file has new memory.
    const key = `${path} ${statSync(path).ino}`;
    const bytes = memory.get(key) ?? new Uint8Array(readFileSync(path));
    memory.set(key, bytes);
    return bytes;
  };
  vi.stubGlobal("Bun", { mmap });
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

/** Two balancers that have found each other. */
function pair(): [CountsFiles, CountsFiles] {
  const files = ["balancer.1#1", "balancer.2#1"].map((id) => new CountsFiles(folder, id)) as [CountsFiles, CountsFiles];
  for (const each of files) each.follow(2, 0);
  for (const each of files) each.tick(100);
  return files;
}

it("on Node the counts are written once in a turn, and read once a millisecond", async () => {
  vi.stubGlobal("Bun", undefined);
  let nowMs = 0;
  vi.spyOn(performance, "now").mockImplementation(() => ++nowMs);
  const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  const files = ["balancer.1#1", "balancer.2#1"].map((id) => new CountsFiles(folder, id)) as [CountsFiles, CountsFiles];
  for (const each of files) each.follow(2, 0);
  await turn();
  for (const now of [100, 200]) for (const each of files) each.tick(now);
  const [one, other] = files;
  expect([one.isComplete, other.isComplete]).toEqual([true, true]);
  const counts = one.join("web.1#1");
  const seen = other.join("web.1#1");
  counts?.put(2, 1);
  other.tick(300);
  expect(seen?.inFlight).toBe(0);
  await turn();
  other.tick(400);
  expect([seen?.inFlight, seen?.pending]).toEqual([2, 1]);
  counts?.put(1, 0);
  await turn();
  nowMs += 10;
  seen?.look();
  expect(seen?.inFlight).toBe(1);
  rmSync(join(folder, "balancer.1#1.counts"));
  other.tick(1500);
  expect([seen?.inFlight, other.isComplete]).toEqual([0, false]);
});

it("balancers find each other, and read each other's counts", () => {
  const [one, other] = pair();
  expect([one.isComplete, other.isComplete]).toEqual([true, true]);
  const counts = one.join("web.1#1");
  counts?.put(2, 1);
  const seen = other.join("web.1#1");
  other.tick(200);
  expect([seen?.inFlight, seen?.pending]).toEqual([2, 1]);
  counts?.put(0, 0);
  seen?.look();
  expect(seen?.inFlight).toBe(0);
  expect(readdirSync(folder).map((name) => [name, statSync(join(folder, name)).mode & 0o777])).toEqual([
    ["balancer.1#1.counts", 0o600],
    ["balancer.2#1.counts", 0o600],
  ]);
});

it("one that does not tick any more is not heeded, until it ticks again", () => {
  const [one, other] = pair();
  one.join("web.1#1")?.put(2, 1);
  const seen = other.join("web.1#1");
  for (let now = 200; now <= 3500; now += 100) other.tick(now);
  expect([seen?.inFlight, other.isComplete]).toEqual([0, false]);
  one.tick(3500);
  other.tick(3600);
  expect([seen?.inFlight, other.isComplete]).toEqual([2, true]);
});

it("one whose file is gone is forgotten, and a new one is found", () => {
  const [one, other] = pair();
  one.join("web.1#1")?.put(2, 1);
  const seen = other.join("web.1#1");
  rmSync(join(folder, "balancer.1#1.counts"));
  other.tick(1200);
  expect([seen?.inFlight, other.isComplete]).toEqual([0, false]);
  const next = new CountsFiles(folder, "balancer.1#2");
  next.follow(2, 1200);
  other.tick(1300);
  expect(other.isComplete).toBe(true);
});

it("a balancer that is alone has no file, but goes on with one that was not", () => {
  const alone = new CountsFiles(folder, "balancer.1#1");
  alone.follow(1, 0);
  alone.tick(100);
  expect([alone.isOn, alone.join("web.1#1"), readdirSync(folder)]).toEqual([false, undefined, []]);
  const [one, other] = pair();
  const counts = one.join("web.1#1");
  other.join("web.1#1")?.put(1, 0);
  one.follow(1, 200);
  expect([one.isOn, counts?.inFlight]).toEqual([true, 1]);
  for (const each of [one, other]) each.close();
  expect(readdirSync(folder)).toEqual([]);
});

it.each([
  ["its file is there already", () => writeFileSync(join(folder, "balancer.1#1.counts"), "")],
  ["the folder is not", () => rmSync(folder, { recursive: true })],
])("a balancer does without if %s", (_, happens) => {
  happens();
  const files = new CountsFiles(folder, "balancer.1#1");
  files.follow(2, 0);
  files.tick(100);
  expect([files.isOn, files.isComplete, files.join("web.1#1")]).toEqual([false, false, undefined]);
});

it("files that are no tables are passed over", () => {
  writeFileSync(join(folder, "short.counts"), "PCC1");
  writeFileSync(join(folder, "other.counts"), new Uint8Array(65_536).fill(7));
  const [one] = pair();
  expect([one.isComplete, one.join("web.1#1")?.inFlight]).toEqual([true, 0]);
});
