/** The pseudo-terminal of the tests. */
import { expect, test } from "vitest";
import { Screen } from "./terminal.js";

test("all output of a command is kept, though it has ended long before it is read", async () => {
  const screen = Screen.open("sh", ["-c", "seq 1 3000; exit 7"], { cwd: "/" });
  // Like a process that gets no CPU time.
  for (const end = performance.now() + 200; performance.now() < end; );
  expect(await screen.exit()).toBe(7);
  expect(screen.output.trimEnd().split("\r\n")).toHaveLength(3000);
});
