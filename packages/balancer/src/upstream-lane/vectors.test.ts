import { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import { FrameType, readUint32 } from "@paceline/wire/lane/protocol";
import { describe, expect, it } from "vitest";
import { type FrameVector, VECTORS, vector } from "../../../wire/test/support/lane-vectors.js";
import { Asked, FORWARDED, LaneBench, requestHead, turnEnd } from "../../test/support/lane-bench.js";
import { ForwardedFields } from "../http1/forwarded.js";
import { putRequest } from "./request-encoder.js";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/** The stream of every vector: the fourth slot, in its second use. */
const STREAM = 0x1_0003;

const bytesOf = (hex: string) => Buffer.from(hex, "hex");

/** Builds the vector's REQUEST from its HTTP/1.1 text. */
function encode({ stream, http1 = "", told, isLittle }: FrameVector): string {
  const frames = new FrameBuffer();
  const forwarded = told === undefined ? FORWARDED : new ForwardedFields(told, true, true);
  putRequest(frames, stream, requestHead(http1), forwarded, told !== undefined, undefined, isLittle);
  return frames.take().toString("hex");
}

/** A lane with a request in flight on STREAM. */
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
  it.each(VECTORS.frames.filter(({ http1 }) => http1 !== undefined))("writes $name", (frame) => {
    expect(encode(frame)).toBe(frame.hex);
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

  it("assembles a response from its frames", async () => {
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
    expect(readUint32(connection.take(), 4)).toBe(0x2_0003);
  });

  it("discards frames for an earlier use of a slot", async () => {
    const { asked, others, bench, give } = await underWay();
    asked.stream.cancel();
    const next = bench.ask(GET);
    for (const { hex, type } of VECTORS.frames.filter((frame) => frame.from !== "balancer"))
      if (!["HELLO", "PONG", "GOAWAY", "CLOSE"].includes(type)) give(hex);
    for (const { heads, loss, body } of [asked, next, ...others]) expect({ heads, loss, body }).toEqual(NOTHING);
    expect(bench.problems).toEqual([]);
    expect(STREAM & 0xffff).toBe(3);
  });

  it.each(VECTORS.refused.filter(({ by }) => by !== "instance"))(
    "closes the lane for $name, and reports why",
    async ({ hex, problem }) => {
      const { bench, connection, asked, others, give } = await underWay();
      give(hex + vector("RESPONSE with a length").hex + vector("END with a last piece").hex);
      expect(bench.problems).toEqual([expect.stringContaining(problem)]);
      const last = connection.take();
      expect(last[3]).toBe(FrameType.CLOSE);
      expect(last.toString("utf8", 8)).toContain(problem);
      expect(connection.isClosed).toBe(true);
      expect(["closed", "broken"]).toContain(asked.loss);
      for (const { loss } of others) expect(loss).toBe("closed");
      for (const { heads } of [asked, ...others]) expect(heads).toEqual([]);
    },
  );

  it.each(VECTORS.unfit)("rejects only the response for $name: the lane stays open", async ({ hex }) => {
    const { bench, connection, asked, others, give } = await underWay();
    give(hex + vector("END with a last piece").hex);
    expect(bench.problems).toEqual([expect.stringMatching(/responded with (?:a head that is not valid|the status )/)]);
    expect(asked).toMatchObject({ heads: [], loss: "broken" });
    await turnEnd();
    expect(connection.take().toString("hex")).toBe(vector("CANCEL").hex);
    expect(connection.isClosed).toBe(false);
    for (const { loss } of others) expect(loss).toBeUndefined();
  });
});

const NOTHING = { heads: [], loss: undefined, body: "" };
