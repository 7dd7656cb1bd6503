import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  boundReport,
  DEATH_KINDS,
  type DeathKind,
  type DeathReport,
  howItDied,
  kindOfDeath,
  kindOfVerdict,
  MAX_REQUESTS,
  reportsToRemove,
  unwantedState,
} from "./deaths.js";
import type { Fleet } from "./fleet.js";

const exit = (code: number | null, signal: string | null = null) => ({ code, signal });

describe("the kind of a death", () => {
  test.each<[string, Partial<Parameters<typeof kindOfDeath>[0]>, DeathKind]>([
    ["a code", { status: exit(3) }, "exit"],
    ["a code of 0", { status: exit(0) }, "exit"],
    ["its own signal", { status: exit(null, "SIGSEGV") }, "signal"],
    ["SIGKILL by the kernel", { status: exit(null, "SIGKILL"), wasOutOfMemory: () => true }, "outOfMemory"],
    [
      "SIGKILL, and the kernel killed nothing",
      { status: exit(null, "SIGKILL"), wasOutOfMemory: () => false },
      "signal",
    ],
    ["SIGKILL, and nothing can be read", { status: exit(null, "SIGKILL") }, "perhapsOutOfMemory"],
    ["SIGKILL of ours", { status: exit(null, "SIGKILL"), killedAs: "hung", wasOutOfMemory: () => true }, "hung"],
    ["SIGTERM from outside", { status: exit(null, "SIGTERM"), wasOutOfMemory: () => true }, "signal"],
    ["no start", { status: exit(null), isSpawnFailure: true }, "notStarted"],
    ["no status", { status: exit(null), wasOutOfMemory: () => false }, "unknown"],
    ["no status, but the kernel killed it", { status: exit(null), wasOutOfMemory: () => true }, "outOfMemory"],
  ])("%s", (_, facts, kind) => {
    const none = { status: exit(0), killedAs: null, isSpawnFailure: false, wasOutOfMemory: () => undefined };
    expect(kindOfDeath({ ...none, ...facts })).toBe(kind);
  });

  test.each([
    [undefined, "slow"],
    ["was not ready within 30 s (readyTimeoutMs)", "notReady"],
    ["unhealthy: GET / got 500", "unhealthy"],
    ["hung: its event loop was blocked for 30 s", "hung"],
  ] as const)("of the verdict %s is %s", (verdict, kind) => expect(kindOfVerdict(verdict, false)).toBe(kind));

  test("of a process that is over its memory limit is `memory` if it was only slow", () => {
    expect(kindOfVerdict(undefined, true)).toBe("memory");
    expect(kindOfVerdict("hung: its event loop was blocked for 30 s", true)).toBe("hung");
  });

  test("is named in the documentation, with the same words", () => {
    const page = readFileSync(new URL("../../../../docs/deaths.md", import.meta.url), "utf8");
    for (const [kind, { means }] of Object.entries(DEATH_KINDS)) expect(page).toContain(`| \`${kind}\` | ${means} |`);
  });

  test("is shown in a few words", () => {
    expect(howItDied({ kind: "exit", ...exit(3) })).toBe("exit 3");
    expect(howItDied({ kind: "signal", ...exit(null, "SIGSEGV") })).toBe("SIGSEGV");
    expect(howItDied({ kind: "of a newer version" as DeathKind, ...exit(1) })).toBe("of a newer version");
  });
});

