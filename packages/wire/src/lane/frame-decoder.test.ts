import fc from "fast-check";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { hold, holdEqual } from "../../../../test/support/hold.js";
import { anyFrame, cut, frameBytes } from "../../test/support/lane-frames.js";
import { FrameDecoder } from "./frame-decoder.js";
import { FRAME_HEADER_BYTES, FrameType } from "./protocol.js";

/** Returns a decoder's results for these reads, with the pieces of each body frame joined. */
function decode(reads: readonly Buffer[]) {
  const decoder = new FrameDecoder();
  const events: { type: number; id: number; bytes: string }[] = [];
  let body: { type: number; id: number; bytes: string } | undefined;
  let isRead = true;
  let told = 0;
  for (const read of reads) {
    const before = told;
    const wasBroken = decoder.problem !== "";
    const bytesRead = Buffer.from(read);
    isRead = decoder.read(bytesRead, {
      onFrame(type, id, bytes, start, end) {
        told++;
        body = undefined;
        events.push({ type, id, bytes: Buffer.from(bytes.subarray(start, end)).toString("hex") });
      },
      onBody(id, bytes, start, end, isLast) {
        told++;
        const hex = Buffer.from(bytes.subarray(start, end)).toString("hex");
        if (body?.id !== id) {
          body = { type: FrameType.DATA, id, bytes: "" };
          events.push(body);
        }
        body.bytes += hex;
        if (!isLast) return;
        body.type = FrameType.END;
        body = undefined;
      },
    });
    // The transport frees the buffer of a read.
    bytesRead.fill(0);
    holdEqual(isRead, decoder.problem === "");
    if (wasBroken) holdEqual(told, before);
    // Nothing is reported twice: a frame takes at least the bytes of its header, and a piece of a body at least one byte.
    hold(told - before <= read.length + FRAME_HEADER_BYTES + 1, "nothing is reported twice");
  }
  return { events, problem: decoder.problem };
}

const frames = fc.array(anyFrame, { maxLength: 12 });
const sizes = fc.array(fc.nat(40), { minLength: 1, maxLength: 8 });

describe("the lane's decoder", () => {
  it("reports the same, wherever the reads split the bytes", () => {
    fc.assert(
      fc.property(frames, sizes, (sent, chunks) => {
        const bytes = Buffer.concat(sent.map(frameBytes));
        fc.pre(chunks.some((size) => size > 0));
        const whole = decode([bytes]);
        expect(whole.problem).toBe("");
        expect(decode(cut(bytes, chunks))).toEqual(whole);
      }),
    );
  });

  it("reports the same for one split, at any byte", () => {
    fc.assert(
      fc.property(fc.array(anyFrame, { minLength: 1, maxLength: 3 }), (sent) => {
        const bytes = Buffer.concat(sent.map(frameBytes));
        const whole = decode([bytes]);
        for (let at = 0; at <= bytes.length; at++)
          holdEqual(decode([bytes.subarray(0, at), bytes.subarray(at)]), whole);
      }),
      { numRuns: 30 },
    );
  });

  it("reports everything that was sent, in order", () => {
    fc.assert(
      fc.property(frames, sizes, (sent, chunks) => {
        fc.pre(chunks.some((size) => size > 0));
        const told = decode(cut(Buffer.concat(sent.map(frameBytes)), chunks)).events;
        const of = (id: number, isBody: boolean) => (event: { type: number; id: number }) =>
          event.id === id && (event.type === FrameType.DATA || event.type === FrameType.END) === isBody;
        for (const { id } of sent) {
          const bodies = (list: { bytes: string }[]) => list.map(({ bytes }) => bytes).join("");
          const hex = sent.map(({ type, id: each, payload }) => ({
            type: type as number,
            id: each,
            bytes: Buffer.from(payload).toString("hex"),
          }));
          holdEqual(told.filter(of(id, false)), hex.filter(of(id, false)));
          holdEqual(bodies(told.filter(of(id, true))), bodies(hex.filter(of(id, true))));
        }
      }),
    );
  });

  it("reads bytes that are not a lane to a problem or to nothing, the same wherever they are split", () => {
    const garbage = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc
        .tuple(frames, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }))
        .map(([sent, changes]) => {
          const bytes = Buffer.concat(sent.map(frameBytes));
          for (const [at, value] of changes) if (bytes.length > 0) bytes[at % bytes.length] = value;
          return bytes;
        }),
    );
    fc.assert(
      fc.property(garbage, sizes, (bytes, chunks) => {
        fc.pre(chunks.some((size) => size > 0));
        expect(decode(cut(bytes, chunks))).toEqual(decode([Buffer.from(bytes)]));
      }),
      { numRuns: 500 },
    );
  });

  it("allocates once for a frame that arrives byte by byte", () => {
    const bytes = frameBytes({ type: FrameType.RESPONSE, id: 7, payload: Buffer.alloc(100_000, "x") });
    const room = vi.spyOn(Buffer, "allocUnsafeSlow");
    onTestFinished(() => room.mockRestore());
    const { events } = decode(Array.from(bytes, (byte) => Buffer.from([byte])));
    expect(events.map(({ id, bytes }) => [id, bytes.length])).toEqual([[7, 200_000]]);
    expect(room.mock.calls.length).toBeLessThan(5);
  });
});
