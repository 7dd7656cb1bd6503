import { appendFileSync, existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { blockingInPython, canRelease, exitOfApp, OutputFile, whereInPython } from "./output.js";

function open(maxBytes = 1000) {
  const folder = mkdtempSync(join(tmpdir(), "output-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "out");
  const lines: string[] = [];
  const told = { lost: 0 };
  const sink = {
    lines: (texts: string[]) => lines.push(...texts),
    lost: (count: number) => {
      told.lost += count;
    },
  };
  return { path, lines, told, file: new OutputFile(path, maxBytes, sink) };
}

test("lines are reported complete, however they were written, and the rest at the end", () => {
  const { file, lines, path } = open();
  writeSync(file.fd, "one\ntw");
  file.read();
  expect(lines).toEqual(["one"]);
  writeSync(file.fd, "o\r\n\nthree");
  file.read();
  expect(lines).toEqual(["one", "two", ""]);
  file.close();
  expect(lines).toEqual(["one", "two", "", "three"]);
  expect(existsSync(path)).toBe(false);
});

test("output that was read takes no space, and no output that arrives in the meantime is lost", async (context) => {
  const maxBytes = 1 << 20;
  const { file, lines, told, path } = open(maxBytes);
  const block = `${"x".repeat(99)}\n`.repeat(5_000);
  let written = 0;
  for (let round = 0; round < 20; round++) {
    appendFileSync(path, block);
    written += 5_000;
    while (file.read());
    // On Node a program does it, and is not awaited.
    if (round % 4 === 3)
      await expect.poll(() => !canRelease() || statSync(path).blocks * 512).toBeLessThan(2 * maxBytes);
  }
  if (!canRelease()) context.skip("no hole can be made here: fallocate is missing, or the file system has none");
  expect(statSync(path).size).toBe(written * 100);
  file.close();
  expect({ printed: lines.length, ...told }).toEqual({ printed: written, lost: 0 });
});

test("output beyond the limit is left out and counted, line by line", () => {
  const { file, lines, told } = open(1000);
  writeSync(file.fd, "begun");
  file.read();
  writeSync(file.fd, ` here\n${"another line\n".repeat(500)}last\n`);
  file.read();
  expect(lines.at(-1)).toBe("last");
  expect(lines.every((line) => line === "another line" || line === "last")).toBe(true);
  expect(told.lost).toBeGreaterThan(400);
  expect(lines.length + told.lost).toBe(502);
});

test("a file that somebody else has emptied is still read", () => {
  const { file, lines, path } = open();
  writeSync(file.fd, "one\n");
  file.read();
  rmSync(path);
  writeSync(file.fd, "two\n");
  file.read();
  file.close();
  expect(lines).toEqual(["one", "two"]);
});

test("a link in its place is not followed", () => {
  const { path } = open();
  symlinkSync("/dev/null", `${path}2`);
  expect(() => new OutputFile(`${path}2`, 1000, { lines() {}, lost() {} })).toThrow(/ELOOP/);
});

test("only the last lines are kept, and only the beginning of long ones", () => {
  const { file } = open(1 << 20);
  writeSync(file.fd, `${"x".repeat(100_000)}\n`);
  file.read();
  expect(file.lastLines).toEqual(["x".repeat(4096)]);
  for (let n = 1; n <= 50; n++) writeSync(file.fd, `${n}\n`);
  file.read();
  expect(file.lastLines).toHaveLength(20);
  expect(file.lastLines.at(-1)).toBe("50");
});

test("the lines of the last seconds are known", () => {
  const { file } = open(1 << 20);
  const now = vi.spyOn(performance, "now");
  for (const [at, line] of [
    [1000, "first"],
    [2000, "second"],
  ] as const) {
    now.mockReturnValue(at);
    writeSync(file.fd, `${line}\n`);
    file.read();
  }
  now.mockRestore();
  expect([0, 1000, 1001, 2001].map((since) => file.linesSince(since).join())).toEqual([
    "first,second",
    "first,second",
    "second",
    "",
  ]);
});

const ours = (file: string, name: string) =>
  `  File "/app/node_modules/paceline/dist/python/paceline/${file}", line 9 in ${name}`;
const link = ["Thread 0x00007f1 (most recent call first):", ours("link.py", "_step"), ours("link.py", "_run")];
const serving = [ours("response.py", "run"), ours("server.py", "run"), '  File "<frozen runpy>", line 88 in _run_code'];
const head = ["said before", "Fatal Python error: Aborted"];

const PACKAGES = "/srv/.venv/lib/python3.11/site-packages";
const loop = [
  '  File "/usr/lib/python3.11/asyncio/base_events.py", line 1898 in _run_once',
  ours("asgi_instance.py", "run"),
];
const waitingLoop = [
  "Current thread 0x1 (most recent call first):",
  '  File "/usr/lib/python3.11/selectors.py", line 468 in select',
  ...loop,
];

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
  ["an event loop that waits", [...head, ...waitingLoop], undefined],
  [
    "an endpoint in a thread of anyio, beside an idle one and a thread of the app's own",
    [
      ...head,
      "Thread 0x2 (most recent call first):",
      '  File "/usr/lib/python3.11/threading.py", line 327 in wait',
      '  File "/usr/lib/python3.11/queue.py", line 171 in get',
      `  File "${PACKAGES}/anyio/_backends/_asyncio.py", line 961 in run`,
      ...["Thread 0x3 (most recent call first):", '  File "/srv/own.py", line 5 in watch'],
      "Thread 0x4 (most recent call first):",
      '  File "/srv/main.py", line 7 in report',
      `  File "${PACKAGES}/anyio/_backends/_asyncio.py", line 967 in run`,
      ...waitingLoop,
    ],
    "report (main.py:7)",
  ],
  [
    "a blocked event loop, not the work of a pool",
    [
      ...head,
      "Thread 0x2 (most recent call first):",
      '  File "/srv/own.py", line 5 in work',
      '  File "/usr/lib/python3.11/concurrent/futures/thread.py", line 58 in run',
      ...["Thread 0x3 (most recent call first):", '  File "/srv/main.py", line 7 in report', ...loop],
    ],
    "report (main.py:7)",
  ],
])("%s", (_, lines, place) => {
  expect(whereInPython(lines)).toBe(place);
});

test("an endpoint among forty threads of a pool is found", () => {
  const { file } = open(1 << 20);
  const idle = ["wait", "get", "run", "_bootstrap_inner", "_bootstrap"].map(
    (name) => `  File "${PACKAGES}/anyio/_backends/_asyncio.py", line 9 in ${name}`,
  );
  const threads = Array.from({ length: 40 }, (_, at) => [`Thread 0x${at} (most recent call first):`, ...idle, ""]);
  threads[3]?.splice(1, 0, '  File "/srv/main.py", line 7 in report');
  writeSync(file.fd, `${[...head, ...threads.flat(), ...waitingLoop].join("\n")}\n`);
  file.read();
  expect(whereInPython(file.lastLines)).toBe("report (main.py:7)");
});

test.each([
  ["no stack", ["GET / blocks the event loop"], undefined],
  ["a stack of all threads", [...head, ...waitingLoop], undefined],
  [
    "the stack of an event loop",
    ["Fatal Python error: POST /a b/report blocks the event loop", ...waitingLoop],
    "POST /a b/report",
  ],
])("the request that blocks an event loop: %s", (_, lines, request) => {
  expect(blockingInPython(lines)).toBe(request);
});

test.each([
  ["nothing", ["it exits"], undefined, undefined],
  ["another line that ends so", ["I fear: the app ended this process with x"], undefined, undefined],
  [
    "a request",
    ["GET /a: b: the app ended this process with sys.exit(3)", "flushed"],
    "GET /a: b: the app ended this process with sys.exit(3)",
    "GET /a: b",
  ],
  [
    "no request",
    ["the app ended this process with os._exit(0) in f (a.py:1)"],
    "the app ended this process with os._exit(0) in f (a.py:1)",
    undefined,
  ],
])("how an app ended its process: %s", (_, lines, text, request) => {
  expect(exitOfApp(lines)).toEqual(text === undefined ? undefined : { text, request });
});
