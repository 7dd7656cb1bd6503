import { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import { FrameDecoder } from "@paceline/wire/lane/frame-decoder";
import { FrameType, REQUEST_WINDOW_BYTES } from "@paceline/wire/lane/protocol";
import { LaneRequestHead } from "@paceline/wire/lane/request-head";
import type { Scoreboard } from "@paceline/wire/lane/scoreboard";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { type FrameVector, VECTORS, vector } from "../../../wire/test/support/lane-vectors.js";
import { LANE_NUMBER, LaneBench, turnEnd } from "../../test/support/lane-bench.js";
import type { FetchHandler } from "../shared/app.js";
import { loadStreams } from "./lane-connection.js";
import { makeRequest, type RequestSource } from "./lane-request.js";
import type { ResponseReader } from "./response-reader.js";
import { prepareResponses } from "./responses.js";

const bytesOf = (hex: string) => Buffer.from(hex, "hex");
const named = (list: FrameVector[], ...types: string[]) => list.filter(({ type }) => types.includes(type));
const GET = vector("REQUEST, GET").hex;
const POST = vector("REQUEST, POST with a length").hex;
const HELLO = vector("HELLO of the balancer").hex;
const OWN_HELLO = vector("HELLO of an instance").hex;

/** A frame of a body with this many bytes, on the stream of all vectors. */
function frameOf(type: number, length: number): string {
  const frames = new FrameBuffer();
  frames.copy(type, 0x1_0003, Buffer.alloc(length), 0, length);
  return frames.bytes.toString("hex", 0, frames.length);
}

const PIECE_BYTES = 65_536;
const WINDOW_PIECES = REQUEST_WINDOW_BYTES / PIECE_BYTES;
const pieces = (count: number) => Array.from({ length: count }, () => frameOf(FrameType.DATA, PIECE_BYTES));

/** Returns the sizes of the body pieces in these bytes. */
function dataIn(bytes: Buffer): number[] {
  const sizes: number[] = [];
  new FrameDecoder().read(bytes, { onFrame: () => {}, onBody: (_, __, start, end) => void sizes.push(end - start) });
  return sizes;
}

/** The app's response for the vector's RESPONSE. */
function responseOf({ status, flags = 0, reason, fields = [], length = 0 }: FrameVector): Response {
  const headers = new Headers();
  for (const [name, value] of fields) headers.append(name, value);
  const isWhole = (flags & 1) !== 0;
  if ((flags & 2) !== 0 && !isWhole) headers.set("content-length", String(length));
  const body = isWhole ? null : new ReadableStream({ pull: () => new Promise(() => {}) });
  return new Response(body, { status: status as number, statusText: reason as string, headers });
}

describe("an instance's end of a lane", () => {
  let responses: ResponseReader;

  beforeAll(async () => {
    await loadStreams();
    const prepared = await prepareResponses();
    responses = prepared.responses;
    return prepared.restore;
  });

  /** A lane after both HELLOs. */
  const greeted = (handler: FetchHandler) => {
    const bench = new LaneBench(responses, handler);
    bench.give(HELLO);
    expect(bench.socket.takeWithoutBusy().toString("hex")).toBe(OWN_HELLO);
    return bench;
  };

  it.each(named(VECTORS.frames, "RESPONSE"))("makes $name", async (frame) => {
    const bench = greeted(() => responseOf(frame));
    bench.give(GET);
    await turnEnd();
    const bytes = bench.socket.takeWithoutBusy();
    // The duration of the handler does not matter here.
    bytes.fill(0, 12, 16);
    expect(bytes.toString("hex")).toBe(frame.hex);
  });

  it.each([
    [vector("REQUEST, GET with a little window").hex, 8192],
    [GET, 65_536],
  ])("starts a response within the window that its request has", async (request, most) => {
    const bench = greeted(
      () => new Response(new ReadableStream({ pull: (to) => to.enqueue(new Uint8Array(100_000)) })),
    );
    bench.give(request);
    await turnEnd();
    const sizes = dataIn(bench.socket.takeWithoutBusy());
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(most);
  });

  it("sends a small body with its head even within a small window", async () => {
    const bench = greeted(() => new Response(new Uint8Array(16_384)));
    bench.give(vector("REQUEST, GET with a little window").hex);
    await turnEnd();
    expect(dataIn(bench.socket.takeWithoutBusy())).toEqual([16_384]);
  });

  it("marks the request whose handler it calls with its number on the lane, until the handler returns", async () => {
    const seen: string[] = [];
    const scoreboard = {
      enter: (lane: number, request: number) => seen.push(`lane ${lane} request ${request}`),
      leave: () => seen.push("none"),
    } as unknown as Scoreboard;
    const bench = new LaneBench(responses, () => new Response(`${seen.push("called")}`), scoreboard);
    bench.give(HELLO);
    bench.give(GET);
    await turnEnd();
    bench.give(GET);
    const [first, second] = [`lane ${LANE_NUMBER} request 1`, `lane ${LANE_NUMBER} request 2`];
    expect(seen).toEqual([first, "called", "none", second, "called", "none"]);
  });

  it("reads the lane between handlers that take long, so that a CANCEL behind them counts", async () => {
    const called: string[] = [];
    let nowMs = 1000;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => nowMs);
    const bench = greeted((request) => {
      called.push(new URL(request.url).pathname);
      nowMs += 5;
      return new Response(null);
    });
    const requestOn = (slot: number) => `${GET.slice(0, 8)}0${slot}000100${GET.slice(16)}`;
    const cancelOn = (slot: number) => `000000060${slot}000100`;
    try {
      bench.give([1, 2, 3, 4].map(requestOn).join(""));
      expect(called).toHaveLength(2);
      expect(bench.connection.isBehind).toBe(true);
      bench.give(cancelOn(4));
      await turnEnd();
      expect(called).toHaveLength(3);
      expect(bench.connection.isBehind).toBe(false);
      expect(bench.socket.takeWithoutBusy().toString("hex")).toContain("010000080400010000");
    } finally {
      clock.mockRestore();
    }
  });

  it("sends a text response with its head and its END", async () => {
    const bench = greeted(() => new Response("hello"));
    bench.give(GET);
    await turnEnd();
    const bytes = bench.socket.takeWithoutBusy();
    bytes.fill(0, 12, 16);
    expect(bytes.toString("hex")).toBe(vector("RESPONSE with a length").hex + vector("END with a last piece").hex);
  });

  it.each(named(VECTORS.frames, "REQUEST").filter(({ url }) => url !== undefined))(
    "reads the URL of $name",
    ({ hex, url }) => {
      const head = new LaneRequestHead(bytesOf(hex).toString("latin1", 8));
      expect(makeRequest(head, {} as RequestSource).url).toBe(url);
    },
  );

  it("gives the app the request that the frames describe", async () => {
    const seen: unknown[] = [];
    const bench = greeted(async (request) => {
      seen.push(request.method, request.url, request.headers.get("content-type"), await request.text());
      return new Response(null);
    });
    const post = vector("REQUEST, POST with a length").hex;
    bench.give(post, vector("DATA").hex, vector("DATA of no bytes").hex, vector("END with a last piece").hex);
    await turnEnd();
    expect(seen).toEqual(["POST", "http://a.example:81/form?x=1", "text/plain", "some byteshello"]);
  });

  it.each([
    ["CANCEL", true],
    ["WITHDRAW", true],
    ["CANCEL", false],
    ["WITHDRAW", false],
  ])("reports about a %s that arrived with its request: %s that the handler is not called", async (name, isAtOnce) => {
    let calls = 0;
    const bench = greeted((request) => {
      calls++;
      return new Promise<Response>((_, reject) => request.signal.addEventListener("abort", reject));
    });
    if (isAtOnce) bench.give(GET, vector(name).hex);
    else for (const hex of [GET, vector(name).hex]) bench.give(hex);
    await turnEnd();
    expect(calls).toBe(isAtOnce ? 0 : 1);
    const said = vector(isAtOnce ? "CANCELLED, not begun" : "CANCELLED, begun").hex;
    expect(bench.socket.takeWithoutBusy().toString("hex")).toContain(said);
    expect(bench.connection.active).toBe(!isAtOnce && name === "WITHDRAW" ? 1 : 0);
    bench.connection.onClose();
    await turnEnd();
  });

  it("replies to PING with PONG, and sends GOAWAY when it stops", () => {
    const bench = greeted(() => new Response(null));
    bench.give(vector("PING").hex);
    expect(bench.socket.takeWithoutBusy().toString("hex")).toBe(vector("PONG").hex);
    bench.connection.goaway();
    expect(bench.connection.owesGoaway).toBe(true);
    bench.give(vector("GOAWAY").hex);
    expect(bench.connection.owesGoaway).toBe(false);
    expect(bench.socket.takeWithoutBusy().toString("hex")).toBe(vector("GOAWAY").hex);
  });

  it("sends FAIL when a response's body fails", async () => {
    const bench = greeted(() => {
      const start = (controller: ReadableStreamDefaultController) => controller.error(new Error("no more"));
      return new Response(new ReadableStream({ start }));
    });
    bench.give(GET);
    await turnEnd();
    expect(bench.socket.takeWithoutBusy().toString("hex")).toMatch(new RegExp(`${vector("FAIL").hex}$`));
    expect(bench.errors).toEqual(["no more"]);
  });

  it.each([...VECTORS.refused.filter(({ by }) => by !== "balancer"), ...VECTORS.unreadable.slice(0, 3)])(
    "closes the lane for $name, reports why, and starts no request that arrived with it",
    async ({ hex, problem }) => {
      let calls = 0;
      const bench = greeted(() => {
        calls++;
        return new Response(null);
      });
      const post = vector("REQUEST, POST with a length").hex;
      // Requests on another slot than the broken one, before it and after it in the same read.
      const before = `${post.slice(0, 8)}05${post.slice(10)}`;
      bench.give(before, hex, post);
      bench.give(GET);
      await turnEnd();
      const said = bench.socket.takeWithoutBusy();
      expect(said[3]).toBe(FrameType.CLOSE);
      expect(said.toString("utf8", 8)).toContain(problem);
      expect(bench.socket.isEnded).toBe(true);
      expect(calls).toBe(0);
      expect(bench.errors).toEqual([expect.stringContaining(problem)]);
    },
  );

  it("closes the lane for a REQUEST on a slot that is in use", async () => {
    const bench = greeted(() => new Promise<Response>(() => {}));
    bench.give(GET);
    await turnEnd();
    bench.socket.takeWithoutBusy();
    // The same slot in its next use, although nothing ended the previous one.
    bench.give(`${GET.slice(0, 12)}02${GET.slice(14)}`);
    expect(bench.socket.takeWithoutBusy().toString("utf8", 8)).toBe("a request on a stream that is in use");
  });

  it.each([
    ["more than its window", true, () => [POST, ...pieces(WINDOW_PIECES + 1)]],
    ["as much as its window", false, () => [POST, ...pieces(WINDOW_PIECES)]],
    ["behind its end", true, () => [POST, frameOf(FrameType.END, 1), frameOf(FrameType.DATA, 1)]],
    ["of a request that has none", true, () => [GET, frameOf(FrameType.DATA, 1)]],
  ])("a body that is %s closes the lane: %s", async (_, isBroken, frames) => {
    const bench = greeted(() => new Promise<Response>(() => {}));
    bench.give(...frames());
    await turnEnd();
    expect(bench.errors.length > 0).toBe(isBroken);
    expect(bench.socket.isEnded).toBe(isBroken);
  });

  it("grants what it holds back of a body whose app waits for more, when it has much of other bodies", async () => {
    let isFirst = true;
    const bench = greeted(async ({ body }) => {
      if (isFirst) {
        isFirst = false;
        for await (const _ of body ?? []);
      }
      return await new Promise<Response>(() => {});
    });
    const granted = async () => {
      await turnEnd();
      const grants: number[] = [];
      new FrameDecoder().read(bench.socket.takeWithoutBusy(), {
        onFrame: (type, _, bytes, start) => void (type === FrameType.WINDOW && grants.push(bytes.readUInt32LE(start))),
        onBody: () => {},
      });
      return grants.reduce((sum, each) => sum + each, 0);
    };
    bench.give(POST);
    for (const piece of pieces(WINDOW_PIECES)) bench.give(piece);
    expect(await granted()).toBe(REQUEST_WINDOW_BYTES);
    for (const piece of pieces(2)) bench.give(piece);
    expect(await granted()).toBe(0);
    const others = (slot: number) =>
      [POST, ...pieces(WINDOW_PIECES)].map((hex) => `${hex.slice(0, 9)}${slot}${hex.slice(10)}`);
    for (const slot of [4, 5, 6]) bench.give(...others(slot));
    expect(await granted()).toBe(0);
    bench.give(...others(7));
    expect(await granted()).toBe(2 * PIECE_BYTES);
  });

  it.each([
    ["another version", `${HELLO.slice(0, 24)}05${HELLO.slice(26)}`, "version 5 of the lane"],
    ["a HELLO that is not of a lane", `${HELLO.slice(0, 16)}00${HELLO.slice(18)}`, "no HELLO at the start"],
    ["a REQUEST before HELLO", GET, "no HELLO at the start"],
    ["DATA before HELLO", vector("DATA").hex, "no HELLO at the start"],
  ])("closes the lane for %s", (_, hex, problem) => {
    const bench = new LaneBench(responses, () => new Response(null));
    bench.give(hex);
    expect(bench.socket.takeWithoutBusy().toString("latin1")).toContain(problem);
    expect(bench.socket.isEnded).toBe(true);
  });

  it("works with the next version of the lane, whose HELLO may be longer", async () => {
    const bench = new LaneBench(responses, () => new Response(null));
    const longer = (Number.parseInt(HELLO.slice(0, 2), 16) + 4).toString(16).padStart(2, "0");
    bench.give(`${longer}${HELLO.slice(2, 24)}04${HELLO.slice(26)}cafecafe`, GET);
    await turnEnd();
    expect(bench.errors).toEqual([]);
    expect(bench.socket.isEnded).toBe(false);
  });

  it("calls the handler of a request that is not idempotent only after the kernel has accepted its STARTED", async () => {
    let calls = 0;
    const bench = greeted(() => {
      calls++;
      return new Response(null);
    });
    bench.socket.room = 7;
    bench.give(vector("REQUEST, POST with a length").hex);
    await turnEnd();
    expect(calls).toBe(0);
    bench.socket.drain(1);
    expect(calls).toBe(1);
    expect(bench.socket.takeWithoutBusy().toString("hex")).toBe(vector("STARTED").hex);
  });

  it("responds with 500 if what a handler returns immediately cannot be sent", async () => {
    const bench = greeted(() => new Response("x", { headers: { "content-length": "many" } }));
    bench.give(GET);
    await turnEnd();
    expect(bench.socket.takeWithoutBusy().readUInt16LE(8)).toBe(500);
    expect(bench.errors).toEqual(["the response's Content-Length is not a number"]);
  });
});
