/** For what no runtime has a part in: such a test takes the time of one runtime, not of all. */
import { test } from "vitest";

/** `test` on Bun; on Node the test is left out. */
export function testOnce(runtime: string): typeof test {
  return runtime === "bun" ? test : leftOut;
}

const leftOut = Object.assign(() => {}, { each: () => () => {} }) as unknown as typeof test;
