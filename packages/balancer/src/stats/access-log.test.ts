/** The access log: its formats, and that neither a client nor a full disk can break its lines. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ACCESS_FIELDS, COMBINED, OUTCOMES, PHASES, parseTemplate, TEMPLATE_FIELDS } from "@paceline/wire/access-log";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { SavedHead } from "../exchange/saved-head.js";
import { Forwarded, type Peer } from "../http1/forwarded.js";
import { RequestHead } from "../http1/request-head.js";
import { AccessFormat } from "./access-line.js";
import { AccessLog, type Finished } from "./access-log.js";
import { AccessEntry, NUMBERS, TEXTS } from "./access-values.js";
import { LoggedHead } from "./logged-head.js";

const limits = { maxHeadBytes: 65_536, maxHeaderFields: 100, maxBodyBytes: 1000 };

type Values = { [Key in keyof typeof NUMBERS]: number } & { [Key in keyof typeof TEXTS]: string | undefined };

interface Known extends Partial<Values> {
  isHttps?: boolean;
  isHttp2?: boolean;
  isUnreadable?: boolean;
}

function line(request: string, more: Known = {}, format = COMBINED): string {
  const { isHttps = false, isHttp2 = false, isUnreadable = false, ...values } = more;
  const bytes = Buffer.from(request, "latin1");
  const head = new RequestHead(limits);
  expect(head.parse(bytes, 0, bytes.length)).toBe(bytes.length);
  const logged = new LoggedHead();
  logged.note(head, 0, bytes.length);
  logged.isHttp2 = isHttp2;
  const entry = new AccessEntry();
  entry.head = isUnreadable ? undefined : logged;
  // Where the head starts in its buffer does not matter.
  entry.headBytes = Buffer.concat([Buffer.from("xyz"), bytes]);
  entry.start = 3;
  entry.describeHead(isHttps);
  const known: Partial<Values> = {
    ...{ timeMs: Date.UTC(2000, 9, 10, 13, 55, 36), clientAddress: "192.0.2.1" },
    ...{ status: 200, requestBytes: 0, bytes: 12, durationMs: 1.5, firstByteMs: 1.25, queueMs: 0, connectMs: 0.1 },
    ...{ handlerMs: -1, laneMs: -1, retries: 0 },
    ...{ pool: "web", instance: "web.3", outcome: "whole", phase: "response", ...values },
  };
  for (const [name, value] of Object.entries(known)) {
    if (name in NUMBERS) entry.numbers[NUMBERS[name as keyof typeof NUMBERS]] = value as number;
    else entry.texts[TEXTS[name as keyof typeof TEXTS]] = value as string | undefined;
  }
  const compiled = new AccessFormat(format);
  const to = Buffer.alloc(compiled.maxBytes);
  return to.toString("latin1", 0, compiled.write(entry, to, 0));
}

test("a combined line ends with the duration in seconds and the instance", () => {
  const request = "GET /a?b=c HTTP/1.0\r\nreferer: http://x/\r\nUser-Agent: curl/8\r\n\r\n";
  expect(line(request)).toBe(
    '192.0.2.1 - - [10/Oct/2000:13:55:36 +0000] "GET /a?b=c HTTP/1.0" 200 12 "http://x/" "curl/8" 0.001500 web.3\n',
  );
  expect(line(`\r\n${request.replace(/\r\n.*\r\n\r\n/s, "\r\n\r\n")}`, { instance: undefined, status: 404 })).toBe(
    '192.0.2.1 - - [10/Oct/2000:13:55:36 +0000] "GET /a?b=c HTTP/1.0" 404 12 "-" "-" 0.001500 -\n',
  );
});

test("a request over HTTP/2 is logged with its version, and its saved head does not change", () => {
  const request = "GET /a HTTP/1.1\r\nhost: x\r\n\r\n";
  expect(line(request, { isHttp2: true }, "{request} {httpVersion}")).toBe("GET /a HTTP/2.0 2.0\n");
});

/** Writes lines in one format, whose numbers change. */
function writer(format: string): (numbers: Partial<Record<keyof typeof NUMBERS, number>>) => string {
  const compiled = new AccessFormat(format);
  const entry = new AccessEntry();
  const to = Buffer.alloc(compiled.maxBytes);
  return (numbers) => {
    for (const [name, value] of Object.entries(numbers)) entry.numbers[NUMBERS[name as keyof typeof NUMBERS]] = value;
    return to.toString("latin1", 0, compiled.write(entry, to, 0));
  };
}

