/** The message of an error is one line, and names the first mistake. */
import { expect, test } from "vitest";
import { errorLine } from "./errors.js";

/** As Bun throws it for a module. */
const mistake = (text: string, line: number) =>
  Object.assign(new SyntaxError(text), { position: { file: "/app.js", line, column: 7 } });

test.each<[string, unknown, string]>([
  ["an error", new TypeError("no"), "TypeError: no"],
  ["text", "no", "no"],
  ["a mistake with its place", mistake("b", 2), "SyntaxError: b at /app.js:2:7"],
  ["several lines", new Error("Cannot find module 'x'\nRequire stack:\n- /a.js"), "Error: Cannot find module 'x'"],
  ["a first line that is empty", new Error("\n  wrong:\n  PORT"), "Error: wrong:"],
  [
    "several mistakes of a module",
    new AggregateError([mistake("a", 2), mistake("b", 3), mistake("c", 4)], '3 errors building "/app.js"'),
    "SyntaxError: a at /app.js:2:7 (and 2 more)",
  ],
  [
    "connections that failed",
    new AggregateError([new Error("connect ECONNREFUSED ::1:5432")]),
    "Error: connect ECONNREFUSED ::1:5432",
  ],
  [
    "several with words of their own",
    new AggregateError([new Error("a")], "no settings"),
    "AggregateError: no settings",
  ],
])("%s", (_, error, line) => {
  expect(errorLine(error)).toBe(line);
});
