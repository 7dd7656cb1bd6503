import { it, type TestFunction } from "vitest";

/** A test that is skipped with the given reason; undefined: it runs. */
export function itUnless(reason: string | undefined): (name: string, run: TestFunction) => void {
  return (name, run) => it.sequential(name, reason === undefined ? run : (context) => context.skip(reason));
}
