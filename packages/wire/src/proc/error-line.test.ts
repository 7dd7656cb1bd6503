/** The reason of a failure is the line of the error itself, from any program. */
import { expect, test } from "vitest";
import { errorLineIn, errorLineOf, isOrdinaryLine } from "./error-line.js";

const PINO_INFO = '{"level":30,"time":1,"msg":"stopping"}';
const PINO_ERROR =
  '{"level":50,"time":1,"err":{"type":"Error","message":"connect ECONNREFUSED","stack":"Error: x"},"msg":"no db"}';

const ABORT_STACKS = [
  "----- Native stack trace -----\n",
  " 1: 0xd3a3c0  [node]",
  "10: 0xf51915 v8::internal::Builtin_HandleApiCall(int, unsigned long*, v8::internal::Isolate*) [node]\n",
  "----- JavaScript stack trace -----\n",
  "1: f ([eval]:1:83)",
  "7: file:///srv/bin.js:13:15634",
  "10: readableAddChunkPushByteMode (node:internal/streams/readable:512:3)\n\n",
].join("\n");

test.each<[string, string, string]>([
  ["nothing", "", ""],
  ["blanks", "\n \n", ""],
  ["a plain last line", "starting\n  no database is configured  \n", "no database is configured"],
  ["a plain last line after an error that was handled", "Error: retrying\nshutting down", "shutting down"],
  ["pino, and an ordinary line after it", `${PINO_ERROR}\n${PINO_INFO}`, "no db: Error: connect ECONNREFUSED"],
  ["only ordinary lines", `listening\n${PINO_INFO}`, PINO_INFO],
  ["winston", '{"level":"error","message":"x","stack":"Error: x\\n    at f (a.js:1:1)"}', "Error: x"],
  ["Go's slog", '{"time":"t","level":"ERROR","msg":"dial","err":"refused"}', "dial: refused"],
  ["JSON that was cut", '{"level":50,"msg":"no d', '{"level":50,"msg":"no d'],
  ["JSON that is no log", '{"a":1}', '{"a":1}'],
  ["pairs", 'time=t level=ERROR msg="no db"\ntime=t level=INFO msg=bye', 'time=t level=ERROR msg="no db"'],
  ["a stack, and an ordinary line after it", `TypeError: one\n    at f (a.js:1:1)\n${PINO_INFO}`, "TypeError: one"],
  [
    "a traceback, and an ordinary line after it",
    "Traceback\n  File x\nValueError: no db\nINFO:  bye",
    "ValueError: no db",
  ],
  ["a level, and an ordinary line after it", "[ERROR] no db\n[INFO] bye", "[ERROR] no db"],
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
  ["Node, aborted", `listening\nTypeError: row 17\n${ABORT_STACKS}`, "TypeError: row 17"],
  ["Node, aborted after a line that names no error", `row 17 is broken\n${ABORT_STACKS}`, "row 17 is broken"],
  ["Node, aborted in silence", ABORT_STACKS, ""],
  [
    "Node, no memory",
    `<--- Last few GCs --->\n\n[1:0x19]  43 ms: Mark-Compact 17.3 (49.7)\n\n\n<--- JS stacktrace --->\n\nFATAL ERROR: Reached heap limit\n${ABORT_STACKS}`,
    "FATAL ERROR: Reached heap limit",
  ],
  [
    "V8, a failed check",
    `\n#\n# Fatal error in , line 0\n# unreachable code\n#\n#\n#\n#FailureMessage Object: 0x7ffe\n${ABORT_STACKS}`,
    "# unreachable code",
  ],
  ["lines with numbers that are the program's own", "2: row\n3: bad in a.js:3:4", "3: bad in a.js:3:4"],
  ["a title that is the program's own", "----- stopped -----", "----- stopped -----"],
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
  [PINO_INFO, true],
  ['{"a":"\u2028","level":"info"}', true],
  ['{"time":"t","level":"INFO","msg":"x"}', true],
  ["time=t level=debug msg=x", true],
  [PINO_ERROR, false],
  ['{"level":40,"msg":"x"}', false],
  ['{"level":6,"msg":"x"}', false],
  ["information is missing", false],
  ["no info for x", false],
  ["2026-11-28T09:39:21.123Z ERROR info x", false],
  ["no database is configured", false],
])("%s: ordinary %s", (line, expected) => {
  expect(isOrdinaryLine(line)).toBe(expected);
});

test.each([
  ["listening\nstopping", ""],
  ["TypeError: one\n    at f (a.js:1:1)\n\nNode.js v24.1.0", "TypeError: one"],
])("the error in %j is %j", (text, line) => {
  expect(errorLineIn(text.split("\n"))).toBe(line);
});
