import { describe, expect, it } from "vitest";
import { Asked, FORWARDED, LaneBench, requestHead, turnEnd } from "../../test/support/lane-bench.js";
import { type FrameVector, VECTORS, vector } from "../../test/support/lane-vectors.js";
import { ForwardedFields } from "../http1/forwarded.js";
import { LaneDecoder, uint32 } from "./decoder.js";
import { LaneEncoder } from "./encoder.js";
import { Frame, LANE_VERSION, MAGIC } from "./protocol.js";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/** Every vector's stream: the fourth slot, in its second use. */
const STREAM = 0x1_0003;

const bytesOf = (hex: string) => Buffer.from(hex, "hex");
const from = (side: string) => VECTORS.frames.filter((frame) => frame.from === side || frame.from === "both");

/** Makes the frame again from what the vector says of it. */
function encode({ type, stream, http1, told, text, number }: FrameVector): string {
  const encoder = new LaneEncoder();
  const code = Frame[type as keyof typeof Frame];
  if (type === "HELLO") encoder.hello(LANE_VERSION, MAGIC, 65_536);
  else if (http1 !== undefined) {
    const forwarded = told === undefined ? FORWARDED : new ForwardedFields(told, true, true);
    encoder.request(stream, requestHead(http1), forwarded, told !== undefined);
  } else if (number !== undefined) encoder.number(code, stream, number);
  else if (text !== undefined) encoder.bytes(code, stream, Buffer.from(text), 0, Buffer.byteLength(text));
  else encoder.empty(code, stream);
  return Buffer.from(encoder.take()).toString("hex");
}

/** A lane on which a request is under way on STREAM. */
async function underWay() {
  const bench = new LaneBench(8);
  const others = [0, 1, 2].map(() => bench.ask(GET));
  const former = bench.ask(GET);
  const connection = bench.transport.accept();
  connection.owner.onData(bytesOf(vector("HELLO of an instance").hex));
  former.stream.cancel();
  const asked = new Asked(bench.link, GET);
  await turnEnd();
  connection.take();
  const give = (hex: string) => void connection.owner.onData(bytesOf(hex));
  return { bench, connection, asked, others, give };
}

describe("the balancer's end of a lane", () => {
  it.each(from("balancer"))("makes $name", (frame) => {
    expect(encode(frame)).toBe(frame.hex);
  });

  it.each(VECTORS.frames)("cuts out $name", ({ type, stream, hex, text, number, byte }) => {
    const bytes = bytesOf(hex);
    const heard: unknown[] = [];
    const decoder = new LaneDecoder();
    const isRead = decoder.read(bytes, {
      onFrame: (...[kind, id, at, start, end]) => heard.push([kind, id, Buffer.from(at.subarray(start, end))]),
      onBody: (id, at, start, end, isLast) =>
        heard.push([isLast ? Frame.END : Frame.DATA, id, Buffer.from(at.subarray(start, end))]),
    });
    expect(isRead).toBe(true);
    expect(heard).toEqual([[Frame[type as keyof typeof Frame], stream, bytes.subarray(8)]]);
    if (text !== undefined) expect(bytes.toString("utf8", 8)).toBe(text);
    if (number !== undefined) expect(uint32(bytes, 8)).toBe(number);
    if (byte !== undefined) expect(bytes[8]).toBe(byte);
  });

  it.each(VECTORS.frames.filter(({ type }) => type === "RESPONSE"))("reads $name", async (frame) => {
    const { asked, give } = await underWay();
    give(frame.hex);
    const { status = 0, length = 0, flags = 0, reason = "", fields = [] } = frame;
    const contentLength = (flags & 2) === 0 ? -1 : length;
    const framing = status === 204 || contentLength === 0 ? "none" : contentLength < 0 ? "chunked" : "length";
    expect(asked.heads).toEqual([{ status, contentLength, framing, reason, fields }]);
    expect(asked.isEnded).toBe((flags & 1) !== 0);
  });

  it("puts an answer together from its frames", async () => {
    const { asked, others, give } = await underWay();
    give(vector("RESPONSE without a length").hex);
    for (const name of ["DATA", "DATA of no bytes", "END with a last piece"]) give(vector(name).hex);
    expect(asked).toMatchObject({ body: "some byteshello", isEnded: true });
    expect(others.every(({ heads }) => heads.length === 0)).toBe(true);
  });

  it("numbers its streams by slot and use", async () => {
    const { connection, bench, asked } = await underWay();
    asked.stream.cancel();
    await turnEnd();
    expect(connection.take().toString("hex")).toBe(vector("CANCEL").hex);
    bench.ask(GET);
    await turnEnd();
    expect(uint32(connection.take(), 4)).toBe(0x2_0003);
  });

  it("drops what comes for an earlier use of a slot", async () => {
    const { asked, others, bench, give } = await underWay();
    asked.stream.cancel();
    const next = bench.ask(GET);
    for (const { hex, type } of from("instance")) if (!["HELLO", "PONG", "GOAWAY", "CLOSE"].includes(type)) give(hex);
    for (const { heads, loss, body } of [asked, next, ...others]) expect({ heads, loss, body }).toEqual(NOTHING);
    expect(bench.problems).toEqual([]);
    expect(STREAM & 0xffff).toBe(3);
  });

  it.each(VECTORS.unreadable)("does not read $name, nor anything after it", ({ hex, problem }) => {
    const decoder = new LaneDecoder();
    const sink = { onFrame: () => expect.unreachable(), onBody: () => expect.unreachable() };
    expect(decoder.read(bytesOf(hex), sink)).toBe(false);
    expect(decoder.problem).toBe(problem);
    expect(decoder.read(bytesOf(vector("GOAWAY").hex), sink)).toBe(false);
  });

  it.each(VECTORS.refused.filter(({ by }) => by !== "instance"))(
    "closes the lane for $name, and says why",
    async ({ hex, problem }) => {
      const { bench, connection, asked, others, give } = await underWay();
      give(hex + vector("RESPONSE with a length").hex + vector("END with a last piece").hex);
      expect(bench.problems).toEqual([expect.stringContaining(problem)]);
      const last = connection.take();
      expect(last[3]).toBe(Frame.CLOSE);
      expect(last.toString("utf8", 8)).toContain(problem);
      expect(connection.isClosed).toBe(true);
      expect(["lost", "broken"]).toContain(asked.loss);
      for (const { loss } of others) expect(loss).toBe("lost");
      for (const { heads } of [asked, ...others]) expect(heads).toEqual([]);
    },
  );

  it.each(VECTORS.unfit)("refuses the answer alone for $name: the lane goes on", async ({ hex }) => {
    const { bench, connection, asked, others, give } = await underWay();
    give(hex + vector("END with a last piece").hex);
    expect(bench.problems).toEqual([expect.stringContaining("a head that is not valid")]);
    expect(asked).toMatchObject({ heads: [], loss: "broken" });
    await turnEnd();
    expect(connection.take().toString("hex")).toBe(vector("CANCEL").hex);
    expect(connection.isClosed).toBe(false);
    for (const { loss } of others) expect(loss).toBeUndefined();
  });
});

const NOTHING = { heads: [], loss: undefined, body: "" };
