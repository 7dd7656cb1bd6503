/** A line of the log begins with its time. */
import { expect, test } from "vitest";
import type { LogLine } from "../control/api.js";
import { formatEvent, formatLogJson, formatLogLine, parseLogJson } from "./format-line.js";

const FORGED = "2026-05-07 10:31:07.250 web.1      | all is well";

test("further lines of a message never look like separate log lines", () => {
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

test("an event is escaped in a pipe too", () => {
  const message = "exited with code 1: \x1b[2J\u202egnp.exe\u200b";
  const shown = formatEvent({ sequence: 1, at: 0, level: "info", subject: "web.1", message });
  expect(shown).toMatch(/exited with code 1: \\x1b\[2J\\u202egnp\.exe\\u200b$/);
});

test.each<[string, Omit<LogLine, "sequence">, object]>([
  ["output", { at: 7, name: "web.1", text: "listening" }, { level: 30, time: 7, name: "web.1", msg: "listening" }],
  ["the next line", { at: 7, name: "web.1", text: 'a "b" \\ \u0001\n' }, { level: 30, msg: 'a "b" \\ \u0001\n' }],
  ["another name", { at: 7, name: 'w"2', text: "" }, { level: 30, time: 7, name: 'w"2', msg: "" }],
  ["another time", { at: 8, name: 'w"2', text: "é\ud800" }, { level: 30, time: 8, name: 'w"2', msg: "é\ud800" }],
  [
    "an event",
    { at: 8, name: "paceline", subject: "web.1", level: "error", text: "x" },
    { level: 50, subject: "web.1" },
  ],
  ["lost lines", { at: 8, name: "web.1", text: "[…]", lost: 3 }, { level: 40, name: "web.1", lost: 3 }],
])("the log file's line of %s", (_what, line, expected) => {
  const json = formatLogJson(line);
  expect(JSON.parse(json)).toMatchObject(expected);
  expect(Object.keys(JSON.parse(json)).slice(0, 3)).toEqual(["level", "time", "name"]);
  expect(parseLogJson(json)).toMatchObject(line);
});
