/** Trailers over a lane, on the side of the instance: what an app reads and adds. */
import { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import { FrameDecoder } from "@paceline/wire/lane/frame-decoder";
import { FrameType } from "@paceline/wire/lane/protocol";
import { beforeAll, expect, it } from "vitest";
import { vector } from "../../../wire/test/support/lane-vectors.js";
import { LaneBench, turnEnd } from "../../test/support/lane-bench.js";
import type { FetchHandler, RequestInfo } from "../shared/app.js";
import { loadStreams } from "./lane-connection.js";
import type { ResponseReader } from "./response-reader.js";
import { prepareResponses } from "./responses.js";

const HELLO = vector("HELLO of the balancer").hex;
/** The HELLO of a balancer that is older than TRAILERS. */
const OLDER = `${HELLO.slice(0, 24)}02${HELLO.slice(26)}`;
const TAKING = vector("REQUEST of a client that takes trailers").hex;
/** The same request with HEAD. */
const HEAD = `${TAKING.slice(0, 16)}03${TAKING.slice(18)}`;
const GET = vector("REQUEST, GET").hex;
const CHUNKED = vector("REQUEST, POST in chunks that waits for 100 Continue").hex;
const TRAILERS = vector("TRAILERS").hex;
const END = vector("END of no bytes").hex;
const DATA = vector("DATA").hex;

let responses: ResponseReader;

beforeAll(async () => {
  await loadStreams();
  const prepared = await prepareResponses();
  responses = prepared.responses;
  return prepared.restore;
});

function lane(handler: FetchHandler, hello = HELLO) {
  const bench = new LaneBench(responses, handler);
  bench.give(hello);
  bench.socket.takeWithoutBusy();
  return bench;
}

/** The frames of a response by type, with their payloads; the first entry says whether its RESPONSE has a length. */
function framesOf(bytes: Buffer): [string, string][] {
  const names = Object.entries(FrameType);
  const frames: [string, string][] = [];
  const put = (type: number, payload: string) => {
    const [name = ""] = names.find(([, number]) => number === type) ?? [];
    if (name !== "STARTED" && name !== "WINDOW") frames.push([name, payload]);
  };
  new FrameDecoder().read(bytes, {
    onFrame: (type, _, from, start, end) =>
      put(type, type === FrameType.RESPONSE ? `flags ${from[start + 2]}` : from.toString("latin1", start, end)),
    onBody: (_, from, start, end, isLast) =>
      put(isLast ? FrameType.END : FrameType.DATA, from.toString("latin1", start, end)),
  });
  return frames;
}

/** Resolves when the response was sent. */
async function over({ connection }: LaneBench): Promise<void> {
  for (let turns = 0; connection.active > 0 && turns < 10_000; turns++) await turnEnd();
  await turnEnd();
}

async function responseTo(request: string, handler: FetchHandler, hello = HELLO) {
  const bench = lane(handler, hello);
  bench.give(request);
  await over(bench);
  return { frames: framesOf(bench.socket.takeWithoutBusy()), errors: bench.errors };
}

async function* blocks(info: RequestInfo) {
  yield "a";
  info.addTrailers?.({ "X-Sum": "1" });
}

const WITHOUT_LENGTH: [string, string] = ["RESPONSE", "flags 0"];
const SUM: [string, string][] = [
  ["TRAILERS", "x-sum: 1\r\n"],
  ["END", ""],
];
const streamed: FetchHandler = (_, info) => new Response(blocks(info) as never);
const added =
  (make: () => Response): FetchHandler =>
  (_, info) => {
    info.addTrailers?.({ "X-Sum": "1" });
    return make();
  };

it.each<[string, FetchHandler]>([
  ["a stream, when it ends", streamed],
  ["a text, which then has no length", added(() => new Response("a"))],
  ["bytes", added(() => new Response(Buffer.from("a")))],
  ["a Blob", added(() => new Response(new Blob(["a"])))],
])("are sent after %s", async (_, handler) => {
  const { frames, errors } = await responseTo(TAKING, handler);
  expect({ frames, errors }).toEqual({ frames: [WITHOUT_LENGTH, ["DATA", "a"], ...SUM], errors: [] });
});

it.each<[string, string, string, FetchHandler]>([
  ["a client that does not take them, of a stream", GET, HELLO, streamed],
  ["a client that does not take them", GET, HELLO, added(() => new Response("a"))],
  ["an older balancer", TAKING, OLDER, streamed],
  ["HEAD", HEAD, HELLO, added(() => new Response("a"))],
  ["HEAD of a stream", HEAD, HELLO, streamed],
  ["a 204", TAKING, HELLO, added(() => new Response(null, { status: 204 }))],
  ["no body", TAKING, HELLO, added(() => new Response(null))],
  ["a Content-Length", TAKING, HELLO, added(() => new Response("a", { headers: { "content-length": "1" } }))],
])("are not sent with %s", async (_, request, hello, handler) => {
  const { frames, errors } = await responseTo(request, handler, hello);
  expect(frames.map(([name]) => name)).not.toContain("TRAILERS");
  expect(frames[0]?.[0]).toBe("RESPONSE");
  expect(errors).toEqual([]);
});

it("can be set in several calls, but not after the end", async () => {
  let late: RequestInfo | undefined;
  const { frames } = await responseTo(TAKING, (_, info) => {
    late = info;
    info.addTrailers?.({ a: "1" });
    info.addTrailers?.(new Headers({ b: "2", a: "3" }));
    return new Response("x");
  });
  expect(frames.at(-2)).toEqual(["TRAILERS", "a: 1\r\na: 3\r\nb: 2\r\n"]);
  late?.addTrailers?.({ c: "4" });
});

it.each<[string, Record<string, string>, RegExp]>([
  ["too many", Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`x-${n}`, "1"])), /more than 32 trailers/],
  ["too long", { a: "b".repeat(8192) }, /longer than 8192 bytes/],
  ["a name that is none", { "a b": "1" }, /./],
  ["a line end in a value", { a: "1\r\nb: 2" }, /./],
  ["a control character in a value", { a: "1\u0001" }, /./],
])("that cannot be sent are an error of the app: %s", async (_, fields, problem) => {
  const { frames, errors } = await responseTo(TAKING, (__, info) => {
    info.addTrailers?.(fields);
    return new Response("x");
  });
  expect(errors).toEqual([expect.stringMatching(problem)]);
  expect(frames.map(([name]) => name)).toEqual(["RESPONSE", "END"]);
});

