import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type CanaryProgress,
  canaryPercentNow,
  comparisonTexts,
  DEPLOY_DEFAULTS,
  expectationText,
  failingText,
  hasRoomForWarm,
  isPointless,
  type Judgement,
  mayPromote,
  type NextStep,
  nextStep,
  steered,
  type TestResult,
} from "./deploy.js";
import type { Verdict } from "./verdict-model.js";

const judged = (verdict: Verdict, changes: Partial<Judgement> = {}): Judgement => ({
  verdict,
  tests: [{ name: "5xx", verdict, difference: "+9.8 pp", limit: "≤ +1 pp", interval: [8, 12], most: 1 }],
  ...{ undecided: verdict === "wait" ? ["5xx", "memory"] : [], canaryRequests: 312 },
  ...{
    controlRequests: 4100,
    isAlone: false,
    isDoubtful: false,
    isClear: true,
    failedPercent: 0,
    unended: 0,
    ...changes,
  },
});

test.each([
  [["pass", "pass"], false, "promote", { do: "promote", isDecided: true }],
  [["pass", "wait"], false, "promote", { do: "wait" }],
  [["wait"], true, "promote", { do: "promote", isDecided: false }],
  [["wait"], true, "rollback", { do: "rollBack", isDecided: false }],
  [["pass", "fail"], false, "promote", { do: "rollBack", isDecided: true }],
  [["fail"], true, "promote", { do: "rollBack", isDecided: true }],
] as const)("pools that %j, with the time over: %s, else %s: %j", (verdicts, isOver, onNoTraffic, expected) => {
  const judgements = new Map(verdicts.map((verdict, at) => [`pool${at}`, judged(verdict)]));
  expect(nextStep(judgements, isOver ? "over" : "some", onNoTraffic)).toMatchObject(expected);
});

test.each([
  ["some", { do: "wait" }],
  ["over", { do: "rollBack", isDecided: true }],
  ["none", { do: "rollBack", isDecided: true }],
] as const)("a release that responds to nothing, with time left: %s", (left, expected) => {
  const silent = judged("wait", { canaryRequests: 0, isClear: false, unended: 3 });
  expect(nextStep(new Map([["api", silent]]), left, "promote")).toMatchObject(expected);
  if (left !== "some")
    expect(nextStep(new Map([["api", silent]]), left, "promote")).toMatchObject({
      reason: expect.stringContaining("api does not respond: its canaries have 3 late requests"),
    });
});

const WAIT: NextStep = { do: "wait" };
const PROMOTE: NextStep = { do: "promote", isDecided: true };
const UNDECIDED: NextStep = { do: "rollBack", isDecided: false, reason: "could not tell" };
const WORSE: NextStep = { do: "rollBack", isDecided: true, reason: "worse" };

test.each([
  [WAIT, {}, WAIT],
  [PROMOTE, {}, PROMOTE],
  [PROMOTE, { isHeld: true }, WAIT],
  [UNDECIDED, { isHeld: true }, WAIT],
  [WORSE, { isHeld: true }, WORSE],
  [WAIT, { wantsPromotion: true }, PROMOTE],
  [UNDECIDED, { wantsPromotion: true }, PROMOTE],
  [WORSE, { wantsPromotion: true }, WORSE],
  [WAIT, { wantsPromotion: true, isHeld: true }, PROMOTE],
  [WAIT, { wantsPromotion: true, mayPromote: false }, WAIT],
] as const)("%j, where an operator wants %j: %j", (step, wanted, expected) => {
  expect(steered(step, { isHeld: false, wantsPromotion: false, mayPromote: true, ...wanted })).toEqual(expected);
});

test.each([
  ["gross faults are excluded", { isClear: true }, 0, true],
  ["they are not yet", { isClear: false }, 14_000, false],
  ["they are not, and time is over", { isClear: false }, 15_000, true],
  ["nothing is in service", { isClear: false, isAlone: true }, 0, true],
  [
    "nothing is in service, and the release seems to be broken",
    { isClear: false, isAlone: true, isDoubtful: true },
    0,
    false,
  ],
  ["no request is reported yet", { isClear: false, canaryRequests: 0, controlRequests: 0 }, 1_000, false],
  ["there are no requests", { isClear: false, canaryRequests: 0, controlRequests: 0 }, 3_000, true],
  ["the canary has had none yet", { isClear: false, canaryRequests: 0 }, 3_000, false],
] as const)("an operator promotes when %s", (_, changes, judgedMs, expected) => {
  const judgements = new Map([
    ["web", judged("wait", changes)],
    ["api", judged("pass")],
  ]);
  expect(mayPromote(judgements, judgedMs)).toBe(expected);
});

