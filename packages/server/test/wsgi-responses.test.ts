/** A WSGI app's output and the bytes sent for it: PEP 3333 and HTTP/1.1. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test as sequential } from "vitest";
import { eventually, fixture } from "./harness.js";
import { bodyOf, PythonInstance } from "./python-instance.js";

/** Concurrent, because each has a separate instance and mostly waits. */
const test = sequential.concurrent;

test("a body of known length is sent with it, and the connection is kept", async (context) => {
  const wire = (await PythonInstance.start(context)).wire();
  wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const first = await wire.gets(/hello$/);
  expect(first).toMatch(
    /^HTTP\/1\.1 200 OK\r\nContent-Type: text\/plain\r\nDate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n/,
  );
  expect(first).toMatch(/\r\nContent-Length: 5\r\n\r\nhello$/);
  expect(first).not.toMatch(/connection:/i);
  wire.send("GET /list HTTP/1.1\r\nHost: a\r\n\r\n");
  expect(await wire.gets(/onetwo$/)).toMatch(/\r\nContent-Length: 6\r\n\r\nonetwo$/);
});

test("requests that arrive together get responses in order", async (context) => {
  const instance = await PythonInstance.start(context);
  const get = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
  const all = await instance.says(get("/list") + get("/blocks") + get("/", "Connection: close\r\n"));
  // No report that the app is done precedes the response to a request that has already arrived.
  expect(all.replaceAll(/HTTP\/1\.1 200 OK\r\n(\S+: .*\r\n)+\r\n/g, "|")).toBe(
    `|onetwo|3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n|hello`,
  );
  expect(all.match(/^Connection: .*/gm)).toEqual(["Connection: paceline-working", "Connection: close"]);
});

test("the framing of a body follows from what is known about it", async (context) => {
  const instance = await PythonInstance.start(context);
  for (const [path, framing, body] of [
    ["/blocks", "Transfer-Encoding: chunked", "onetwo"],
    ["/unlisted", "Transfer-Encoding: chunked", "whole"],
    ["/write", "Transfer-Encoding: chunked", "writtenreturned"],
    ["/list", "Content-Length: 6", "onetwo"],
    ["/empty", "Content-Length: 0", ""],
  ] as const) {
    const response = await instance.get(path);
    expect(response).toContain(`\r\n${framing}\r\n`);
    expect(bodyOf(response)).toBe(body);
  }
});

test("HTTP/1.0 gets no chunks: without a length the end of the connection ends the body", async (context) => {
  const instance = await PythonInstance.start(context);
  const response = await instance.says("GET /blocks HTTP/1.0\r\n\r\n");
  expect(response).toMatch(/\r\nConnection: close\r\n\r\nonetwo$/);
  expect(response).not.toMatch(/chunked|content-length/i);
  const kept = instance.wire().send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  expect(await kept.gets(/hello$/)).toMatch(/\r\nConnection: keep-alive\r\n/);
  kept.send("GET / HTTP/1.0\r\n\r\n");
  expect(await kept.closed()).toMatch(/hello[\s\S]*\r\nConnection: close\r\n\r\nhello$/);
});

test("each block is sent as soon as it exists", async (context) => {
  const instance = await PythonInstance.start(context);
  const go = join(instance.supervisor.directory, "go");
  const wire = instance.wire().send(`GET /slow-blocks?${go} HTTP/1.1\r\nHost: a\r\n\r\n`);
  await wire.gets(/5\r\nfirst\r\n$/);
  writeFileSync(go, "");
  // The last line tells the balancer that the app is done with the request.
  await wire.gets(/first\r\n6\r\nsecond\r\n0\r\n\r\nHTTP\/1\.1 100 Continue\r\n\r\n$/);
  const next = join(instance.supervisor.directory, "next");
  wire.send(`GET /slow-blocks?${next} HTTP/1.1\r\nHost: a\r\n\r\n`);
  await wire.gets(/5\r\nfirst\r\n$/);
  wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  writeFileSync(next, "");
  // The line is not sent if the next request has already arrived.
  await wire.gets(/first\r\n6\r\nsecond\r\n0\r\n\r\nHTTP\/1\.1 200 OK\r\n[^|]*hello$/);
});

test("responses whose status allows no body have none", async (context) => {
  const instance = await PythonInstance.start(context);
  for (const [path, status] of [
    ["/nothing", "204 No Content"],
    ["/not-modified", "304 Not Modified"],
  ] as const) {
    for (const method of ["GET", "HEAD"]) {
      const response = await instance.get(path, "", method);
      expect(response).toMatch(new RegExp(`^HTTP/1.1 ${status}\r\n`));
      expect(response).not.toMatch(/content-length|transfer-encoding/i);
      expect(response).toMatch(/\r\n\r\n$/);
    }
  }
});

