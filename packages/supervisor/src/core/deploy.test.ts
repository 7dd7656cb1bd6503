import fc from "fast-check";
import { expect, test } from "vitest";
import { canaryPercentNow, hasRoomForWarm, type Judgement, NO_PROGRESS, nextStep } from "./deploy.js";
import type { Verdict } from "./verdict.js";

const judged = (verdict: Verdict): Judgement => ({
  verdict,
  tests: [{ name: "5xx", verdict, difference: "+9.8 pp", limit: "≤ +1 pp" }],
  ...{ undecided: verdict === "wait" ? ["5xx", "memory"] : [], canaryRequests: 312 },
});

test.each([
  [["pass", "pass"], false, "promote", { do: "promote", isTold: true }],
  [["pass", "wait"], false, "promote", { do: "wait" }],
  [["wait"], true, "promote", { do: "promote", isTold: false }],
  [["wait"], true, "rollback", { do: "takeBack", isTold: false }],
  [["pass", "fail"], false, "promote", { do: "takeBack", isTold: true }],
  [["fail"], true, "promote", { do: "takeBack", isTold: true }],
] as const)("pools that %j, with the time over: %s, else %s: %j", (verdicts, isOver, onNoTraffic, expected) => {
  const judgements = new Map(verdicts.map((verdict, at) => [`pool${at}`, judged(verdict)]));
  expect(nextStep(judgements, isOver, onNoTraffic)).toMatchObject(expected);
});

test("a failure names the pool and what is worse", () => {
  const step = nextStep(new Map([["web", judged("fail")]]), false, "promote");
  expect(step).toMatchObject({ reason: "web is worse than before: 5xx +9.8 pp (≤ +1 pp)" });
});

test("without a verdict, the reason names the tests that wait, or that there was nothing to compare", () => {
  const reasonOf = (...all: [string, Judgement][]) => nextStep(new Map(all), true, "rollback");
  expect(reasonOf(["web", judged("wait")], ["api", judged("pass")])).toMatchObject({
    reason: "could not tell: web had 312 responses from canaries, and these tests still waited: 5xx, memory",
  });
  expect(reasonOf(["web", { ...judged("wait"), canaryRequests: 0 }])).toMatchObject({
    reason: "could not tell: web had no response from a canary to compare",
  });
});

test("never goes on with a pool that fails, never ends before its time without a verdict of all pools", () => {
  const verdict = fc.constantFrom<Verdict>("pass", "wait", "fail");
  fc.assert(
    fc.property(fc.array(verdict, { minLength: 1, maxLength: 4 }), fc.boolean(), (verdicts, isOver) => {
      const step = nextStep(new Map(verdicts.map((each, at) => [`${at}`, judged(each)])), isOver, "rollback");
      if (verdicts.includes("fail")) expect(step).toMatchObject({ do: "takeBack", isTold: true });
      else if (verdicts.includes("wait")) expect(step.do).toBe(isOver ? "takeBack" : "wait");
      else expect(step).toEqual({ do: "promote", isTold: true });
    }),
  );
});

test("canaries begin with one percent until they have had some requests or a third of the time is over", () => {
  const percent = (elapsedMs: number, requests: number, isDoubtful = false, full = 10) =>
    canaryPercentNow({ elapsedMs, requests, isDoubtful }, full, 60_000);
  expect(canaryPercentNow(NO_PROGRESS, 10, 60_000)).toBe(1);
  expect(percent(23_999, 59)).toBe(1);
  expect(percent(1000, 60)).toBe(10);
  expect(percent(1000, 119, true)).toBe(1);
  expect(percent(1000, 120, true)).toBe(10);
  expect(percent(24_000, 3, true)).toBe(10);
});

test("nothing is kept warm while less than a tenth of the memory is available", () => {
  expect(hasRoomForWarm({ availableBytes: 9, totalBytes: 100 })).toBe(false);
  expect(hasRoomForWarm({ availableBytes: 10, totalBytes: 100 })).toBe(true);
  expect(hasRoomForWarm(null)).toBe(true);
});