test("all digits of numbers and times are written", () => {
  const write = writer("{bytes} {seconds}");
  const values = [...Array.from({ length: 1000 }, (_, at) => at), 1000, 9999, 10_000, 999_999, 1_000_000, 2 ** 31 - 1];
  expect(values.map((value) => write({ bytes: value, durationMs: value / 1000 }))).toEqual(
    values.map((value) => `${value} ${(value / 1e6).toFixed(6)}\n`),
  );
  expect(write({ bytes: 2 ** 52, durationMs: 0 })).toBe(`${2 ** 52} 0.000000\n`);
});

test("each line has its own second, however many requests of how many seconds end at once", () => {
  const write = writer("{time} [{clock}] {status} at {clock}");
  const at = (second: number, millisecond: number) =>
    write({ status: 200, timeMs: Date.UTC(2000, 11, 31, 23, 59, second, millisecond) + 0.9 });
  for (const round of [0, 1]) {
    for (let second = 40; second < 60; second += 1 + round) {
      const clock = `31/Dec/2000:23:59:${second} +0000`;
      expect(at(second, 7)).toBe(`2000-12-31T23:59:${second}.007Z [${clock}] 200 at ${clock}\n`);
    }
  }
  expect(at(60, 999)).toBe("2001-01-01T00:00:00.999Z [01/Jan/2001:00:00:00 +0000] 200 at 01/Jan/2001:00:00:00 +0000\n");
});

test.each([
  [0, "0", "0.000000"],
  [0.0004, "0", "0.000000"],
  [0.1, "0.1", "0.000100"],
  [9.999, "9.999", "0.009999"],
  [1000.05, "1000.05", "1.000050"],
  [86_400_000, "86400000", "86400.000000"],
])("%d ms are %s in milliseconds and %s in seconds", (durationMs, ms, seconds) => {
  expect(line("GET / HTTP/1.1\r\nHost: a\r\n\r\n", { durationMs }, "{durationMs} {seconds}")).toBe(
    `${ms} ${seconds}\n`,
  );
});

test.each([
  ["abc-1", "abc-1"],
  ['a","status":599,"x":"', 'a","status":599,"x":"'],
  ["two words", undefined],
  ["x".repeat(201), undefined],
])("the client's request id %j is logged as %j, and does not change any other field", (sent, logged) => {
  const text = line(`GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: ${sent}\r\n\r\n`, {}, "json");
  const { requestId, status } = JSON.parse(text);
  expect([requestId, status]).toEqual([logged, 200]);
});

test("a JSON line has all fields, and a template has the fields that it names", () => {
  const request = "POST /a?b=%20 HTTP/1.1\r\nHost: Shop.example:81\r\nUser-Agent: x\r\n\r\n";
  const ids = { requestId: "r-1", traceId: "0af7" };
  const known = { handlerMs: 1.0004, laneMs: 0.25, hedge: "won" as const, ...ids, isHttps: true };
  expect(JSON.parse(line(request, known, "json"))).toEqual({
    ...{ time: "2000-10-10T13:55:36.000Z", clientAddress: "192.0.2.1", protocol: "https", httpVersion: "1.1" },
    ...{ host: "Shop.example:81", method: "POST", target: "/a?b=%20", status: 200, requestBytes: 0, bytes: 12 },
    ...{ durationMs: 1.5, firstByteMs: 1.25, queueMs: 0, connectMs: 0.1, handlerMs: 1, laneMs: 0.25, retries: 0 },
    ...{ pool: "web", instance: "web.3", outcome: "whole", phase: "response", ...ids },
    ...{ hedge: "won", userAgent: "x" },
  });
  const unread = {
    isUnreadable: true,
    pool: undefined,
    instance: undefined,
    firstByteMs: -1,
    queueMs: -1,
    connectMs: -1,
  };
  expect(Object.keys(JSON.parse(line(request, unread, "json")))).toEqual([
    ...["time", "clientAddress", "status", "requestBytes", "bytes", "durationMs", "retries", "outcome", "phase"],
  ]);
  const template = "{method} {target}\t{referer}|{handlerMs} {outcome}/{phase}";
  expect(line(request, {}, template)).toBe("POST /a?b=%20\t-|- whole/response\n");
});

