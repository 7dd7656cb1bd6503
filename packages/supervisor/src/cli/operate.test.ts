/** What Ctrl-C prints during an operation. */
import { expect, test } from "vitest";
import { afterwards } from "./operate.js";

test.each([
  ["its supervisor runs", 7, "the stop continues in the supervisor: paceline status shows it"],
  [
    "it was killed",
    undefined,
    "the supervisor was killed, and the stop does not continue: paceline stop ends what is left",
  ],
  [
    "this command ends what it left",
    9,
    "the supervisor was killed, and the stop does not continue: paceline stop ends",
  ],
  [
    "another one runs",
    8,
    "another supervisor (pid 8) runs the fleet now: paceline status shows whether the stop continues",
  ],
])("%s", (_, present, text) => {
  expect(afterwards("the stop", { asked: 7, present, own: 9 })).toContain(text);
});
