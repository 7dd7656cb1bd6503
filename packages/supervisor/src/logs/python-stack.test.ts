import { expect, test } from "vitest";
import { whereInPython } from "./python-stack.js";

const ours = (file: string, name: string) =>
  `  File "/app/node_modules/@paceline/server/python/paceline/${file}", line 9 in ${name}`;
const link = ["Thread 0x00007f1 (most recent call first):", ours("link.py", "_step"), ours("link.py", "_run")];
const serving = [ours("response.py", "run"), ours("server.py", "run"), '  File "<frozen runpy>", line 88 in _run_code'];
const head = ["said before", "Fatal Python error: Aborted"];

test.each([
  ["nothing of Python", ["boom", "at x (y.js:1)"], undefined],
  ["no app's code", [...head, ...link, "Current thread 0x1 (most recent call first):", ...serving], undefined],
  [
    "a view",
    [
      ...head,
      ...link,
      "Current thread 0x1 (most recent call first):",
      '  File "/srv/views.py", line 12 in report',
      ...serving,
    ],
    "report (views.py:12)",
  ],
  [
    "a view that waits in a library",
    [
      ...[...head, ...link, "Thread 0x2 [main] (most recent call first):"],
      '  File "/usr/lib/python3.11/socket.py", line 706 in readinto',
      '  File "/srv/.venv/lib/python3.11/site-packages/requests/api.py", line 59 in get',
      '  File "/srv/views.py", line 12 in report',
      '  File "/srv/.venv/lib/python3.11/site-packages/django/core/handlers/base.py", line 197 in _get_response',
      ...serving,
    ],
    "report (views.py:12), in readinto (socket.py:706)",
  ],
  [
    "an app that is a library",
    [
      ...head,
      "Thread 0x2 (most recent call first):",
      '  File "/usr/lib/python3/dist-packages/hg.py", line 1 in f',
      ...serving,
    ],
    "f (hg.py:1)",
  ],
  [
    "threads",
    [
      ...[...head, "Thread 0x2 (most recent call first):", '  File "/srv/a.py", line 1 in a', ...serving],
      ...["Thread 0x3 (most recent call first):", '  File "/srv/b.py", line 2 in b', ...serving],
    ],
    "a (a.py:1); b (b.py:2)",
  ],
])("%s", (_, lines, place) => {
  expect(whereInPython(lines)).toBe(place);
});
