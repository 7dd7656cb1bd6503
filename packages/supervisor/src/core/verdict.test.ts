/** The verdict on a release: a table of releases, and properties for all evidence. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { unendedRequests } from "./deploy.js";
import { judge } from "./verdict.js";
import { type Arm, DEFAULT_LIMITS, type Evidence, type VerdictTest } from "./verdict-model.js";

const MB = 1e6;
const EDGES = Array.from({ length: 336 }, (_, at) => 1.03 ** at);

/** Returns an arm with durations from 10 to 250 ms. */
function arm(requests: number, changes: Partial<Arm> & { slower?: number; others?: number } = {}): Arm {
  const { slower = 1, others = 0, ...rest } = changes;
  return {
    ...{ processes: 1, requests: requests + others, errors: 0, resets: 0, open: 0, crashes: 0 },
    durations: { "GET /": durations(requests, slower), "POST /": durations(others, 1) },
    ...rest,
  };
}

function durations(requests: number, slower: number) {
  const counts = new Array<number>(EDGES.length - 1).fill(0);
  for (let at = 0; at < requests; at++) {
    const ms = slower * 10 * (1 + ((at * 37) % 100) / 25) ** 2;
    const bucket = Math.floor(Math.log(ms) / Math.log(1.03));
    counts[bucket] = (counts[bucket] as number) + 1;
  }
  return { edges: EDGES, counts };
}

function memory(readings: number, leak = 0) {
  return Array.from({ length: readings }, (_, at) => {
    const wave = 3 * MB * Math.sin(at);
    return { atMs: 2000 * at, canaryBytes: 90 * MB + wave + (leak * at * MB) / 30, controlBytes: 90 * MB - wave };
  });
}

function evidence(canary: Arm, changes: Partial<Evidence> = {}): Evidence {
  const control = arm(9 * canary.requests, { processes: 9 });
  return { canary, control, fresh: arm(canary.requests), memory: memory(30), classes: ["GET /", "POST /"], ...changes };
}

/** Returns the evidence if no instance of the generation in service is ready. */
function alone(canary: Arm, control: Arm = arm(0)): Evidence {
  return evidence(canary, { control, fresh: null, memory: [] });
}

/** Durations, with this many requests abandoned after 100 ms and after 3 s. */
function givenUpAfter(early: number, late: number) {
  return { "GET /": { edges: [100, 3000, 10_000], counts: [0, 0], abandoned: [early, late] } };
}

test.each<[string, Arm, Arm, number]>([
  ["one open request, beside thousands that ended", arm(0, { open: 1 }), arm(5000), 1],
  ["one, beside a few", arm(0, { open: 1 }), arm(50), 0],
  ["two, beside a few", arm(0, { open: 2 }), arm(50), 2],
  ["three whose clients have left, at last", arm(0, { durations: givenUpAfter(0, 3) }), arm(50), 3],
  ["three whose clients have left early", arm(0, { durations: givenUpAfter(3, 0) }), arm(50), 0],
  ["two, where every third one in service stays open", arm(0, { open: 2 }), arm(50, { open: 25 }), 0],
  ["two, and a response", arm(1, { open: 2 }), arm(5000), 0],
  ["many, beside nothing", arm(0, { open: 9 }), arm(0), 0],
  ["none", arm(0), arm(5000), 0],
])("requests to canaries that do not end: %s", (_, canary, control, expected) => {
  expect(unendedRequests(canary, control, 1000)).toBe(expected);
});