describe("an exit is unexpected", () => {
  const fleet = (state: string, role = "member") => {
    const occupant = { process: { state, attempt: 2 }, generation: 1 };
    const other = role === "member" ? null : { ...occupant, role };
    const member = role === "member" ? occupant : { process: { state: "ready", attempt: 1 }, generation: 1 };
    return { pools: [{ name: "web", slots: [{ name: "web.1", index: 1, member, other }] }] } as unknown as Fleet;
  };
  test.each<[string, string, ReturnType<typeof exit>, boolean, boolean, string?]>([
    ["while starting", "starting", exit(1), false, true],
    ["while ready, even with 0", "ready", exit(0), false, true],
    ["by our kill", "killing", exit(null, "SIGKILL"), true, true],
    ["of a replacement", "starting", exit(1), false, true, "replacement"],
    ["not of a drain", "draining", exit(0), false, false],
    ["not of a drain that a signal of a stop ends", "draining", exit(null, "SIGINT"), false, false],
    ["of a drain that crashes", "draining", exit(null, "SIGSEGV"), false, true],
    ["of an outgoing process that somebody kills", "draining", exit(null, "SIGKILL"), false, true, "outgoing"],
    ["not of a drain that the operator cuts short", "draining", exit(null, "SIGKILL"), true, false],
    ["not of a stopped slot", "stopped", exit(1), false, false],
  ])("%s", (_, state, status, wasKilled, isUnwanted, role) => {
    const found = unwantedState(fleet(state, role), { pool: "web", index: 1, attempt: 2 }, status, wasKilled);
    expect(found).toBe(isUnwanted ? state : undefined);
  });
  test("not of an earlier attempt", () => {
    expect(unwantedState(fleet("ready"), { pool: "web", index: 1, attempt: 1 }, exit(1), false)).toBeUndefined();
  });
});

const REPORT: DeathReport = {
  ...{ version: 1, id: 1, at: 0, process: "web.1#1", name: "web.1", pool: "web", kind: "exit", attempt: 1 },
  ...{ generation: 1, pid: 1, runtime: "bun", release: "/srv", uptimeMs: 1, state: "ready", code: 1, signal: null },
  ...{ reason: "", running: null, inFlight: 0, requestsTotal: 0, requests: [], requestsOmitted: 0, stack: [] },
  ...{ history: null, lastLines: [] },
};

describe("a report is bounded", () => {
  test("with the newest lines, the innermost frames and the oldest requests", () => {
    const many = (prefix: string) => Array.from({ length: 1000 }, (_, at) => `${prefix}${at} ${"x".repeat(5000)}`);
    const requests = many("GET /").map((request) => ({
      ...{ request, id: request },
      ageMs: 1,
      state: "running",
      outcome: "cut",
    }));
    const bounded = boundReport({
      ...REPORT,
      ...{ requests: requests as DeathReport["requests"], requestsOmitted: 5 },
      ...{ reason: "y".repeat(1e6), running: "z".repeat(1e6), stack: many("at "), lastLines: many("line ") },
    });
    expect(bounded.lastLines.at(-1)).toMatch(/^line 999 /);
    expect(bounded.stack[0]).toMatch(/^at 0 /);
    expect(bounded.requests).toHaveLength(MAX_REQUESTS);
    expect(bounded.requestsOmitted).toBe(5 + 1000 - MAX_REQUESTS);
    // Each of these characters may take six bytes.
    expect(JSON.stringify(bounded).length * 6).toBeLessThan(512 << 10);
    expect(boundReport(bounded)).toEqual(bounded);
  });

  test("and a small one does not change", () => {
    const small = { ...REPORT, lastLines: ["a", "b"], stack: ["f (a.js:1)"] };
    expect(boundReport(small)).toEqual(small);
  });
});

describe("reports to remove", () => {
  const kept = (names: string) => [...names].map((name, at) => ({ id: at + 1, name, bytes: 10 }));
  test.each([
    ["none within the bounds", "abc", { count: 3, bytes: 30 }, []],
    ["the oldest of the slot that has most", "aabaa", { count: 3, bytes: 1e9 }, [1, 2]],
    ["never another's while one has more", "baaaaaaa", { count: 2, bytes: 1e9 }, [2, 3, 4, 5, 6, 7]],
    ["by bytes", "abcd", { count: 9, bytes: 25 }, [1, 2]],
    ["all if none fits", "ab", { count: 9, bytes: 5 }, [1, 2]],
  ])("%s", (_, names, most, removed) => {
    expect(reportsToRemove(kept(names), most).map(({ id }) => id)).toEqual(removed);
  });
});
