import { expect, test } from "vitest";
import {
  boundEntry,
  callerText,
  changeText,
  entriesToRemove,
  type HistoryEntry,
  isEntry,
  MAX_STEPS,
  poolChanges,
  readCaller,
} from "./history.js";

const BY = { uid: 0, user: "root", sudoUser: null, actor: null, job: null, from: null, via: "command" };
const ENTRY: HistoryEntry = {
  ...{ version: 1, id: 1, at: 0, command: "reload", target: null, detail: null, by: BY, pools: [], steps: [] },
  ...{ stepsOmitted: 0, result: "done", message: "", durationMs: 1 },
};

test("an entry is bounded: the first and the last steps stay, and it says how many are left out", () => {
  const steps = Array.from({ length: 1000 }, (_, at) => ({ afterMs: at, text: `${at} ${"x".repeat(5000)}` }));
  const text = "x".repeat(100_000);
  const by = { ...BY, user: text, sudoUser: text, actor: text, job: text, from: text, via: text };
  const release: [string, string] = [text, text];
  const change = { name: "web", generation: [1, 2], instances: [1, 1], release } as HistoryEntry["pools"][number];
  const pools = Array.from({ length: 1000 }, () => change);
  const bounded = boundEntry({ ...ENTRY, steps, by, pools, target: text, detail: text, message: text });
  expect(bounded.steps).toHaveLength(MAX_STEPS);
  expect(bounded.stepsOmitted).toBe(1000 - MAX_STEPS);
  expect(bounded.steps[0]?.afterMs).toBe(0);
  expect(bounded.steps.at(-1)?.afterMs).toBe(999);
  // Escaped, a character may take six bytes.
  expect(JSON.stringify(bounded).length * 6).toBeLessThan(1 << 20);
  expect(boundEntry(bounded)).toEqual(bounded);
  expect(isEntry(bounded)).toBe(true);
});

test("a value read from a file is an entry only if everything that is shown exists", () => {
  expect(isEntry(ENTRY)).toBe(true);
  const wrong: unknown[] = [
    ...[null, 7, "x", [], {}, { ...ENTRY, version: 2 }, { ...ENTRY, by: null }, { ...ENTRY, pools: [{}] }],
    ...[
      { ...ENTRY, steps: [null] },
      { ...ENTRY, id: "1" },
      { ...ENTRY, message: null },
      { ...ENTRY, pools: "x" },
    ],
  ];
  for (const value of wrong) expect([value, isEntry(value as HistoryEntry)]).toEqual([value, false]);
});

test("old entries are removed, by number and by bytes; the newest never", () => {
  const kept = [1, 2, 3, 4].map((id) => ({ id, bytes: 10 }));
  const removed = (count: number, bytes: number) => entriesToRemove(kept, { count, bytes }).map(({ id }) => id);
  expect(removed(4, 40)).toEqual([]);
  expect(removed(2, 40)).toEqual([2, 1]);
  expect(removed(4, 25)).toEqual([2, 1]);
  expect(removed(0, 0)).toEqual([3, 2, 1]);
});

test("a caller is what a request states, bounded, or nobody", () => {
  const encoded = (value: unknown) => encodeURIComponent(JSON.stringify(value));
  expect(readCaller(encoded({ ...BY, user: "zoë", extra: 1 }))).toEqual({ ...BY, user: "zoë" });
  const nobody = { ...BY, uid: null, user: null };
  for (const text of [undefined, "", "%zz", "x", encoded(null), encoded([]), encoded({ uid: "0", user: 7 })])
    expect([text, readCaller(text)]).toEqual([text, nobody]);
  expect(readCaller(encoded({ user: "x".repeat(10_000) })).user?.length).toBeLessThan(500);
  // Nobody can pretend to be a signal.
  expect(readCaller(encoded({ via: "SIGHUP" })).via).toBe("command");
  expect(callerText(nobody)).toBe("unknown");
  expect(callerText({ ...nobody, uid: 7 })).toBe("uid 7");
  expect(callerText({ ...BY, sudoUser: "ann", actor: "octocat" })).toBe("root (sudo by ann) for octocat");
  expect(callerText({ ...nobody, via: "SIGHUP" })).toBe("SIGHUP");
});

test("only the differences of the pools are named", () => {
  const web = { name: "web", generation: 1, instances: 2, release: "/6" };
  expect(poolChanges([web], [web])).toEqual([]);
  const after = [
    { ...web, generation: 2, release: "/7" },
    { ...web, name: "api" },
  ];
  expect(poolChanges([web, { ...web, name: "old" }], after).map(changeText)).toEqual([
    "web: generation 1 → 2, /6 → /7",
    "old: removed",
    "api: added, 2 instances",
  ]);
});
