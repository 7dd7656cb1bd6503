import { it, type TestFunction } from "vitest";

/** A test that is skipped with its reason where it does not apply; undefined: it does. */
export function itUnless(reason: string | undefined): (name: string, run: TestFunction) => void {
  return (name, run) => it.sequential(name, reason === undefined ? run : (context) => context.skip(reason));
}
