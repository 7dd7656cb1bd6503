/** What every check is to the runner and to the tests: cases, and a verdict on each. */
import type fc from "fast-check";

export interface Check<Case> {
  readonly name: string;
  readonly cases: fc.Arbitrary<Case>;
  /** What is wrong, in words; undefined when all is as it should be. */
  problem(testCase: Case): string | undefined | Promise<string | undefined>;
}

/** A case that was found, as it lies in the corpus. */
export interface FoundCase {
  check: string;
  /** What was wrong. */
  found: string;
  case: unknown;
}
