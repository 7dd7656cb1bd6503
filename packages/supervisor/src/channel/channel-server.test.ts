import { mkdtempSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { ChannelServer } from "./channel-server.js";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function serve() {
  const path = join(mkdtempSync(join(tmpdir(), "channel-")), "channel.sock");
  const told: string[] = [];
  const server = new ChannelServer<string>({
    path,
    findChild: (token) => (token === "good" ? "web.1#1" : undefined),
    objection: (child, hello) => (hello.attempt === 1 ? undefined : `the token is that of ${child}`),
    onHello: (child, hello) => told.push(`hello ${child} ${hello.phase}`),
    onMessage: (child, message) => told.push(`${message.type} ${child}`),
    onClose: (child) => told.push(`close ${child}`),
    onProblem: (message) => told.push(message),
  });
  await server.listen();
  closers.push(() => server.close());
  return { path, told };
}

const hello = (more: object = {}) => {
  const rest = { role: "instance", pool: "web", name: "web.1", attempt: 1, generation: 1, pid: 1, runtime: "x" };
  return `${JSON.stringify({ type: "hello", channelVersion: 1, token: "good", phase: "starting", ...rest, ...more })}\n`;
};

/** Writes, and resolves with all received lines when the other side closes, or when there are `lines`. */
function say(path: string, text: string, lines = Number.POSITIVE_INFINITY): Promise<Record<string, unknown>[]> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    let heard = "";
    const messages = () =>
      heard
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    closers.push(() => socket.destroy());
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      heard += bytes.toString();
      if (messages().length >= lines) resolve(messages());
    });
    socket.on("close", () => resolve(messages()));
    socket.write(text);
  });
}

test("a child with its token is accepted; only the owner can use the socket", async () => {
  const { path, told } = await serve();
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await say(path, `${hello()}{"type":"ready"}\n`, 1)).toEqual([{ type: "welcome", pid: process.pid }]);
  await expect.poll(() => told).toEqual(["hello web.1#1 starting", "ready web.1#1"]);
});

test("a child of the next version is accepted, and unknown messages are skipped", async () => {
  const { path, told } = await serve();
  const lines = `${hello({ channelVersion: 2, mood: "good" })}{"type":"sings"}\n{"type":"ready","mood":1}\n`;
  expect(await say(path, lines, 1)).toEqual([{ type: "welcome", pid: process.pid }]);
  await expect.poll(() => told).toEqual(["hello web.1#1 starting", "ready web.1#1"]);
});

test.each([
  ["an unknown token", { token: "bad" }, "no such child"],
  ["another attempt", { attempt: 2 }, "the token is that of web.1#1"],
  ["a version further away", { channelVersion: 3 }, "this supervisor uses version 1 of the control channel, not 3"],
  ["another version", { channelVersion: 99 }, "this supervisor uses version 1 of the control channel, not 99"],
])("%s is refused, with the reason", async (_what, more, reason) => {
  const { path, told } = await serve();
  expect(await say(path, `${hello(more)}{"type":"ready"}\n`)).toEqual([{ type: "refused", reason }]);
  expect(told).toEqual([]);
});

test("reports about invalid messages have no token and are few", async () => {
  const { path, told } = await serve();
  const invalid = [hello({ attempt: -1 }), hello({ pid: "x" }), hello().replace("}", "")];
  for (const text of [...invalid, ...invalid]) await say(path, text);
  expect(told).toEqual(["channel.sock: a child sent an invalid message: invalid message: its type is hello"]);
});

test.each([
  ["no JSON", "nonsense\n"],
  ["an unknown message before the hello", '{"type":"shutdown"}\n'],
  ["a message before the hello", '{"type":"ready"}\n'],
  ["stats that are none", `${hello()}{"type":"stats","role":"instance","requestsTotal":"many"}\n`],
  ["a line without an end", `${hello()}${"x".repeat((1 << 20) + 1)}`],
])("%s ends the connection", async (_what, text) => {
  const { path, told } = await serve();
  const heard = await say(path, text);
  expect(heard.every(({ type }) => type === "welcome")).toBe(true);
  expect(told.some((line) => line.startsWith("ready") || line.startsWith("stats"))).toBe(false);
});
