/**
 * What RFC 9113 and RFC 7541 require of a server, frame by frame: the cases of h2spec as a table, each on a separate connection to one
 * balancer.
 */
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FrameType, PREFACE, Setting } from "../src/http2/protocol.js";
import { BalancerProcess } from "./support/balancer-process.js";
import { FrameClient } from "./support/frame-client.js";
import {
  block,
  data,
  type Fields,
  type Frame,
  frame,
  GET,
  HELLO,
  headers,
  POST,
  reset,
  settings,
  uint32,
  windowUpdate,
} from "./support/http2-frames.js";
import { HELLO as RESPONSE, respondEach, ScriptedUpstream } from "./support/scripted-upstream.js";

const { DATA, HEADERS, PRIORITY, SETTINGS, PUSH_PROMISE, PING, GOAWAY, CONTINUATION, RST_STREAM, WINDOW_UPDATE } =
  FrameType;
const [END_STREAM, END_HEADERS, PADDED, HAS_PRIORITY, ACK] = [1, 4, 8, 32, 1];
const probe = frame(PING, 0, 0, "probe...");

let balancer: BalancerProcess;
let upstream: ScriptedUpstream;

beforeAll(async () => {
  balancer = await BalancerProcess.start("bun", { maxStreamsPerConnection: 20 });
  const socket = path.join(balancer.directory, "web.1#1.sock");
  // A POST gets no response, so that its stream stays open.
  const respond = respondEach(RESPONSE);
  upstream = await ScriptedUpstream.listen(socket, (connection) => {
    if (connection.received.startsWith("GET")) respond(connection);
  });
  await balancer.follow({ "web.1#1": socket });
});

afterAll(async () => {
  await upstream?.close();
  await balancer?.stop();
});

const connect = (...bytes: Uint8Array[]) => FrameClient.connect(balancer.port, ...bytes);

const get = headers(1, GET);
const post = headers(1, POST, false);
const priority = (on: number, length = 5) => Buffer.concat([uint32(on), Buffer.from([15])]).subarray(0, length);
const withFields = (...fields: Fields) => headers(1, [...GET, ...fields]);
const raw = (hex: string) =>
  frame(HEADERS, END_STREAM | END_HEADERS, 1, Buffer.concat([block(GET), Buffer.from(hex, "hex")]));
const without = (name: string) =>
  headers(
    1,
    GET.filter(([other]) => other !== name),
  );
const ONE = { malformed: /^(RST 1|GOAWAY) PROTOCOL_ERROR$/, closed: /^(RST 1|GOAWAY) STREAM_CLOSED$/ };
const PROTOCOL = /^GOAWAY PROTOCOL_ERROR$/;
const FRAME_SIZE = /^(RST 1|GOAWAY) FRAME_SIZE_ERROR$/;
const FLOW_CONTROL = /^(RST 1|GOAWAY) FLOW_CONTROL_ERROR$/;
const COMPRESSION = /^GOAWAY COMPRESSION_ERROR$/;
const full = Buffer.alloc(16_384);

describe("at once", () => {
  it.each<[string, Uint8Array[], RegExp]>([
    ["3.4 another preface", [Buffer.from(PREFACE).fill("x", 20)], PROTOCOL],
    ["3.4 no settings", [PREFACE, frame(PING, 0, 0, "12345678")], PROTOCOL],
    ["3.4 an acknowledgement before any settings", [PREFACE, frame(SETTINGS, ACK, 0)], PROTOCOL],
  ])("%s", async (_, bytes, expected) => {
    const client = await connect(...bytes);
    await client.until(() => client.endings.some((ending) => expected.test(ending)), String(expected));
    await client.until(() => client.isClosed, "the end of the connection");
    client.socket.destroy();
  });
});

