/** Runs one check over many cases, and shrinks its finds. */
import fc from "fast-check";
import type { Check, FoundCase } from "./checks/check.js";

/** Shrinking a case that waits for missing responses must also end. */
const MAX_ROUND_MS = 20_000;

export interface RoundResult {
  cases: number;
  find: FoundCase | undefined;
}

export async function runCheck<Case>(check: Check<Case>, seed: number, cases: number): Promise<RoundResult> {
  const property = fc.asyncProperty(check.cases, async (testCase) => {
    const problem = await check.problem(testCase);
    if (problem !== undefined) throw new Error(problem);
  });
  const options = { seed, numRuns: cases, interruptAfterTimeLimit: MAX_ROUND_MS };
  const { failed, numRuns, counterexample, errorInstance } = await fc.check(property, options);
  if (!failed || counterexample === null) return { cases: numRuns, find: undefined };
  const found = errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
  return { cases: numRuns, find: { check: check.name, found, case: counterexample[0] } };
}
