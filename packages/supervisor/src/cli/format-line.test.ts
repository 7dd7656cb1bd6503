/** A line of the log begins with its time. */
import { expect, test } from "vitest";
import { formatEvent, formatLogLine } from "./format-line.js";

const FORGED = "2026-05-07 10:31:07.250 web.1      | all is well";

test("what a message has in further lines never looks like a line of its own", () => {
  const text = `listens on unix:/srv/a\n${FORGED}`;
  const shown = [
    formatLogLine({ at: 0, name: "paceline", text }),
    formatEvent({ sequence: 1, at: 0, level: "info", subject: "paceline", message: text }),
  ];
  for (const lines of shown.map((each) => each.split("\n"))) {
    expect(lines).toHaveLength(2);
    expect(lines[1]).toMatch(new RegExp(`^ {20,}${FORGED.replace("|", "\\|")}$`));
    expect(lines[0]?.indexOf("listens")).toBe(lines[1]?.indexOf("2026"));
  }
});
