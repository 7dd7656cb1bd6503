/** For tests that do not depend on the runtime: they run only once. */
import { test } from "vitest";

/** `test` on Bun; skipped on Node. */
export function testOnce(runtime: string): typeof test {
  return runtime === "bun" ? test : leftOut;
}

const leftOut = Object.assign(() => {}, { each: () => () => {} }) as unknown as typeof test;
