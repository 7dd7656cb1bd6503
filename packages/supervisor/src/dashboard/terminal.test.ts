/** Whether the dashboard may set the terminal's mode: in the background, the kernel would stop it for that. */
import { expect, test } from "vitest";
import { hasTerminal } from "./terminal.js";

test.each([
  ["in the foreground", "7 (bun) S 5 7 5 34816 7 4194304 0", true],
  ["in the group of the foreground", "9 (node) S 7 7 5 34816 7 4194304 0", true],
  ["in the background", "7 (bun) S 5 7 5 34816 5 4194304 0", false],
  ["in the background, by a name with brackets", "7 (a) b (c) S 5 7 5 34816 5 4194304 0", false],
  ["without a terminal", "7 (bun) S 5 7 5 0 -1 4194304 0", true],
])("%s", (_what, stat, expected) => {
  expect(hasTerminal(stat)).toBe(expected);
});