test("a failure names the pool and which figure is worse", () => {
  const step = nextStep(new Map([["web", judged("fail")]]), "some", "promote");
  expect(step).toMatchObject({ reason: "web is worse than before: 5xx +9.8 pp (≤ +1 pp)" });
});

test("a release that fails by itself is not called worse than before, and a failed one that is in service is named", () => {
  const [test] = judged("fail").tests as [TestResult];
  const tests = [{ ...test, name: "failures alone", difference: "+100 pp", limit: "≤ +50 pp" }];
  expect(nextStep(new Map([["web", judged("fail", { tests })]]), "some", "promote")).toMatchObject({
    reason: "web fails, and nothing is in service to compare with: failures alone +100 pp (≤ +50 pp)",
  });
  const failing = (changes: Partial<Judgement>) => failingText(new Map([["web", judged("pass", changes)]]));
  expect(failing({ failedPercent: 99.6 })).toEqual([
    "web fails: 100 % of its requests got a 5xx or were lost, as before",
  ]);
  expect(failing({ failedPercent: 60, controlRequests: 0 })).toEqual([
    "web fails: 60 % of its requests got a 5xx or were lost",
  ]);
  expect(failing({ failedPercent: 50 })).toEqual([]);
  expect(failing({ failedPercent: 100, canaryRequests: 9 })).toEqual([]);
});

test("the end of a comparison names the figures of each verdict, and nothing without requests", () => {
  const [test] = judged("pass").tests as [TestResult];
  const tests: TestResult[] = [
    { ...test, difference: "0 pp" },
    { ...test, name: "memory", verdict: "wait", difference: "", limit: "≤ +30 MB/min" },
    { ...test, name: "p50 reads /", difference: "+0.1 ms", limit: "≤ +2 ms" },
    { ...test, name: "p99 reads /", verdict: "fail", difference: "+80 ms", limit: "≤ +10 ms" },
  ];
  expect(comparisonTexts("web", judged("fail", { tests }))).toEqual([
    "web: compared 312 requests of canaries with 4100 in service",
    "web: failed: p99 reads / +80 ms (≤ +10 ms)",
    "web: passed: 5xx 0 pp (≤ +1 pp), p50 reads / +0.1 ms (≤ +2 ms)",
  ]);
  expect(comparisonTexts("web", judged("wait", { tests, canaryRequests: 0 }))).toEqual([]);
});

test("without a verdict, the reason names the tests that wait, or that there was nothing to compare", () => {
  const reasonOf = (...all: [string, Judgement][]) => nextStep(new Map(all), "none", "rollback");
  expect(reasonOf(["web", judged("wait")], ["api", judged("pass")])).toMatchObject({
    reason:
      "could not tell: web had 312 responses from canaries, without a gross fault, and these tests still waited: 5xx, memory",
  });
  expect(reasonOf(["web", judged("wait", { isDoubtful: true })])).toMatchObject({
    reason: expect.stringContaining("from canaries, which look worse, and"),
  });
  expect(reasonOf(["web", { ...judged("wait"), canaryRequests: 0 }])).toMatchObject({
    reason: "could not tell: web had no response from a canary to compare",
  });
});

test("waiting is pointless only if each pool that waits has nothing to be compared with", () => {
  const pointless = (...all: Judgement[]) => isPointless(new Map(all.map((each, at) => [`${at}`, each])));
  const alone = judged("wait", { isAlone: true, canaryRequests: 0 });
  expect([pointless(alone), pointless(alone, judged("pass"))]).toEqual([true, true]);
  expect(pointless({ ...alone, isDoubtful: true }), "it seems to be broken").toBe(false);
  expect([pointless(alone, judged("wait")), pointless(judged("pass")), pointless()]).toEqual([false, false, false]);
  expect(nextStep(new Map([["web", alone]]), "none", "rollback")).toMatchObject({
    reason: "could not tell: web had no instance in service to compare the canaries with",
  });
});