test.each([
  ["", "must be"],
  ["no fields", "must be"],
  ["{methd}", 'has no field named "methd"'],
  ["{method", "has a { that"],
  ["method}", "has a } that"],
  ["{{method}}", "has a { that"],
  ["{method}\n", "must be printable"],
  ["{method} é", "must be printable"],
  [`${"x".repeat(1000)}{method}`, "at most 1000"],
  ["{target}".repeat(41), "at most 40 fields"],
])("the template %j is refused: %s", (template, problem) => {
  expect(parseTemplate(template)).toEqual(expect.stringContaining(problem));
});

describe.each(["combined", "json", "{target} {referer} {userAgent} {host} {request}"])("in the format %s", (name) => {
  const format = name === "combined" ? COMBINED : name;
  // All characters that are allowed in a field: tab, and everything from space on except DEL.
  const codes = [9, ...Array.from({ length: 256 - 32 }, (_, at) => at + 32).filter((code) => code !== 127)];
  const wild = fc.array(fc.constantFrom(...codes), { maxLength: 3000 }).map((all) => String.fromCharCode(...all));

  test("nothing that a client sends starts a line or ends a quoted text, and a line has a maximum length", () => {
    fc.assert(
      fc.property(wild, wild, (referer, agent) => {
        const text = line(
          `GET /"\xe9?{} HTTP/1.1\r\nHost: a\r\nReferer: ${referer}\r\nUser-Agent: ${agent}\r\n\r\n`,
          {},
          format,
        );
        expect(text).toMatch(/^[ -~]+\n$/);
        if (format === COMBINED) expect(text.split('"')).toHaveLength(7);
        if (format !== "json") return;
        const cut = (field: string) => (field.length > 2048 ? `${field.slice(0, 2048)}...` : field);
        const trimmed = (field: string) => cut(field.replace(/^[ \t]+|[ \t]+$/g, "")) || undefined;
        expect(JSON.parse(text)).toMatchObject({ target: '/"\xe9?{}' });
        expect(JSON.parse(text).referer).toBe(trimmed(referer));
        expect(JSON.parse(text).userAgent).toBe(trimmed(agent));
      }),
      { numRuns: 50 },
    );
    const quotes = '"'.repeat(10_000);
    const long = `GET /${"\xe9".repeat(9000)} HTTP/1.1\r\nHost: a\r\nReferer: ${quotes}\r\nUser-Agent: ${quotes}\r\n\r\n`;
    expect(line(long, {}, format).length).toBeLessThan(new AccessFormat(format).maxBytes);
  });
});

test("docs/access-log.md lists the same fields, outcomes and phases as the code", () => {
  const page = readFileSync(new URL("../../../../docs/access-log.md", import.meta.url), "utf8");
  const rows = (header: string) => {
    const [, table = ""] =
      new RegExp(`\\| ${header} \\| means \\|\\n\\|---\\|---\\|\\n((?:\\|.*\\n)+)`).exec(page) ?? [];
    return [...table.matchAll(/^\| `([\w-]+)` \|/gm)].map(([, name]) => name);
  };
  expect(rows("field")).toEqual([...ACCESS_FIELDS]);
  expect([...page.matchAll(/^\| `(clock|request|seconds)` \|/gm)].map(([, name]) => name)).toEqual([
    ...TEMPLATE_FIELDS,
  ]);
  expect(rows("outcome")).toEqual([...OUTCOMES]);
  expect(rows("phase")).toEqual([...PHASES]);
  expect(page).toContain(`\`${COMBINED}\``);
});