test("HEAD has the head of a GET and no body", async (context) => {
  const instance = await PythonInstance.start(context);
  expect(await instance.get("/", "", "HEAD")).toMatch(/\r\nContent-Length: 5\r\nConnection: close\r\n\r\n$/);
  expect(await instance.get("/blocks", "", "HEAD")).toMatch(/\r\nConnection: close\r\n\r\n$/);
  expect(await instance.get("/file", "", "HEAD")).toMatch(/\r\nContent-Length: \d+\r\nConnection: close\r\n\r\n$/);
  expect(await instance.get("/empty", "", "HEAD")).not.toMatch(/content-length/i);
});

test("a file is sent from its current position, completely or as far as announced; a compressed one as its decompressed content", async (context) => {
  const instance = await PythonInstance.start(context);
  const source = readFileSync(fixture("wsgi_app.py"), "latin1");
  const whole = await instance.get("/file");
  expect(whole).toContain(`\r\nContent-Length: ${source.length - 3}\r\n`);
  expect(bodyOf(whole)).toBe(source.slice(3));
  expect(bodyOf(await instance.get("/file-with-length"))).toBe(source.slice(0, 10));
  expect(bodyOf(await instance.get("/packed-file"))).toBe("unpacked");
});

test("what no response may have is rejected while the app runs: 500, and the reason in the log", async (context) => {
  const instance = await PythonInstance.start(context);
  const refused: [string, RegExp][] = [
    ["/throws", /ValueError: thrown by the view/],
    ["/twice", /start_response was called twice without exc_info/],
    ["/never-starts", /before it called start_response/],
    ["/splits", /X-Split has a control character/],
    ["/bad-name", /'X Split' is not a valid field name/],
    ["/bad-status", /three digits, a space and a reason/],
    ["/fields-as-text", /response_headers is a sequence of pairs, not dict/],
    ["/str-body", /a bytes-like object|made of bytes, not str/],
    ["/wide-header", /outside ISO-8859-1/],
  ];
  for (const [path, reason] of refused) {
    const response = await instance.get(path);
    expect(response, path).toMatch(/^HTTP\/1\.1 500 Internal Server Error\r\n[\s\S]*\r\n\r\nInternal Server Error\n$/);
    expect(response, path).not.toMatch(/injected/i);
    await instance.program.line(reason);
    await instance.program.line(new RegExp(`^GET ${path}: the app failed:`));
  }
  expect(instance.output).toContain('raise ValueError("thrown by the view")');
});

