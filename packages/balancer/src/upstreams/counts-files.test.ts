/** The files by which balancers find each other and share counts. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { CountsFiles } from "./counts-files.js";
import type { SharedCounts } from "./shared-counts.js";

let folder = "";
let nowMs = 0;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "paceline-counts-"));
  nowMs = 0;
  vi.spyOn(performance, "now").mockImplementation(() => nowMs);
});

afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

/** The end of this turn of the event loop: counts were written. */
const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
const fileOf = (balancer: number) => join(folder, `balancer.${balancer}#1.counts`);
const of = (seen: SharedCounts | undefined) => [seen?.inFlight, seen?.pending];

/** Two balancers that have found each other. */
async function pair(): Promise<[CountsFiles, CountsFiles]> {
  const files = [1, 2].map((number) => new CountsFiles(folder, `balancer.${number}#1`)) as [CountsFiles, CountsFiles];
  for (const each of files) each.follow(2, 0);
  for (const each of files) each.tick(100);
  await turn();
  return files;
}

it("balancers find each other, and read each other's counts: written once in a turn, read once in a quarter of a millisecond", async () => {
  const [one, other] = await pair();
  expect([one.isComplete, other.isComplete]).toEqual([true, true]);
  const counts = one.join("web.1#1");
  counts?.put(2, 1);
  const seen = other.join("web.1#1");
  other.tick(200);
  expect(of(seen)).toEqual([0, 0]);
  await turn();
  other.tick(300);
  expect(of(seen)).toEqual([2, 1]);
  const look = (laterMs: number) => {
    nowMs += laterMs;
    other.read();
    seen?.look();
    return of(seen);
  };
  look(1);
  counts?.put(1, 0);
  await turn();
  expect([look(0.2), look(0.1)]).toEqual([
    [2, 1],
    [1, 0],
  ]);
  expect(readdirSync(folder).map((name) => [name, statSync(join(folder, name)).mode & 0o777])).toEqual([
    ["balancer.1#1.counts", 0o600],
    ["balancer.2#1.counts", 0o600],
  ]);
});

it("a balancer that does not tick any more is ignored until it ticks again", async () => {
  const [one, other] = await pair();
  one.join("web.1#1")?.put(2, 1);
  await turn();
  const seen = other.join("web.1#1");
  for (let now = 200; now <= 3500; now += 100) other.tick(now);
  expect([seen?.inFlight, other.isComplete]).toEqual([0, false]);
  one.tick(3500);
  await turn();
  other.tick(3600);
  expect([seen?.inFlight, other.isComplete]).toEqual([2, true]);
});

it.each([
  ["had requests may have left them in an instance for half a minute", 1, 31_300],
  ["had none is forgotten, and a new one is found", 0, 1300],
])("one that is gone and %s", async (_, requests, completeAt) => {
  const [one, other] = await pair();
  one.join("web.1#1")?.put(requests, 0);
  await turn();
  const seen = other.join("web.1#1");
  other.tick(200);
  expect([seen?.inFlight, other.isComplete]).toEqual([requests, true]);
  rmSync(fileOf(1));
  other.tick(1200);
  expect([seen?.inFlight, other.isComplete]).toEqual([0, false]);
  const next = new CountsFiles(folder, "balancer.1#2");
  next.follow(2, 1200);
  for (let now = 1300; now < 32_000; now += 1000) {
    next.tick(now);
    await turn();
    other.tick(now);
    expect([now, other.isComplete]).toEqual([now, now >= completeAt]);
  }
});

it("a balancer that exits by itself leaves nothing behind", async () => {
  const [one, other] = await pair();
  const counts = one.join("web.1#1");
  counts?.put(1, 0);
  await turn();
  other.tick(200);
  counts?.put(0, 0);
  one.close();
  expect(readdirSync(folder)).toEqual(["balancer.2#1.counts"]);
  other.tick(1200);
  other.follow(1, 1300);
  expect(other.isComplete).toBe(true);
  await turn();
  one.tick(1400);
  expect(readdirSync(folder)).toEqual(["balancer.2#1.counts"]);
});

it("an emptied file counts as empty until its balancer writes it again, and crashes nobody", async () => {
  const [one, other] = await pair();
  one.join("web.1#1")?.put(2, 1);
  await turn();
  const seen = other.join("web.1#1");
  other.tick(200);
  expect(of(seen)).toEqual([2, 1]);
  truncateSync(fileOf(1));
  other.tick(300);
  expect(of(seen)).toEqual([0, 0]);
  one.tick(400);
  await turn();
  other.tick(500);
  expect(of(seen)).toEqual([2, 1]);
});

it.each([
  ["removes", () => rmSync(fileOf(1))],
  ["moves away", () => renameSync(fileOf(1), join(folder, "moved"))],
  [
    "replaces",
    () => {
      writeFileSync(join(folder, "new"), "no table");
      renameSync(join(folder, "new"), fileOf(1));
    },
  ],
])("a file that somebody %s is created again, and found in place of the former one", async (_, lose) => {
  const [one, other] = await pair();
  one.join("web.1#1")?.put(2, 1);
  const seen = other.join("web.1#1");
  lose();
  one.tick(6000);
  await turn();
  other.tick(6000);
  expect(of(seen)).toEqual([2, 1]);
});

it("a balancer without disk space tries again after five seconds, and knows the others' requests in the meantime", async () => {
  const full = new CountsFiles(folder, "balancer.1#1");
  mkdirSync(fileOf(1));
  full.follow(2, 0);
  const counts = full.join("web.1#1");
  counts?.put(1, 0);
  const other = new CountsFiles(folder, "balancer.2#1");
  other.follow(2, 0);
  other.join("web.1#1")?.put(3, 0);
  await turn();
  full.tick(100);
  other.tick(100);
  expect([of(counts), full.isComplete, other.isComplete]).toEqual([[3, 0], true, false]);
  rmSync(fileOf(1), { recursive: true });
  full.tick(4900);
  expect(readdirSync(folder)).toEqual(["balancer.2#1.counts"]);
  full.tick(5000);
  other.tick(5000);
  const seen = other.join("web.1#1");
  expect([of(seen), other.isComplete]).toEqual([[1, 0], true]);
});

it("a single balancer creates no file, but continues to use a file that it had", async () => {
  const alone = new CountsFiles(folder, "balancer.1#1");
  alone.follow(1, 0);
  alone.tick(100);
  expect([alone.isOn, alone.join("web.1#1"), readdirSync(folder)]).toEqual([false, undefined, []]);
  const [one, other] = await pair();
  const counts = one.join("web.1#1");
  other.join("web.1#1")?.put(1, 0);
  await turn();
  one.follow(1, 200);
  counts?.look();
  expect([one.isOn, counts?.inFlight]).toEqual([true, 1]);
  for (const each of [one, other]) each.close();
  expect(readdirSync(folder)).toEqual([]);
});

it("a balancer works without a file if the folder is missing", () => {
  rmSync(folder, { recursive: true });
  const files = new CountsFiles(folder, "balancer.1#1");
  files.follow(2, 0);
  files.join("web.1#1")?.put(1, 0);
  files.tick(100);
  expect(files.isComplete).toBe(false);
});

it("files that are not tables are skipped", async () => {
  writeFileSync(join(folder, "short.counts"), "PCC");
  writeFileSync(join(folder, "other.counts"), new Uint8Array(65_536).fill(7));
  const [one] = await pair();
  expect([one.isComplete, one.join("web.1#1")?.inFlight]).toEqual([true, 0]);
});
