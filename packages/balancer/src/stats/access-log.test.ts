import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { SavedHead } from "../exchange/saved-head.js";
import { Forwarded } from "../http1/forwarded.js";
import { RequestHead } from "../http1/request-head.js";
import { AccessLog, MAX_LINE_BYTES, writeAccessLine } from "./access-log.js";

const limits = { maxHeadBytes: 65_536, maxHeaderFields: 100, maxBodyBytes: 1000 };

function line(request: string, more: object = {}): string {
  const bytes = Buffer.from(request, "latin1");
  const head = new RequestHead(limits);
  expect(head.parse(bytes, 0, bytes.length)).toBe(bytes.length);
  const entry = {
    timeMs: Date.UTC(2000, 9, 10, 13, 55, 36),
    client: "192.0.2.1",
    head,
    start: 0,
    status: 200,
    bytes: 12,
  };
  const to = Buffer.alloc(MAX_LINE_BYTES);
  return to.toString("latin1", 0, writeAccessLine({ ...entry, durationMs: 1.5, upstream: "web.3", ...more }, to, 0));
}

test("a line has the combined format, then seconds and the instance", () => {
  const request = "GET /a?b=c HTTP/1.0\r\nreferer: http://x/\r\nUser-Agent: curl/8\r\n\r\n";
  expect(line(request)).toBe(
    '192.0.2.1 - - [10/Oct/2000:13:55:36 +0000] "GET /a?b=c HTTP/1.0" 200 12 "http://x/" "curl/8" 0.001500 web.3\n',
  );
  expect(line(`\r\n${request.replace(/\r\n.*\r\n\r\n/s, "\r\n\r\n")}`, { upstream: undefined, status: 404 })).toBe(
    '192.0.2.1 - - [10/Oct/2000:13:55:36 +0000] "GET /a?b=c HTTP/1.0" 404 12 "-" "-" 0.001500 -\n',
  );
});

test("nothing that a client sends begins a line or ends a quoted text, and a line has a bound", () => {
  // All characters allowed in a field: tab, and everything from space on except DEL.
  const codes = [9, ...Array.from({ length: 256 - 32 }, (_, at) => at + 32).filter((code) => code !== 127)];
  const wild = String.fromCharCode(...codes);
  const text = line(`GET /"\xe9 HTTP/1.1\r\nHost: a\r\nReferer: "${wild}\r\nUser-Agent: ${'"'.repeat(30_000)}\r\n\r\n`);
  expect(text).toMatch(/^[ -~]+\n$/);
  expect(text).toContain('"GET /\\x22\\xE9 HTTP/1.1"');
  expect(text.split('"')).toHaveLength(7);
  expect(text).toContain('..." 0.001500 web.3\n');
  expect(text.length).toBeLessThan(MAX_LINE_BYTES);
});

function open(trusted: string[] = []) {
  const folder = mkdtempSync(join(tmpdir(), "pl-access-"));
  const fd = openSync(join(folder, "log"), "a");
  onTestFinished(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });
  const forwarded = new Forwarded(trusted);
  return {
    forwarded,
    log: new AccessLog(fd, forwarded, limits),
    read: () => readFileSync(join(folder, "log"), "latin1"),
  };
}

function kept(text: string): SavedHead {
  const head = new SavedHead();
  const bytes = Buffer.from(text, "latin1");
  head.keep(bytes, 0, bytes.length);
  return head;
}

test("the client is who asks: what a trusted proxy says of it, and not what anybody else says", () => {
  const { forwarded, log, read } = open(["127.0.0.1/32"]);
  const request = kept("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n");
  log.request(request, forwarded.peer("127.0.0.1", false), 200, 0, 1, "web.1");
  log.request(request, forwarded.peer("198.51.100.1", false), 200, 0, 1, "web.1");
  log.refused(forwarded.peer("198.51.100.2", false), 400, 16);
  log.close();
  const lines = read().trimEnd().split("\n");
  expect(lines.map((text) => text.split(" ", 1)[0])).toEqual(["192.0.2.9", "198.51.100.1", "198.51.100.2"]);
  expect(lines[2]).toMatch(/\] "-" 400 16 "-" "-" 0\.000000 -$/);
});

test("what comes faster than it is written is lost and counted; the rest is whole", async () => {
  const { forwarded, log, read } = open();
  const peer = forwarded.peer("192.0.2.1", false);
  const request = kept(`GET /${"x".repeat(1000)} HTTP/1.1\r\nHost: a\r\n\r\n`);
  const total = 5000;
  // No write ends within one turn of the event loop.
  for (let n = 0; n < total; n++) log.request(request, peer, 200, 0, 1, "web.1");
  await vi.waitFor(() => expect(read().split("\n").length).toBeGreaterThan(500), 10_000);
  log.request(request, peer, 200, 0, 1, "web.1");
  await vi.waitFor(() => expect(read()).toContain("lines were lost"), 10_000);
  log.close();
  const lines = read().trimEnd().split("\n");
  const lost = lines
    .map((text) => Number(/^access log: (\d+) lines were lost/.exec(text)?.[1] ?? 0))
    .reduce((a, b) => a + b);
  const whole = lines.filter((text) =>
    /^192\.0\.2\.1 - - \[[^\]]+\] "GET \/x{1000} HTTP\/1\.1" 200 0 "-" "-" 0\.001000 web\.1$/.test(text),
  );
  expect(lost).toBeGreaterThan(0);
  expect(whole.length + lost).toBe(total + 1);
});
