/** The control socket for a program with raw HTTP, on both runtimes. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { ControlClient } from "../dist/control/client.js";
import { FIXTURES, makeFolder, RUNTIMES, run } from "./support.js";

let child: ChildProcess;
let socketPath: string;
let said: AsyncIterator<string>;

/** Returns the next message of the scripted supervisor. */
async function next(): Promise<unknown[]> {
  return JSON.parse((await said.next()).value);
}

function tell(command: string): void {
  child.stdin?.write(`${command}\n`);
}

interface RawResponse {
  status: number;
  head: string;
  body: string;
}

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath, () => resolve(socket));
    socket.on("error", reject);
    onTestFinished(() => void socket.destroy());
  });
}

/** Sends bytes and returns everything until the server closes, with chunks decoded. */
async function raw(bytes: string): Promise<RawResponse> {
  const socket = await open();
  socket.write(bytes);
  let text = "";
  for await (const chunk of socket.setEncoding("utf8")) text += chunk;
  const at = text.indexOf("\r\n\r\n");
  const head = text.slice(0, at);
  const rest = text.slice(at + 4);
  const body = /transfer-encoding: chunked/i.test(head) ? rest.replace(/(^|\r\n)[0-9a-f]+\r\n/gi, "") : rest;
  return { status: Number(head.split(" ")[1]), head, body };
}

/**
 * Sends bytes, and returns what the server sends until it closes or resets the connection.
 * @param isEnded whether FIN follows
 */
async function endOf(bytes: string, isEnded = false): Promise<string> {
  const socket = await open();
  let text = "";
  socket.setEncoding("utf8").on("data", (part) => (text += part));
  const closed = new Promise((resolve) => socket.on("close", resolve));
  if (isEnded) socket.end(bytes);
  else socket.write(bytes);
  await closed;
  return text;
}