describe("the verdict", () => {
  test.each<[string, Evidence, string, string[]]>([
    ["a release as good as the one in service", evidence(arm(3000)), "pass", []],
    ["the same with few requests", evidence(arm(60)), "wait", []],
    ["no requests at all", evidence(arm(0)), "wait", []],
    ["requests of the canary alone", evidence(arm(3000), { control: arm(0) }), "wait", []],
    ["every tenth response is a 5xx", evidence(arm(200, { errors: 20 })), "fail", ["5xx"]],
    [
      "5xx as often as before",
      evidence(arm(3000, { errors: 300 }), { control: arm(27_000, { errors: 2700 }) }),
      "wait",
      [],
    ],
    [
      "what mends a version whose every response is a 5xx, however fast",
      evidence(arm(3000, { slower: 9 }), {
        control: arm(0, { requests: 27_000, errors: 27_000 }),
        fresh: arm(0, { requests: 3000, errors: 3000 }),
      }),
      "pass",
      [],
    ],
    [
      "nothing but 5xx, as before",
      evidence(arm(0, { requests: 3000, errors: 3000 }), {
        control: arm(0, { requests: 27_000, errors: 27_000 }),
        fresh: arm(0, { requests: 3000, errors: 3000 }),
      }),
      "pass",
      [],
    ],
    [
      "nothing but 5xx, and nothing in service",
      alone(arm(0, { requests: 13, errors: 13 })),
      "fail",
      ["failures alone"],
    ],
    [
      "nothing but 5xx, and hardly anything in service",
      alone(arm(0, { requests: 13, errors: 13 }), arm(4)),
      "fail",
      ["failures alone"],
    ],
    ["a few 5xx, and nothing in service", alone(arm(0, { requests: 9, errors: 9 })), "wait", []],
    ["half of them 5xx, and nothing in service", alone(arm(0, { requests: 9000, errors: 4500 })), "wait", []],
    [
      "three in four are lost, and nothing in service",
      alone(arm(0, { requests: 100, resets: 75 })),
      "fail",
      ["failures alone"],
    ],
    [
      "nothing but 5xx, where the few requests in service were lost",
      alone(arm(0, { requests: 60, errors: 60 }), arm(0, { requests: 3, resets: 3 })),
      "wait",
      [],
    ],
    ["every tenth request is lost", evidence(arm(200, { resets: 20 })), "fail", ["resets"]],
    ["twenty responses, and none to the next requests", evidence(arm(20, { open: 15 })), "fail", ["open"]],
    ["no response at all", evidence(arm(0, { open: 15 }), { control: arm(900) }), "fail", ["open"]],
    ["every thirtieth request stays open", evidence(arm(3000, { open: 100 })), "fail", ["open"]],
    ["a single request that stays open", evidence(arm(60, { open: 1 })), "wait", []],
    [
      "long polls and streams, as before",
      evidence(arm(3000, { open: 300 }), { control: arm(27_000, { open: 3000 }) }),
      "pass",
      [],
    ],
    [
      "twice as many streams as before",
      evidence(arm(3000, { open: 600 }), { control: arm(27_000, { open: 2700 }) }),
      "pass",
      [],
    ],
    ["three times as slow", evidence(arm(400, { slower: 3 })), "fail", ["p50 GET /", "p99 GET /"]],
    [
      "three times as slow, as fresh instances of the generation in service are",
      evidence(arm(400, { slower: 3 }), { fresh: arm(400, { slower: 3 }) }),
      "wait",
      [],
    ],
    [
      "three times as slow, without fresh instances",
      evidence(arm(400, { slower: 3 }), { fresh: null }),
      "fail",
      ["p50 GET /", "p99 GET /"],
    ],
    ["a crash", evidence(arm(3000, { crashes: 1 })), "fail", ["crashes"]],
    [
      "a crash, as others of the generation in service had",
      evidence(arm(3000, { crashes: 1 }), { control: arm(27_000, { processes: 9, crashes: 5 }) }),
      "pass",
      [],
    ],
    ["a leak of a megabyte a second", evidence(arm(3000), { memory: memory(30, 60) }), "fail", ["memory"]],
    ["too few readings of memory", evidence(arm(3000), { memory: memory(7) }), "wait", []],
    ["no fresh instances", evidence(arm(3000), { fresh: null, memory: [] }), "pass", []],
    ["a few requests to another route", evidence(arm(3000, { others: 30 })), "pass", []],
  ])("%s", (_, given, verdict, failed) => {
    const judgement = judge(given, DEFAULT_LIMITS);
    const names = judgement.tests.filter((each) => each.verdict === "fail").map(({ name }) => name);
    expect({ verdict: judgement.verdict, failed: names }, JSON.stringify(judgement.tests, null, 1)).toEqual({
      verdict,
      failed,
    });
    expect(judge(given, DEFAULT_LIMITS, true).verdict).toBe(verdict);
  });

  test("has a name, a unit and both values for each test", () => {
    const { tests, hasTraffic } = judge(evidence(arm(3000, { errors: 3 })), DEFAULT_LIMITS);
    expect(tests.map(({ name, unit }) => `${name}: ${unit}`)).toEqual([
      "5xx: points",
      "resets: points",
      "open: points",
      "p50 GET /: ms",
      "p99 GET /: ms",
      "p50 POST /: ms",
      "p99 POST /: ms",
      "crashes: crashes",
      "memory: MB/min",
    ]);
    expect(tests[0]).toMatchObject({ canary: 0.1, control: 0, limit: 1 });
    expect(tests[5]).toMatchObject({ canary: null, control: null, interval: [null, null], isRequired: false });
    expect(hasTraffic).toBe(true);
    expect(judge(evidence(arm(0)), DEFAULT_LIMITS).hasTraffic).toBe(false);
  });
});

const anyArm = fc
  .record({
    requests: fc.integer({ min: 0, max: 3000 }),
    errors: fc.double({ min: 0, max: 1, noNaN: true }),
    open: fc.integer({ min: 0, max: 300 }),
    slower: fc.constantFrom(0.5, 1, 1.1, 1.5, 3),
    crashes: fc.integer({ min: 0, max: 2 }),
  })
  .map(({ requests, errors, open, slower, crashes }) =>
    arm(requests, { errors: Math.floor(requests * errors), open, slower, crashes }),
  );