it("too many of a stream fail the response", async () => {
  async function* endless(info: RequestInfo) {
    yield "a";
    for (;;) info.addTrailers?.({ a: "1" });
  }
  const { frames, errors } = await responseTo(TAKING, (_, info) => new Response(endless(info) as never));
  expect(frames).toEqual([WITHOUT_LENGTH, ["DATA", "a"], ["FAIL", ""]]);
  expect(errors).toEqual([expect.stringContaining("more than 32 trailers")]);
});

it("of a request are available when its body has arrived", async () => {
  const seen: unknown[] = [];
  const bench = lane(async (request, info) => {
    seen.push([...(info.trailers ?? [])]);
    seen.push(await request.text(), [...(info.trailers ?? [])]);
    return new Response(null);
  });
  bench.give(CHUNKED, DATA);
  await turnEnd();
  bench.give(TRAILERS, END);
  await over(bench);
  const trailers = [
    ["server-timing", "app;dur=5"],
    ["x-sum", "1"],
  ];
  expect({ seen, errors: bench.errors }).toEqual({ seen: [[], "some bytes", trailers], errors: [] });
});

/** On the stream of the vectors. */
function trailersFrame(lines: string): string {
  const frames = new FrameBuffer();
  frames.copy(FrameType.TRAILERS, 0x1_0003, Buffer.from(lines), 0, lines.length);
  return frames.take().toString("hex");
}

const PROBLEM = "trailers that its body does not allow";

it.each([
  ["twice", [CHUNKED, TRAILERS, TRAILERS], PROBLEM],
  ["after the end", [CHUNKED, END, TRAILERS], PROBLEM],
  ["of a request without a body", [GET, TRAILERS], PROBLEM],
  ["of an upgrade", [vector("REQUEST for an upgrade").hex, TRAILERS], PROBLEM],
  ["that are no lines", [CHUNKED, trailersFrame("x: 1\r\n\r\n")], PROBLEM],
  ["before more of the body", [CHUNKED, TRAILERS, DATA], "a body that its head or its window does not allow"],
])("of a request break the lane: %s", (_, frames, problem) => {
  const bench = lane(() => new Promise<Response>(() => {}));
  bench.give(...frames);
  expect(bench.errors).toEqual([expect.stringContaining(problem)]);
  expect(bench.socket.isEnded).toBe(true);
});