test("never continues with a pool that fails, never ends before its time without a verdict of all pools", () => {
  const verdict = fc.constantFrom<Verdict>("pass", "wait", "fail");
  fc.assert(
    fc.property(fc.array(verdict, { minLength: 1, maxLength: 4 }), fc.boolean(), (verdicts, isOver) => {
      const judgements = new Map(verdicts.map((each, at) => [`${at}`, judged(each)]));
      const step = nextStep(judgements, isOver ? "over" : "some", "rollback");
      if (verdicts.includes("fail")) expect(step).toMatchObject({ do: "rollBack", isDecided: true });
      else if (verdicts.includes("wait")) expect(step.do).toBe(isOver ? "rollBack" : "wait");
      else expect(step).toEqual({ do: "promote", isDecided: true });
    }),
  );
});

test.each([
  ["a gross fault is not excluded", {}, "over", "wait"],
  ["the same when all time is over", {}, "none", "promote"],
  ["there are too few requests to exclude it later", { canaryRequests: 3 }, "over", "promote"],
  ["there are no requests", { canaryRequests: 0 }, "over", "promote"],
  ["gross faults are excluded", { isClear: true }, "over", "promote"],
  ["they are, but a test is likely to fail", { isClear: true, isDoubtful: true }, "over", "wait"],
] as const)("when the time is over, and %s: %j, %s, %s", (_, changes, left, expected) => {
  const unclear = judged("wait", { isClear: false, ...changes });
  expect(nextStep(new Map([["web", unclear]]), left, "promote").do).toBe(expected);
});

describe("the canaries' share", () => {
  const percent = (rate: number, changes: Partial<CanaryProgress> = {}, full = 10) =>
    canaryPercentNow({ rate, elapsedMs: 0, isDoubtful: false, isClear: false, ...changes }, full, 60_000);

  test.each([
    [50, 10],
    [100, 5],
    [400, 1.5],
    [480, 1],
    [500, 1],
    [520, 1],
    [5000, 0.1],
    [1e6, 0.1],
  ])("begins with five requests per second: of %d, %d %%", (rate, expected) => expect(percent(rate)).toBe(expected));

  test("begins with one percent of an unknown rate, and is never more than the full one", () => {
    expect([percent(0), percent(20), percent(20, {}, 50), percent(0, {}, 0.5)]).toEqual([1, 10, 30, 0.5]);
  });

  test("is full without a gross fault, and stays small, or becomes small again, while a test is doubtful", () => {
    expect(percent(500, { isClear: true })).toBe(10);
    expect(percent(500, { isClear: true, isDoubtful: true })).toBe(1);
    expect(percent(500, { elapsedMs: 26_999 })).toBe(1);
    expect(percent(500, { elapsedMs: 27_000 })).toBe(3);
    expect(percent(500, { elapsedMs: 27_000, isDoubtful: true })).toBe(2);
  });
});

test.each([
  [480, {}, "web: 480 requests/s: a verdict takes about 40 s"],
  [
    20,
    {},
    "web: 20 requests/s: gross faults take about 25 s to find; a verdict on p99 takes about 13 min, as with --judge 17m",
  ],
  [0.5, {}, "web: 0.5 requests/s are too few for a verdict in 60 s: gross faults need about 17 min, a p99 9 h"],
  [0, {}, "web: no requests at present; without any, the release goes on without a verdict after 60 s"],
  [0, { onNoTraffic: "rollback" }, "is rolled back after 60 s"],
] as const)("at %d requests a second it says what can be told: %j", (rate, changes, text) => {
  expect(expectationText("web", rate, { ...DEPLOY_DEFAULTS, ...changes })).toContain(text);
});

test("nothing is kept warm while less than a tenth of the memory is available", () => {
  expect(hasRoomForWarm({ availableBytes: 9, totalBytes: 100 })).toBe(false);
  expect(hasRoomForWarm({ availableBytes: 10, totalBytes: 100 })).toBe(true);
  expect(hasRoomForWarm(null)).toBe(true);
});
