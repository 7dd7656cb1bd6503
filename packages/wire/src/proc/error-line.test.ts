/** The reason of a failure is the line of the error itself, from any program. */
import { expect, test } from "vitest";
import { errorLineOf, isOrdinaryLine } from "./error-line.js";

test.each<[string, string, string]>([
  ["nothing", "", ""],
  ["blanks", "\n \n", ""],
  ["a plain last line", "starting\n  no database is configured  \n", "no database is configured"],
  ["a plain last line after an error that was handled", "Error: retrying\nshutting down", "shutting down"],
  ["ours about a lost supervisor", "no database\nthe control channel was closed; trying again", "no database"],
  ["a long one", "y".repeat(1000), `${"y".repeat(300)}…`],
  [
    "Node",
    "listening\nfile:///a.mjs:1\nthrow e\n        ^\n\nError [E_DB]: no db\n    at file:///a.mjs:1:9 {\n  code: 'E',\n  cause: Error: inner\n      at x\n}\n\nNode.js v20.20.2",
    "Error [E_DB]: no db",
  ],
  [
    "Node, an error of two lines",
    "throw e\n   ^\nTypeError: one\nsecond line\n    at x\n\nNode.js v20.20.2",
    "TypeError: one",
  ],
  [
    "Node, no error but text",
    "node:internal\n    triggerUncaughtException(\n    ^\njust text\n(Use `node --trace-uncaught ...` to show where the exception was thrown)\n\nNode.js v20.20.2",
    "just text",
  ],
  [
    "Bun, with a cause",
    'up\n1 | throw e\n    ^\nerror: no db\n  code: "E"\n\n      at /a.mjs:1:13\n\n1 | const e\n       ^\nerror: inner\n      at /a.mjs:1:57\n\nBun v1.4.5 (Linux x64)',
    "error: no db",
  ],
  [
    "Bun, a module",
    "error: Cannot find module './nope.js' from '/a.mjs'\n\nBun v1.4.5 (Linux x64)",
    "error: Cannot find module './nope.js' from '/a.mjs'",
  ],
  [
    "a module that was not found, with who required it",
    "/a.js failed to load: Error: Cannot find module 'express'\nRequire stack:\n- /lib.js\n- /a.js",
    "/a.js failed to load: Error: Cannot find module 'express'",
  ],
  ["a list that is the program's own", "wrong settings:\n- PORT", "- PORT"],
  [
    "Python",
    'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    x()\nValueError: no db',
    "ValueError: no db",
  ],
  [
    "Python, of a package",
    "Traceback\n  File\ndjango.core.exceptions.ImproperlyConfigured: SECRET_KEY",
    "django.core.exceptions.ImproperlyConfigured: SECRET_KEY",
  ],
  ["Go", "2026 up\npanic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/a.go:3 +0x1d\nexit status 2", "panic: boom"],
  [
    "Java",
    'Exception in thread "main" java.lang.RuntimeException: x\n\tat A.main(A.java:3)',
    'Exception in thread "main" java.lang.RuntimeException: x',
  ],
  ["Ruby", "a.rb:1:in `f': boom (RuntimeError)\n\tfrom a.rb:2", "a.rb:1:in `f': boom (RuntimeError)"],
  [
    "gunicorn",
    "[2026] [9] [ERROR] Reason: Worker failed to boot.",
    "[2026] [9] [ERROR] Reason: Worker failed to boot.",
  ],
])("%s", (_, text, line) => {
  expect(errorLineOf(text.split("\n"))).toBe(line);
});

test.each([
  ["info handled 1200 /", true],
  ["[INFO] listening", true],
  ["2026-11-28T09:39:21.123Z DEBUG x", true],
  ["2026-11-28 09:39:21,123 INFO:root:x", true],
  ["information is missing", false],
  ["no info for x", false],
  ["2026-11-28T09:39:21.123Z ERROR info x", false],
  ["no database is configured", false],
])("%s: ordinary %s", (line, expected) => {
  expect(isOrdinaryLine(line)).toBe(expected);
});