describe("errors", () => {
  it.each<[string, Uint8Array[], RegExp]>([
    ["4.2 DATA beyond the largest frame", [post, data(1, Buffer.alloc(16_385))], FRAME_SIZE],
    ["4.2 HEADERS beyond the largest frame", [frame(HEADERS, END_HEADERS, 1, Buffer.alloc(16_385))], FRAME_SIZE],
    [
      "4.3 a block that is none",
      [frame(HEADERS, END_STREAM | END_HEADERS, 1, "\xff\xff\xff\xff\xff\xff")],
      COMPRESSION,
    ],
    [
      "4.3 PRIORITY within a block",
      [frame(HEADERS, END_STREAM, 1, block(GET)), frame(PRIORITY, 0, 1, priority(0))],
      PROTOCOL,
    ],
    [
      "4.3 HEADERS of another stream within a block",
      [frame(HEADERS, END_STREAM, 1, block(GET)), headers(3, GET)],
      PROTOCOL,
    ],
    ["4.3 DATA within a block", [frame(HEADERS, 0, 1, block(POST)), data(1, "x")], PROTOCOL],
    ["5.1 idle: DATA", [data(1, "x")], PROTOCOL],
    ["5.1 idle: RST_STREAM", [reset(1)], PROTOCOL],
    ["5.1 idle: WINDOW_UPDATE", [windowUpdate(1, 100)], PROTOCOL],
    ["5.1 idle: CONTINUATION", [frame(CONTINUATION, END_HEADERS, 1, block(GET))], PROTOCOL],
    ["5.1 half closed: DATA", [headers(1, POST), data(1, "x", true)], ONE.closed],
    ["5.1 half closed: HEADERS", [headers(1, POST), headers(1, POST)], ONE.closed],
    ["5.1 half closed: CONTINUATION", [headers(1, POST), frame(CONTINUATION, END_HEADERS, 1, block(GET))], PROTOCOL],
    ["5.1 reset: DATA", [post, reset(1), data(1, "x")], ONE.closed],
    ["5.1 reset: HEADERS", [post, reset(1), headers(1, POST)], ONE.closed],
    ["5.1 reset: CONTINUATION", [post, reset(1), frame(CONTINUATION, END_HEADERS, 1, block(GET))], PROTOCOL],
    ["5.1.1 an even stream", [headers(2, GET)], PROTOCOL],
    ["5.1.1 a lower stream", [headers(5, GET), headers(3, GET)], PROTOCOL],
    [
      "5.1.2 more streams than allowed",
      Array.from({ length: 21 }, (_, n) => headers(2 * n + 1, POST, false)),
      /^RST 41 REFUSED_STREAM$/,
    ],
    [
      "5.3 HEADERS that depend on themselves",
      [frame(HEADERS, END_STREAM | END_HEADERS | HAS_PRIORITY, 1, Buffer.concat([priority(1), block(GET)]))],
      ONE.malformed,
    ],
    ["5.3 PRIORITY that depends on itself", [frame(PRIORITY, 0, 1, priority(1))], ONE.malformed],
    [
      "5.5 an unknown frame within a block",
      [frame(HEADERS, END_STREAM, 1, block(GET)), frame(22, 0, 0, "x")],
      PROTOCOL,
    ],
    ["6.1 DATA of stream 0", [data(0, "x")], PROTOCOL],
    ["6.1 padding longer than the frame", [post, frame(DATA, PADDED | END_STREAM, 1, "\x06test")], ONE.malformed],
    ["6.1 padding without its length", [post, frame(DATA, PADDED, 1, "")], FRAME_SIZE],
    ["6.2 HEADERS of stream 0", [frame(HEADERS, END_STREAM | END_HEADERS, 0, block(GET))], PROTOCOL],
    [
      "6.2 padding longer than the frame",
      [frame(HEADERS, PADDED | END_HEADERS, 1, Buffer.concat([Buffer.from([200]), block(GET)]))],
      ONE.malformed,
    ],
    ["6.3 PRIORITY of stream 0", [frame(PRIORITY, 0, 0, priority(1))], PROTOCOL],
    ["6.3 a short PRIORITY", [post, frame(PRIORITY, 0, 1, priority(0, 4))], FRAME_SIZE],
    ["6.4 RST_STREAM of stream 0", [reset(0)], PROTOCOL],
    ["6.4 a short RST_STREAM", [post, frame(RST_STREAM, 0, 1, "\0\0\0")], FRAME_SIZE],
    ["6.5 an acknowledgement with a payload", [frame(SETTINGS, ACK, 0, "\0\0\0\0\0\0")], FRAME_SIZE],
    ["6.5 SETTINGS of a stream", [frame(SETTINGS, 0, 1)], PROTOCOL],
    ["6.5 SETTINGS of 3 bytes", [frame(SETTINGS, 0, 0, "\0\0\0")], FRAME_SIZE],
    ["6.5.2 ENABLE_PUSH of 2", [settings([Setting.ENABLE_PUSH, 2])], PROTOCOL],
    ["6.5.2 a window too large", [settings([Setting.INITIAL_WINDOW_SIZE, 2 ** 31])], FLOW_CONTROL],
    ["6.5.2 a frame size too small", [settings([Setting.MAX_FRAME_SIZE, 16_383])], PROTOCOL],
    ["6.5.2 a frame size too large", [settings([Setting.MAX_FRAME_SIZE, 2 ** 24])], PROTOCOL],
    ["6.7 PING of a stream", [frame(PING, 0, 1, "12345678")], PROTOCOL],
    ["6.7 a short PING", [frame(PING, 0, 0, "123456")], FRAME_SIZE],
    ["6.8 GOAWAY of a stream", [frame(GOAWAY, 0, 1, "\0\0\0\0\0\0\0\0")], PROTOCOL],
    ["6.8 a short GOAWAY", [frame(GOAWAY, 0, 0, "\0\0\0\0")], FRAME_SIZE],
    ["6.9 WINDOW_UPDATE of 0", [windowUpdate(0, 0)], PROTOCOL],
    ["6.9 WINDOW_UPDATE of 0 for a stream", [post, windowUpdate(1, 0)], ONE.malformed],
    ["6.9 a short WINDOW_UPDATE", [frame(WINDOW_UPDATE, 0, 0, "\0\0\x01")], FRAME_SIZE],
    ["6.9.1 a window beyond 2^31 - 1", [windowUpdate(0, 2 ** 31 - 1), windowUpdate(0, 2 ** 31 - 1)], FLOW_CONTROL],
    ["6.9.1 a stream's window beyond 2^31 - 1", [post, windowUpdate(1, 2 ** 31 - 1)], FLOW_CONTROL],
    ["6.9.1 a body beyond its window", [post, ...Array.from({ length: 40 }, () => data(1, full))], /./],
    [
      "6.9.2 a window that becomes too large by a setting",
      [
        settings([Setting.INITIAL_WINDOW_SIZE, 0]),
        post,
        windowUpdate(1, 2 ** 31 - 1),
        settings([Setting.INITIAL_WINDOW_SIZE, 1]),
      ],
      FLOW_CONTROL,
    ],
    [
      "6.10 CONTINUATION of stream 0",
      [frame(HEADERS, 0, 1, block(GET)), frame(CONTINUATION, END_HEADERS, 0)],
      PROTOCOL,
    ],
    ["6.10 CONTINUATION after a whole block", [post, frame(CONTINUATION, END_HEADERS, 1)], PROTOCOL],
    ["6.10 CONTINUATION after DATA", [post, data(1, "x"), frame(CONTINUATION, END_HEADERS, 1)], PROTOCOL],
    [
      "8.1 a second HEADERS without END_STREAM",
      [post, frame(HEADERS, END_HEADERS, 1, block([["x", "y"]]))],
      ONE.malformed,
    ],
    [
      "8.1 a pseudo-header field in trailers",
      [post, frame(HEADERS, END_HEADERS | END_STREAM, 1, block([[":method", "GET"]]))],
      ONE.malformed,
    ],
    ["8.2 a name in upper case", [withFields(["X-Test", "ok"])], ONE.malformed],
    ["8.2.2 Connection", [withFields(["connection", "keep-alive"])], ONE.malformed],
    ["8.2.2 another TE", [withFields(["te", "trailers, deflate"])], ONE.malformed],
    ["8.3 an unknown pseudo-header field", [withFields([":test", "ok"])], ONE.malformed],
    ["8.3 one of responses", [withFields([":status", "200"])], ONE.malformed],
    [
      "8.3 one after other fields",
      [headers(1, [GET[0], ["x", "y"], ...GET.slice(1)] as unknown as Fields)],
      ONE.malformed,
    ],
    [
      "8.3.1 an empty path",
      [
        headers(
          1,
          GET.map(([name, value]) => [name, name === ":path" ? "" : value]),
        ),
      ],
      ONE.malformed,
    ],
    ...[":method", ":scheme", ":path"].map((name): [string, Uint8Array[], RegExp] => [
      `8.3.1 no ${name}`,
      [without(name)],
      ONE.malformed,
    ]),
    ...[":method", ":scheme", ":path"].map((name): [string, Uint8Array[], RegExp] => [
      `8.3.1 two ${name}`,
      [headers(1, [...GET.filter(([other]) => other === name), ...GET])],
      ONE.malformed,
    ]),
    [
      "8.1.1 a body longer than its length",
      [headers(1, [...POST, ["content-length", "1"]], false), data(1, "test", true)],
      ONE.malformed,
    ],
    [
      "8.1.1 a body shorter than its length",
      [headers(1, [...POST, ["content-length", "9"]], false), data(1, "test", true)],
      ONE.malformed,
    ],
    ["8.1.1 a length and no body", [withFields(["content-length", "9"])], ONE.malformed],
    ["8.4 PUSH_PROMISE", [frame(PUSH_PROMISE, END_HEADERS, 1, Buffer.concat([uint32(3), block(GET)]))], PROTOCOL],
    ["RFC 7541 2.3.3 an index behind the tables", [raw("c6")], COMPRESSION],
    ["RFC 7541 2.3.3 a name's index behind the tables", [raw("7f2801 61")], COMPRESSION],
    ["RFC 7541 4.2 a change of the table's size at the end", [raw("21")], COMPRESSION],
    ["RFC 7541 5.2 padding of more than 7 bits", [raw("000161 841fffffff")], COMPRESSION],
    ["RFC 7541 5.2 padding of zeros", [raw("000161 8118")], COMPRESSION],
    ["RFC 7541 5.2 EOS", [raw("000161 84ffffffff")], COMPRESSION],
    ["RFC 7541 6.1 index 0", [raw("80")], COMPRESSION],
    [
      "RFC 7541 6.3 a table larger than allowed",
      [frame(HEADERS, END_STREAM | END_HEADERS, 1, Buffer.concat([Buffer.from("3fe21f", "hex"), block(GET)]))],
      COMPRESSION,
    ],
  ])("%s", async (_, bytes, expected) => {
    const client = await connect(HELLO, ...bytes, probe);
    const isExpected = (ending: string) => expected.test(ending);
    const isOver = () =>
      client.endings.some(isExpected) || client.has(({ type, flags }) => type === PING && flags === ACK);
    await client.until(isOver, String(expected));
    if (expected.source !== ".") expect(client.endings.filter(isExpected)).not.toEqual([]);
    if (client.endings.some((ending) => ending.startsWith("GOAWAY")))
      await client.until(() => client.isClosed, "the end");
    client.socket.destroy();
  });

  it.each<[string, Uint8Array[]]>([
    ["DATA", [data(1, "x", true)]],
    ["HEADERS", [get]],
    ["CONTINUATION", [frame(CONTINUATION, END_HEADERS, 1, block(GET))]],
  ])("5.1 ended: %s", async (_, bytes) => {
    const client = await connect(HELLO, get);
    await client.until(() => client.has(({ type, flags }) => type === DATA && flags === END_STREAM), "the response");
    client.socket.write(Buffer.concat([...bytes, probe]));
    await client.until(() => client.endings.length > 0, "the end");
    expect(client.endings[0]).toMatch(/^GOAWAY (STREAM_CLOSED|PROTOCOL_ERROR)$/);
    client.socket.destroy();
  });
});