interface Opened {
  trusted?: string[];
  format?: string;
  sample?: number;
  except?: string[];
  file?: string;
}

function open({ trusted = [], format = COMBINED, sample = 1, except = [], file }: Opened = {}) {
  const folder = mkdtempSync(join(tmpdir(), "pl-access-"));
  const path = join(folder, "log");
  const problems: string[] = [];
  const forwarded = new Forwarded(trusted);
  const rule = { format, sample, except, file: file ?? path };
  const onProblem = (message: string) => void problems.push(message);
  const opened = new AccessLog({ rule, outputFd: -1, forwarded, limits, onProblem });
  const log = {
    request: (head: SavedHead, peer: Peer, one: Finished) => opened.request(head, peer, one, performance.now()),
    omits: (head: RequestHead) => opened.omits(head),
    reopen: () => opened.reopen(),
    close: () => opened.close(),
  };
  onTestFinished(() => {
    log.close();
    rmSync(folder, { recursive: true });
  });
  return { forwarded, log, problems, path, read: () => readFileSync(path, "latin1") };
}

function kept(text: string, log?: Pick<AccessLog, "omits">): SavedHead {
  const saved = new SavedHead(undefined, true);
  const bytes = Buffer.from(text, "latin1");
  const head = new RequestHead(limits);
  expect(head.parse(bytes, 0, bytes.length)).toBe(bytes.length);
  saved.keep(bytes, 0, bytes.length, log?.omits(head) === true ? undefined : head);
  return saved;
}

function finished(more: Partial<Finished> = {}): Finished {
  const now = performance.now();
  return {
    ...{ status: 200, requestBytes: 0, bodyBytes: 0, startedAt: now, queuedAt: now, foundAt: now, sentAt: now },
    ...{ firstByteAt: now, handlerMicros: -1, retries: 0, hedge: undefined },
    ...{ pool: "web", instance: "web.1", outcome: "whole" as const },
    ...{ phase: "response" as const, ...more },
  };
}

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

test("the client is the one that a trusted proxy names, and not what anybody else claims", () => {
  const { forwarded, log, read } = open({ trusted: ["127.0.0.1/32"] });
  const request = kept("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n");
  log.request(request, forwarded.peer("127.0.0.1", false), finished());
  log.request(request, forwarded.peer("192.0.2.8", false), finished());
  log.request(new SavedHead(), forwarded.peer("127.0.0.1", false), finished({ status: 400 }));
  log.close();
  expect(
    read()
      .split("\n")
      .map((text) => text.split(" ")[0]),
  ).toEqual(["192.0.2.9", "192.0.2.8", "127.0.0.1", ""]);
});

test("lines beyond the buffer are lost and counted, and no line is cut or written twice", async () => {
  const { forwarded, log, read, problems } = open();
  const peer = forwarded.peer("192.0.2.1", false);
  const request = kept(`GET /${"x".repeat(1000)} HTTP/1.1\r\nHost: a\r\n\r\n`);
  const total = 5000;
  // No write finishes within one turn of the event loop.
  for (let n = 0; n < total; n++) log.request(request, peer, finished());
  await expect.poll(() => read().split("\n").length).toBeGreaterThan(500);
  log.request(request, peer, finished());
  await expect.poll(read).toContain("lines were lost");
  log.close();
  const lines = read().trimEnd().split("\n");
  const lost = lines
    .map((text) => Number(/^access log: (\d+) lines were lost/.exec(text)?.[1] ?? 0))
    .reduce((a, b) => a + b);
  const whole = lines.filter((text) =>
    /^192\.0\.2\.1 - - \[[^\]]+\] "GET \/x{1000} HTTP\/1\.1" 200 0 "-" "-" \d\.\d{6} web\.1$/.test(text),
  );
  expect(lost).toBeGreaterThan(0);
  expect(whole.length + lost).toBe(total + 1);
  expect(problems).toEqual(["the access log loses lines: they are not written as fast as they come"]);
});

