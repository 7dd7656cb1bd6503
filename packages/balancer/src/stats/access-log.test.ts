/** The access log: which requests have a line, and what happens to lines when the disk is full or the file moves. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { COMBINED } from "@paceline/wire/access-log";
import { expect, onTestFinished, test } from "vitest";
import { SavedHead } from "../exchange/saved-head.js";
import { Forwarded, type Peer } from "../http1/forwarded.js";
import { HEAD_REFUSED, RequestHead } from "../http1/request-head.js";
import { AccessLog, type Finished, type LegibleHead, legibleHead } from "./access-log.js";

const limits = { maxHeadBytes: 65_536, maxHeaderFields: 100, maxBodyBytes: 1000 };

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
    refused: (peer: Peer, status: number, bytes: number, legible?: LegibleHead) =>
      opened.refused(peer, status, bytes, legible),
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

/** A buffer like those of received bytes, which begin at the start of their memory. */
function received(text: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(text.length);
  bytes.write(text, "latin1");
  return bytes;
}

/** A head that may be logged more than once. It is behind other bytes, or else the log would keep what it knows about it. */
function kept(text: string, log?: Pick<AccessLog, "omits">): SavedHead {
  const saved = new SavedHead(undefined, true);
  const bytes = received(`xyz${text}`).subarray(3);
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

test.each([
  ["GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: u\r\nContent-Length: 9999999999\r\n\r\n", 413, "GET / a u 1.1"],
  ["CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nUser-Agent: u\r\n\r\n", 501, "CONNECT a:443 a:443 u 1.1"],
  ["CONNECT a:443 HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\n", 501, "CONNECT a:443 - - 1.0"],
  ["GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417, "GET / a - 1.1"],
  ["GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "- - - - -"],
  ["GET / HTTP/1.1\r\nbad field\r\n\r\n", 400, "- - - - -"],
])("a refused head is logged with its fields if it is well-formed: %j", (text, status, fields) => {
  const format = "{clientAddress} {method} {target} {host} {userAgent} {httpVersion} {status} {bytes}";
  const { forwarded, log, read } = open({ format });
  const head = new RequestHead(limits);
  const bytes = received(`xyz${text}`);
  expect(head.parse(bytes, 3, bytes.length)).toBe(HEAD_REFUSED);
  log.refused(forwarded.peer("192.0.2.1", false), head.refusal, 5, legibleHead(head, 3, false));
  bytes.fill(0);
  log.refused(forwarded.peer("192.0.2.2", false), 408, 6);
  log.close();
  expect(read()).toBe(`192.0.2.1 ${fields} ${status} 5\n192.0.2.2 - - - - - 408 6\n`);
});

test("each of many requests on a connection has a line of its own, in the order in which they ended", () => {
  const { forwarded, log, read } = open({ format: "{clientAddress} {host} {target} {status} {userAgent} {instance}" });
  const saved = new SavedHead(undefined, true);
  const head = new RequestHead(limits);
  const lines: string[] = [];
  for (let n = 0; n < 100; n++) {
    const peer = forwarded.peer(`192.0.2.${n}`, false);
    if (n % 30 === 7) {
      log.refused(peer, 400, n);
      lines.push(`192.0.2.${n} - - 400 - -`);
    }
    const bytes = received(`GET /${n} HTTP/1.1\r\nHost: h${n}\r\n${n % 3 === 0 ? `User-Agent: u${n}\r\n` : ""}\r\n`);
    expect(head.parse(bytes, 0, bytes.length)).toBe(bytes.length);
    saved.keep(bytes, 0, bytes.length, head);
    log.request(saved, peer, finished({ status: 200 + n, instance: `web.${n}` }));
    saved.clear();
    lines.push(`192.0.2.${n} h${n} /${n} ${200 + n} ${n % 3 === 0 ? `u${n}` : "-"} web.${n}`);
  }
  log.close();
  expect(read().trimEnd().split("\n")).toEqual(lines);
});

test.each([
  ["of HTTP/2", (text: string) => received(text), true],
  ["behind other bytes", (text: string) => received(`xyz${text}`).subarray(3), false],
  ["in a large buffer", (text: string) => received(text + "x".repeat(8000)), false],
])("a head %s is logged as it was, though its buffer is used again", (_, bytesOf, isHttp2) => {
  const { forwarded, log, read } = open({ format: "{target} {host}" });
  const peer = forwarded.peer("192.0.2.1", false);
  const head = new RequestHead(limits);
  const saved = new SavedHead(undefined, true);
  if (saved.logged !== undefined) saved.logged.isHttp2 = isHttp2;
  for (const target of ["/1", "/2"]) {
    const text = `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const bytes = bytesOf(text);
    expect(head.parse(bytes, 0, text.length)).toBe(text.length);
    saved.keep(bytes, 0, text.length, head);
    log.request(saved, peer, finished());
    bytes.fill(0);
    saved.clear();
  }
  log.close();
  expect(read()).toBe("/1 a\n/2 a\n");
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