describe("what is allowed", () => {
  const response = (flags = END_STREAM) => ({ type: DATA, stream: 1, flags });
  it.each<[string, Uint8Array[], Partial<Frame>]>([
    ["4.1 an unknown frame", [frame(22, 0, 0, "x"), get], response()],
    ["4.1 unknown flags, and the reserved bit", [frame(PING, 22 & ~ACK, 2 ** 31, "12345678"), get], response()],
    ["4.2 DATA of the largest frame", [post, data(1, full, true), headers(3, GET)], { ...response(), stream: 3 }],
    [
      "6.1 padding",
      [post, frame(DATA, PADDED | END_STREAM, 1, "\x02ab\0\0"), headers(3, GET)],
      { ...response(), stream: 3 },
    ],
    [
      "6.2 padding and a priority",
      [
        frame(
          HEADERS,
          END_STREAM | END_HEADERS | PADDED | HAS_PRIORITY,
          1,
          Buffer.concat([Buffer.from([2]), priority(0), block(GET), Buffer.alloc(2)]),
        ),
      ],
      response(),
    ],
    ["6.3 PRIORITY for an idle stream", [frame(PRIORITY, 0, 5, priority(0)), get], response()],
    ["6.5 unknown settings", [settings([0xff, 1]), get], response()],
    [
      "6.5.3 settings in their order",
      [settings([Setting.INITIAL_WINDOW_SIZE, 100], [Setting.INITIAL_WINDOW_SIZE, 1]), get],
      response(0),
    ],
    ["6.7 PING", [frame(PING, 0, 0, "12345678")], { type: PING, flags: ACK }],
    [
      "6.9.2 a window by a later setting",
      [settings([Setting.INITIAL_WINDOW_SIZE, 0]), get, settings([Setting.INITIAL_WINDOW_SIZE, 1])],
      response(0),
    ],
    [
      "6.10 a block in pieces",
      [
        frame(HEADERS, END_STREAM, 1, block(GET.slice(0, 2))),
        frame(CONTINUATION, 0, 1, block(GET.slice(2, 3))),
        frame(CONTINUATION, END_HEADERS, 1, block(GET.slice(3))),
      ],
      response(),
    ],
    [
      "7 unknown errors",
      [post, reset(1, 0xff), frame(GOAWAY, 0, 0, Buffer.concat([uint32(0), uint32(0xff)])), headers(3, GET)],
      { ...response(), stream: 3 },
    ],
    [
      "8.1 trailers",
      [post, data(1, "x"), frame(HEADERS, END_HEADERS | END_STREAM, 1, block([["x", "y"]])), headers(3, GET)],
      { ...response(), stream: 3 },
    ],
  ])("%s", async (_, bytes, expected) => {
    const client = await connect(HELLO, ...bytes);
    const isExpected = (it: Frame) =>
      Object.entries(expected).every(([key, value]) => it[key as keyof Frame] === value);
    await client.until(() => client.has(isExpected), JSON.stringify(expected));
    expect(client.endings).toEqual([]);
    client.socket.destroy();
  });

  it("6.9.2 a window that is temporarily negative", async () => {
    const client = await connect(HELLO, settings([Setting.INITIAL_WINDOW_SIZE, 3]), get);
    const sizes = () => client.frames.filter(({ type }) => type === DATA).map(({ payload }) => payload.length);
    await client.until(() => sizes().length === 1, "the first data");
    client.socket.write(Buffer.concat([settings([Setting.INITIAL_WINDOW_SIZE, 2]), windowUpdate(1, 2)]));
    await client.until(() => sizes().length === 2, "further data");
    expect(sizes()).toEqual([3, 1]);
    client.socket.destroy();
  });

  it("frames for a stream that was reset here, sent before the client knew", async () => {
    const client = await connect(
      HELLO,
      post,
      windowUpdate(1, 0),
      data(1, "x"),
      reset(1),
      windowUpdate(1, 5),
      headers(3, GET),
    );
    await client.until(() => client.has(({ type, stream }) => type === DATA && stream === 3), "the response");
    expect(client.endings).toEqual(["RST 1 PROTOCOL_ERROR"]);
    client.socket.destroy();
  });

  it("ENABLE_CONNECT_PROTOCOL and the limits are announced", async () => {
    const client = await connect(HELLO);
    await client.until(() => client.has(({ type }) => type === SETTINGS), "the settings");
    const payload = client.frames.find(({ type, flags }) => type === SETTINGS && flags === 0)?.payload as Buffer;
    const said = Object.fromEntries(
      Array.from({ length: payload.length / 6 }, (_, i) => [
        payload.readUInt16BE(6 * i),
        payload.readUInt32BE(6 * i + 2),
      ]),
    );
    expect(said).toMatchObject({
      [Setting.MAX_CONCURRENT_STREAMS]: 20,
      [Setting.ENABLE_CONNECT_PROTOCOL]: 1,
      [Setting.MAX_HEADER_LIST_SIZE]: 16_384,
    });
    client.socket.destroy();
  });
});
