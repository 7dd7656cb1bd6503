import { expect, test } from "vitest";
import { lockText, MAX_REASON, readLock, reasonProblem } from "./fleet-lock.js";

const BY = { uid: 1, user: "ann", sudoUser: null, actor: null, job: null, from: null, via: "command" };
const NOBODY = { ...BY, uid: null, user: null };

test("a lock is read as it was written; a damaged one still locks", () => {
  const lock = { version: 1, reason: "migration", by: BY, since: 1_795_767_005_123 } as const;
  expect(readLock(JSON.stringify(lock), NOBODY, 1)).toEqual(lock);
  expect(lockText(lock)).toBe("locked by ann since 2026-11-27 08:10:05 UTC: migration");
  expect(lockText({ ...lock, reason: "\x1b[31mred\n" })).toMatch(/UTC: \\x1b\[31mred\\n$/);
  const damaged: unknown[] = [null, [], {}, { ...lock, since: "x" }, { ...lock, since: 1e300 }, { ...lock, by: null }];
  for (const text of ["", "{", ...damaged.map((value) => JSON.stringify(value))]) {
    const read = readLock(text, NOBODY, 1_795_767_005_123);
    expect([text, read.reason]).toEqual([text, "its file is damaged"]);
    expect(lockText(read)).toContain("locked by unknown since 2026-11-27 08:10:05 UTC");
  }
});

test("a reason is a short text", () => {
  expect(reasonProblem("migration")).toBe(undefined);
  for (const wrong of ["", "  ", "x".repeat(MAX_REASON + 1)]) expect(reasonProblem(wrong)).not.toBe(undefined);
});