test("what gunicorn and uWSGI accept is accepted; hop-by-hop fields are left out, and the log says so once for each", async (context) => {
  const instance = await PythonInstance.start(context);
  const cases = [
    ...["hop", "hop-with-length", "subclasses", "tuple", "lists", "view", "no-reason", "empty-reason"],
    ...["length-with-space", "unknown-status"],
  ];
  for (const name of [...cases, ...cases]) {
    const wire = instance.wire().send(`GET /accepted?${name} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const response = await wire.gets(/\r\n\r\nab$/);
    const status = { "empty-reason": "200 ", "unknown-status": "299 " }[name] ?? "200 OK";
    expect(response.startsWith(`HTTP/1.1 ${status}\r\nX-A: 1\r\n`), `${name}: ${response}`).toBe(true);
    expect(response, name).toMatch(/\r\nContent-Length: 2\r\n/);
    expect(response, name).not.toMatch(/^(connection|transfer-encoding|keep-alive|upgrade|te|trailer|proxy-)/im);
  }
  const told = /GET \/accepted: (\S+) belongs to the server \(PEP 3333\): it is dropped, here and from now on/;
  await instance.program.line(/Proxy-Connection belongs/);
  const names = instance.program.output.flatMap((line) => told.exec(line)?.[1] ?? []);
  expect(names.sort()).toEqual(
    ["Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade", "transfer-encoding"].sort(),
  );
});

test("exc_info: before the head it replaces the response, after the head the connection ends too early", async (context) => {
  const instance = await PythonInstance.start(context);
  const changed = await instance.get("/changes-its-mind");
  expect(changed).toMatch(/^HTTP\/1\.1 500 Oops\r\n[\s\S]*\r\n\r\nsorry$/);
  expect(changed).not.toMatch(/X-First/);
  for (const path of ["/too-late", "/throws-later"]) {
    const cut = await instance.get(path);
    expect(cut, path).toMatch(/5\r\nbegun\r\n$/);
  }
  await instance.program.line(/ValueError: after something was sent/);
  await instance.program.line(/ValueError: thrown after a block/);
});

test("a wrong Content-Length: too few bytes never look complete, too many are cut off", async (context) => {
  const instance = await PythonInstance.start(context);
  const wire = instance.wire().send("GET /too-few HTTP/1.1\r\nHost: a\r\n\r\n");
  expect(await wire.closed()).toMatch(/\r\nContent-Length: 10\r\n\r\nfew$/);
  await instance.program.line(/GET \/too-few: the app gave 3 of the 10 bytes/);
  const kept = instance.wire().send("GET /too-many HTTP/1.1\r\nHost: a\r\n\r\n");
  await kept.gets(/\r\n\r\nfouHTTP\/1\.1 100 Continue\r\n\r\n$/);
  kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await kept.gets(/100 Continue\r\n\r\nHTTP\/1\.1 200 OK[\s\S]*hello$/);
});

test("close() of an iterable is called once: at its end, on an error, and when the client disconnects in the middle", async (context) => {
  const instance = await PythonInstance.start(context);
  const count = (text: string) => instance.program.output.filter((line) => line === text).length;
  const seen = (text: string, times: number) =>
    eventually(`${times} × ${text}`, () => count(text) === times || undefined);
  expect(bodyOf(await instance.get("/closes"))).toBe("ab");
  await seen("# closed", 1);
  await instance.get("/closes-on-error");
  await instance.program.line(/thrown after a block/);
  await seen("# closed", 2);
  for (const [n, leave] of (["destroy", "pause"] as const).entries()) {
    const wire = instance.wire();
    if (leave === "pause") wire.pause();
    wire.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    await seen("# endless began", n + 1);
    wire.destroy();
    await seen("# closed", 3 + n);
  }
  expect(await instance.get("/")).toMatch(/hello$/);
});

test("a client that reads nothing holds the instance no longer than bodyTimeoutMs", async (context) => {
  const instance = await PythonInstance.start(context, {}, { bodyTimeoutMs: 300 });
  const wire = instance.wire();
  wire.pause();
  wire.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
  await instance.program.line(/GET \/large: the client was too slow/);
  expect(await instance.get("/")).toMatch(/hello$/);
});

test("a large response arrives completely, however slowly its client begins to read", async (context) => {
  const instance = await PythonInstance.start(context);
  const wire = instance.wire();
  wire.pause();
  wire.send("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await instance.supervisor.hears("stats", (it) => it.inFlight === 1);
  wire.resume();
  expect(bodyOf(await wire.closed())).toBe("0123456789".repeat(1_000_000));
});

test("if a view makes the process exit, its client gets the response first, and the exit status is the view's; the log names the view", async (context) => {
  const instance = await PythonInstance.start(context);
  expect(await instance.get("/exits")).toMatch(/^HTTP\/1\.1 500 /);
  expect(await instance.program.exited).toEqual({ code: 3, signal: null });
  expect(instance.program.output.at(-1)).toBe("GET /exits: the app ended this process with sys.exit(3)");
  expect(existsSync(instance.supervisor.target.path)).toBe(false);

  const interrupted = await PythonInstance.start(context);
  expect(await interrupted.get("/is-interrupted")).toMatch(/^HTTP\/1\.1 500 /);
  expect(await interrupted.program.exited).toEqual({ code: 130, signal: null });
  expect(interrupted.program.output.at(-1)).toBe(
    "GET /is-interrupted: the app ended this process with KeyboardInterrupt",
  );

  const terminated = await PythonInstance.start(context);
  expect(bodyOf(await terminated.get("/terminates-itself"))).toBe("terminated");
  expect(await terminated.program.exited).toEqual({ code: 0, signal: null });
  expect(terminated.program.output.at(-1)).toMatch(
    /^GET \/terminates-itself: the app ended this process with os\.kill\(os\.getpid\(\), SIGTERM\) in view_terminates_itself \(/,
  );

  const abrupt = await PythonInstance.start(context);
  expect(await abrupt.get("/exits-at-once")).toBe("");
  expect(await abrupt.program.exited).toEqual({ code: 7, signal: null });
  expect(abrupt.program.output.at(-1)).toMatch(
    /^GET \/exits-at-once: the app ended this process with os\._exit\(7\) in view_exits_at_once \(wsgi_app\.py:\d+\)$/,
  );
});