const anyEvidence = fc.record({
  canary: anyArm,
  control: anyArm,
  fresh: fc.option(anyArm),
  memory: fc
    .tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 60 }))
    .map(([many, leak]) => memory(many, leak)),
  classes: fc.constant(["GET /", "POST /"]),
});

describe("all evidence", () => {
  test("a test fails or passes exactly if its limit lies outside its interval, and an interval contains the difference", () => {
    let ripples = 0;
    fc.assert(
      fc.property(anyEvidence, (given) => {
        for (const each of judge(given, DEFAULT_LIMITS).tests) {
          const { verdict, interval, limit, canary, control, name } = each as VerdictTest;
          const [low, high] = interval;
          const tolerance = 1e-3 * Math.max(1, limit);
          const shows = low !== null && low > limit ? "fail" : high !== null && high < limit ? "pass" : "wait";
          const isNear = [low, high].some((end) => end !== null && Math.abs(end - limit) < tolerance);
          // A p99 that fresh instances also have is not a failure of the release.
          const isAge = name.startsWith("p99") && given.fresh !== null && verdict === "wait" && shows === "fail";
          // Evidence about durations is sampled, and varies between the samples: where it is barely enough, the two may disagree.
          const isRipple = verdict !== shows && /^p\d/.test(name) && [verdict, shows].includes("wait");
          if (isRipple && !isNear && !isAge) ripples++;
          else if (!isNear && !isAge && name !== "crashes") expect(verdict, name).toBe(shows);
          for (const value of [low, high, canary, control, limit])
            expect(value === null || Number.isFinite(value)).toBe(true);
          if (canary === null || control === null || name === "crashes") continue;
          if (low !== null) expect(low).toBeLessThanOrEqual(canary - control + tolerance);
          if (high !== null) expect(high).toBeGreaterThanOrEqual(canary - control - tolerance);
        }
      }),
      { numRuns: 40 },
    );
    // Of 160 tests of durations.
    expect(ripples).toBeLessThanOrEqual(2);
  });

  test("a release that equals the control in all figures is never rolled back", () => {
    fc.assert(
      fc.property(anyArm, (same) => {
        const given = { canary: same, control: same, fresh: same, memory: memory(30), classes: ["GET /", "POST /"] };
        expect(judge(given, DEFAULT_LIMITS, true).verdict).not.toBe("fail");
      }),
      { numRuns: 30 },
    );
  });

  test("more errors never help", () => {
    const order = { pass: 0, wait: 1, fail: 2 };
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 0, max: 200 }), (requests, errors) => {
        const verdicts = [0, 1, 5].map((more) => {
          const canary = arm(requests, { errors: Math.min(requests, errors + more) });
          return order[(judge(evidence(canary), DEFAULT_LIMITS, true).tests[0] as VerdictTest).verdict];
        });
        expect(verdicts).toEqual(verdicts.toSorted((a, b) => a - b));
      }),
      { numRuns: 30 },
    );
  });
});

const abandoned = (many: number, ms: number) => {
  const counts = new Array<number>(EDGES.length - 1).fill(0);
  counts[Math.floor(Math.log(ms) / Math.log(1.03))] = many;
  return counts;
};

test.each([
  ["give up after a second", 1000, "fail"],
  ["leave at once", 2, "wait"],
])("clients of the canary that %s", (_, ms, verdict) => {
  const durationsOf = (requests: number, many: number) => ({
    "GET /": { ...durations(requests, 1), abandoned: abandoned(many, ms) },
  });
  const given = evidence(arm(300, { durations: durationsOf(300, 30) }));
  const judgement = judge(given, DEFAULT_LIMITS);
  expect(judgement.verdict).toBe(verdict);
  // As clients of the version in service do.
  const control = arm(2700, { processes: 9, durations: durationsOf(2700, 270) });
  expect(judge({ ...given, control, fresh: null }, DEFAULT_LIMITS).verdict).toBe("wait");
});

test("gross faults are excluded after some requests without one, but not after a few", () => {
  const isClear = (requests: number, changes: Partial<Arm> & { slower?: number } = {}) =>
    judge(evidence(arm(requests, changes)), DEFAULT_LIMITS, true).isClear;
  expect([0, 20, 80, 3000].map((requests) => isClear(requests))).toEqual([false, false, true, true]);
  expect(isClear(80, { errors: 4 })).toBe(false);
  expect(isClear(80, { resets: 4 })).toBe(false);
  expect(isClear(80, { open: 4 })).toBe(false);
  expect(isClear(80, { slower: 2 })).toBe(false);
  expect(isClear(80, { crashes: 1 })).toBe(false);
});

test("a few errors of many make a release doubtful before it fails", () => {
  const errors = (many: number) => judge(evidence(arm(60, { errors: many })), DEFAULT_LIMITS, true).tests[0];
  expect(errors(0)).toMatchObject({ verdict: "wait", isDoubtful: false });
  expect(errors(4)).toMatchObject({ verdict: "wait", isDoubtful: true });
  expect(errors(20)).toMatchObject({ verdict: "fail", isDoubtful: false });
});
