/** The interface of every check for the runner and the tests: cases, and a verdict on each. */
import type fc from "fast-check";

export interface Check<Case> {
  readonly name: string;
  readonly cases: fc.Arbitrary<Case>;
  /** Returns the problem in words; undefined if everything is right. */
  problem(testCase: Case): string | undefined | Promise<string | undefined>;
}

/** A found case, as stored in the corpus. */
export interface FoundCase {
  check: string;
  /** The problem. */
  found: string;
  case: unknown;
}