test("a share of the requests is logged evenly, and each failed request", () => {
  const { forwarded, log, read } = open({ sample: 0.1, format: "{status}" });
  const peer = forwarded.peer("192.0.2.1", false);
  for (let n = 0; n < 100; n++) log.request(kept(GET), peer, finished({ status: n % 20 === 7 ? 502 : 200 }));
  log.close();
  const statuses = read().trimEnd().split("\n");
  expect(statuses.filter((status) => status === "502")).toHaveLength(5);
  expect(statuses.filter((status) => status === "200")).toHaveLength(9);
});

test("a request of an excepted route is logged only if the server failed, and does not count in the share", () => {
  const { forwarded, log, read } = open({
    ...{ except: ["/healthz", "static.example/"], sample: 0.5, format: "{host} {target} {status} {userAgent}" },
  });
  const peer = forwarded.peer("192.0.2.1", false);
  for (const [host, target, status] of [
    ["a", "/healthz?full", 200],
    ["a", "/healthz/db", 404],
    ["a", "/healthz", 503],
    ["static.example", "/x", 200],
    ["a", "/healthzz", 200],
    ["static.example", "/x", 200],
    ["a", "/%68ealthz", 200],
    ["a", "/x", 200],
  ] as const) {
    const request = kept(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: ${status}\r\n\r\n`, log);
    log.request(request, peer, finished({ status }));
  }
  log.close();
  expect(read()).toBe("a /healthz 503 503\na /x 200 200\n");
});

test("a moved file gets the lines so far, and the new file the later ones; without a folder the former file stays in use", async () => {
  const { forwarded, log, read, path, problems } = open({ format: "{target}" });
  const peer = forwarded.peer("192.0.2.1", false);
  const get = (target: string) => log.request(kept(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`), peer, finished());
  get("/1");
  renameSync(path, `${path}.1`);
  log.reopen();
  get("/2");
  await expect.poll(() => existsSync(path) && read()).toBe("/2\n");
  expect(readFileSync(`${path}.1`, "latin1")).toBe("/1\n");
  renameSync(path, `${path}.2`);
  // A folder with the name of the file.
  mkdirSync(path);
  log.reopen();
  get("/3");
  await expect.poll(() => readFileSync(`${path}.2`, "latin1")).toBe("/2\n/3\n");
  expect(problems).toEqual([expect.stringMatching(/^the access log cannot be opened: EISDIR/)]);
});

test.skipIf(!existsSync("/dev/full"))(
  "a full disk and a missing folder cost lines, which are counted when there is room again",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "pl-access-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const [link, file] = [join(folder, "link"), join(folder, "file")];
    symlinkSync("/dev/full", link);
    for (const [target, problem] of [
      [link, /^the access log loses lines: ENOSPC/],
      [join(folder, "none", "log"), /^the access log cannot be opened: ENOENT/],
    ] as const) {
      const { log, forwarded, problems } = open({ file: target, format: "json" });
      const peer = forwarded.peer("192.0.2.1", false);
      for (let n = 0; n < 3; n++) log.request(kept(GET), peer, finished());
      await expect.poll(() => problems).toEqual([expect.stringMatching(problem)]);
      if (target !== link) continue;
      rmSync(link);
      symlinkSync(file, link);
      log.reopen();
      log.request(kept(GET), peer, finished());
      const lines = () =>
        readFileSync(file, "utf8")
          .trim()
          .split("\n")
          .map((text) => JSON.parse(text));
      await expect.poll(() => lines().map(({ linesLost }) => linesLost)).toEqual([undefined, 3]);
    }
  },
);