function get(path: string): Promise<RawResponse> {
  return raw(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
}

function post(path: string, body: string): Promise<RawResponse> {
  return raw(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

function linesOf({ body }: RawResponse): unknown[] {
  return body
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line));
}

/** Method, path and body of a request; status, code and part of the message of its response. */
const MISTAKES = [
  ["POST", "/v1/pools/no/scale", '{"instances": 3}', 400, "invalid", "no pool no"],
  ["POST", "/v1/reload", '{"pool": "busy"}', 409, "busy", "a reload is under way"],
  ["POST", "/v1/reload", "", 500, "failed", "web.1 did not get ready"],
  ["POST", "/v1/restart", '{"target": "throws"}', 500, "internal", "unforeseen"],
  ["POST", "/v1/pools/web/scale", '{"instances": "x"}', 400, "invalid", "instances"],
  ["POST", "/v1/pools/web/scale", '{"instances": 3, "more": 1}', 400, "invalid", "more"],
  ["POST", "/v1/stop", "{", 400, "invalid", "not JSON"],
  ["POST", "/v1/restart?timeout=3", "", 400, "invalid", "timeout"],
  ["POST", "/v1/restart?timeoutMs=3s", "", 400, "invalid", "timeoutMs"],
  ["GET", "/v1/stop", "", 405, "method_not_allowed", "POST"],
  ["GET", "/v2/status", "", 404, "not_found", "/v2/status"],
  ["GET", "/v1/pools/%zz/scale", "", 404, "not_found", "%zz"],
  ["GET", "/v1/ready?timeoutMs=30", "", 504, "timeout", "continues"],
] as const;

describe.each(RUNTIMES)("the control socket on %s", (_, program) => {
  beforeEach(async () => {
    socketPath = join(makeFolder(), "control.sock");
    child = spawn(program, [join(FIXTURES, "control-server.mjs"), socketPath], { stdio: ["pipe", "pipe", "inherit"] });
    const started = child;
    onTestFinished(() => void started.kill("SIGKILL"));
    said = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
    expect(await next()).toEqual(["listening"]);
  });

  test("only its owner can connect to it", () => {
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  });

  test("the status is one JSON document, for curl too", async () => {
    const response = await get("/v1/status");
    expect(response.status).toBe(200);
    expect(response.head).toMatch(/content-type: application\/json/i);
    expect(JSON.parse(response.body)).toEqual({ version: "1.2.3", pid: child.pid, pools: [] });
    const curl = await run("curl", ["-sS", "--unix-socket", socketPath, "http://paceline/v1/status"]);
    expect(JSON.parse(curl.stdout)).toMatchObject({ version: "1.2.3" });
  });

  test("an operation reports its progress, then its result", async () => {
    const response = await post("/v1/pools/web/scale", '{"instances": 3}');
    expect(response.status).toBe(200);
    expect(linesOf(response)).toEqual([{ progress: "web.2 is ready" }, { result: { ok: true, message: "web has 3" } }]);
    expect(await next()).toEqual(["scale", "web", 3]);
  });

  test("an impossible request gets an error document with the matching status", async () => {
    for (const [method, path, body, status, code, message] of MISTAKES) {
      const response = await (method === "GET" ? get(path) : post(path, body));
      expect({ path, body, status: response.status }).toEqual({ path, body, status });
      expect(JSON.parse(response.body)).toMatchObject({ error: { code, message: expect.stringContaining(message) } });
    }
  });

  test("a failed operation reports the last lines of what failed", async () => {
    const response = await post("/v1/reload", "{}");
    expect(JSON.parse(response.body).error.lastLines).toEqual(["Error: boom"]);
  });

  test("a body without end and a head without end are cut off", async () => {
    const length = 64 << 20;
    const socket = await open();
    socket.on("error", () => {});
    socket.write(`POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`);
    const closed = new Promise((resolve) => socket.on("close", resolve));
    let text = "";
    socket.setEncoding("utf8").on("data", (part) => (text += part));
    for (let sent = 0; sent < length && !socket.destroyed && text === ""; sent += 1 << 20) {
      socket.write("x".repeat(1 << 20));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await closed;
    // A client that is cut off while it sends may not receive the reason.
    expect(text).toMatch(/^(HTTP\/1\.1 413 .*)?/);
    expect(text).not.toMatch(/^HTTP\/1\.1 [^4]/);
    expect((await raw(`GET /v1/status HTTP/1.1\r\nHost: x\r\nX: ${"y".repeat(40_000)}\r\n\r\n`)).status).toBe(431);
  });

  test("silent connections keep nobody out, and close no connection that has sent something", async () => {
    const follower = (await open()).setEncoding("utf8");
    follower.write("GET /v1/logs?follow=1&lines=0 HTTP/1.1\r\nHost: x\r\n\r\n");
    await new Promise((resolve) => follower.once("data", resolve));
    // One after another, so that the limit of the kernel's queue does not matter.
    for (let n = 0; n < 200; n++) await open();
    expect((await get("/v1/status")).status).toBe(200);
    tell("line");
    const [line] = await once(follower, "data");
    expect(line).toContain("more");
  });

  test("an incomplete request is given up and starts nothing, a body may come in pieces", async () => {
    const stop = (rest: string) => `POST /v1/stop HTTP/1.1\r\nHost: x\r\n${rest}`;
    const known = stop("Content-Length: 10\r\n\r\n{");
    const chunked = stop("Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n");
    const head = "GET /v1/status HTTP/1.1\r\nHo";
    const waits = ["", head, known, chunked].map((bytes) => endOf(bytes));
    const ended = await Promise.all([head, known, chunked].map((bytes) => endOf(bytes, true)));
    for (const text of ended) expect(text).toMatch(/^$|^HTTP\/1\.1 400 /);
    expect((await raw(stop("Content-Length: 1\r\n\r\n{}"))).status).toBe(400);
    const body = '{"instances": 3}';
    const pieces = await open();
    const response = once(pieces.setEncoding("utf8"), "data");
    for (const piece of [
      `POST /v1/pools/web/scale HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`,
      ...body,
    ]) {
      pieces.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await response)[0]).toMatch(/^HTTP\/1\.1 200 /);
    const [, , ...late] = await Promise.all(waits);
    for (const text of late) expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(await next()).toEqual(["scale", "web", 3]);
    await post("/v1/restart", "{}");
    expect(await next()).toEqual(["restart", null]);
  });

  test("lines can be read once and followed; a reader that disconnects is forgotten", async () => {
    expect(linesOf(await get("/v1/logs"))).toHaveLength(2);
    expect(linesOf(await get("/v1/logs?name=api"))).toMatchObject([{ name: "api.1", text: "hi" }]);
    expect(linesOf(await get("/v1/events?lines=2"))).toMatchObject([{ sequence: 2 }, { sequence: 3 }]);
    expect(linesOf(await get("/v1/events?lines=0"))).toEqual([]);

    const client = new ControlClient({ socketPath, timeoutMs: 10_000 });
    const seen: string[] = [];
    const gone = new Error("enough");
    const reading = client.read("/v1/logs?follow=1&name=web", (lines) => {
      for (const { name, text } of lines as { name: string; text: string }[]) seen.push(`${name} ${text}`);
      if (seen.length === 3) throw gone;
      tell("line");
    });
    await expect(reading).rejects.toThrow("enough");
    expect(seen).toEqual(["web.1 hello", "web.1 more", "web.1 more"]);
    expect(await next()).toEqual(["unsubscribed"]);
  });

  test("a follower that does not read loses lines, which are counted, and continues", async () => {
    const socket = await open();
    socket.pause();
    socket.write("GET /v1/logs?follow=1&lines=0 HTTP/1.1\r\nHost: x\r\n\r\n");
    // The first bytes prove that it follows.
    await new Promise((resolve) => socket.once("readable", resolve));
    tell("flood");
    const [, written] = (await next()) as [string, number];
    let text = "";
    let rest = "";
    let printed = 0;
    let lost = 0;
    for await (const chunk of socket.setEncoding("utf8")) {
      text += chunk;
      // HTTP chunk sizes are separate lines.
      const lines = (rest + chunk).split(/\r?\n/);
      rest = lines.pop() as string;
      for (const line of lines) {
        if (!line.startsWith("{")) continue;
        const { lost: count, name } = JSON.parse(line) as { lost?: number; name: string };
        expect(name).toBe("web.1");
        if (count === undefined) printed++;
        else lost += count;
      }
      if (printed + lost >= written) break;
    }
    expect(printed + lost).toBe(written);
    expect(lost).toBeGreaterThan(0);
    expect(text).toContain("this reader is too slow");
  });

  test.each(["/v1/logs", "/v1/events"])("%s of an unknown name is an error that lists the names", async (path) => {
    const response = await get(`${path}?name=wbe&follow=1`);
    expect(response.status).toBe(400);
    expect(JSON.parse(response.body).error).toEqual({
      code: "invalid",
      message: 'no pool or instance named "wbe" (known: web, api, none, paceline)',
    });
    expect(JSON.parse((await get(`${path}?name=web.7`)).body).error?.message).toMatch(/known: web\.1\)/);
  });

  test("closing ends followers, lets an operation's response out and removes the socket", async () => {
    const following = get("/v1/logs?follow=1&name=none");
    const client = new ControlClient({ socketPath, timeoutMs: 10_000 });
    let outcome: Promise<unknown> | undefined;
    const progress = new Promise<string>((resolve) => {
      outcome = client.operate("POST", "/v1/reload", { pool: "late" }, resolve);
    });
    expect(await progress).toBe("one");
    expect(await new ControlClient({ socketPath }).operate("POST", "/v1/stop")).toEqual({
      ok: true,
      message: "stopped",
    });
    expect(await outcome).toMatchObject({ ok: false, code: "failed", lastLines: ["Error: boom"] });
    const exited = new Promise((resolve) => child.on("exit", resolve));
    tell("close");
    expect(await exited).toBe(0);
    expect((await following).status).toBe(200);
    expect(existsSync(socketPath)).toBe(false);
    await expect(new ControlClient({ socketPath }).status()).rejects.toMatchObject({ code: "not-running" });
  });

  test("clients that abandon their operations do not accumulate, and do not block other clients", async () => {
    const waits = () => get("/v1/ready?timeoutMs=1").then(({ status }) => status);
    for (let n = 0; n < 8; n++)
      expect(new Set(await Promise.all(Array.from({ length: 8 }, waits)))).toEqual(new Set([504]));
    const response = await get("/v1/ready?timeoutMs=1");
    expect(response.status).toBe(503);
    expect(JSON.parse(response.body).error).toMatchObject({
      code: "busy",
      message: "64 requests of /v1/ready are under way",
    });
    expect((await post("/v1/pools/web/scale", '{"instances": 3}')).status).toBe(200);
  });

  test("the client's own deadline and a lost supervisor are distinguished", async () => {
    const waiting = new ControlClient({ socketPath, timeoutMs: 100 }).operate("GET", "/v1/ready");
    await expect(waiting).rejects.toMatchObject({ code: "timeout" });
    const lost = new ControlClient({ socketPath }).operate("POST", "/v1/reload", { pool: "late" }, () =>
      child.kill("SIGKILL"),
    );
    const exited = new Promise((resolve) => child.on("exit", resolve));
    await expect(lost).rejects.toMatchObject({ code: "lost" });
    await exited;
    await expect(new ControlClient({ socketPath }).status()).rejects.toMatchObject({ code: "not-running" });
  });
});
