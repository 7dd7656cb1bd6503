/** The lines of the access log: their formats, and that no client can break them. */
import { readFileSync } from "node:fs";
import { ACCESS_FIELDS, COMBINED, OUTCOMES, PHASES, parseTemplate, TEMPLATE_FIELDS } from "@paceline/wire/access-log";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RequestHead } from "../http1/request-head.js";
import { AccessFormat } from "./access-line.js";
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

const texts = fc.option(fc.stringMatching(/^[ -~]{0,30}$/), { nil: undefined });

test("a combined line is that of its template", () => {
  const numbers = { status: fc.integer({ min: 100, max: 599 }), bytes: fc.nat(), timeMs: fc.nat() };
  const durationMs = fc.oneof(fc.double({ min: 0, max: 2000, noNaN: true }), fc.nat());
  fc.assert(
    fc.property(fc.record({ ...numbers, durationMs, referer: texts, agent: texts, instance: texts }), (one) => {
      const { referer, agent, ...values } = one;
      const fields = [
        referer === undefined ? "" : `Referer: ${referer}\r\n`,
        agent === undefined ? "" : `User-Agent: ${agent}\r\n`,
      ];
      const request = `GET /"\xe9 HTTP/1.1\r\nHost: a\r\n${fields.join("")}\r\n`;
      expect(`+${line(request, values)}`).toBe(line(request, values, `+${COMBINED}`));
      const unread = { ...values, isUnreadable: true, clientAddress: undefined, bytes: -1 };
      expect(`+${line(request, unread)}`).toBe(line(request, unread, `+${COMBINED}`));
    }),
    { numRuns: 200 },
  );
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
