/** Messages assembled from a WebSocket's frames, and violations of RFC 6455. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ServerWebSocket } from "./index.js";
import { type Event, frameOf, isSendableCode, MessageReader, Opcode, WebSocketFault } from "./message-reader.js";

interface Draft {
  opcode: number;
  payload?: Uint8Array | string;
  isFinal?: boolean;
  isMasked?: boolean;
  reserved?: number;
}

/** A client's frame, valid or not. */
function clientFrame({ opcode, payload = "", isFinal = true, isMasked = true, reserved = 0 }: Draft): Buffer {
  const bytes = Buffer.from(payload as string);
  const plain = frameOf(opcode, bytes);
  const head = Buffer.from(plain.subarray(0, plain.length - bytes.length));
  head[0] = (isFinal ? 0x80 : 0) | (reserved << 4) | opcode;
  if (!isMasked) return Buffer.concat([head, bytes]);
  head[1] = (head[1] as number) | 0x80;
  const mask = Buffer.from([1, 2, 3, 250]);
  const masked = bytes.map((byte, at) => byte ^ (mask[at % 4] as number));
  return Buffer.concat([head, mask, masked]);
}

function read(frames: Buffer[], maxMessageBytes = 100_000): Event[] {
  return [...new MessageReader(maxMessageBytes).read(Buffer.concat(frames))];
}

function faultOf(frames: Buffer[], maxMessageBytes?: number): number | undefined {
  try {
    read(frames, maxMessageBytes);
    return undefined;
  } catch (error) {
    if (error instanceof WebSocketFault) return error.code;
    throw error;
  }
}

describe("messages", () => {
  it("are complete, whatever pieces they arrive in", () => {
    const message = fc.oneof(fc.string({ unit: "grapheme", maxLength: 300 }), fc.uint8Array({ maxLength: 70_000 }));
    const cuts = fc.array(fc.nat({ max: 70_000 }), { maxLength: 8 });
    fc.assert(
      fc.property(fc.array(fc.tuple(message, cuts), { maxLength: 5 }), cuts, (messages, pieces) => {
        const frames = messages.flatMap(([whole, at]) => framesOf(whole, at));
        const stream = Buffer.concat(frames);
        const reader = new MessageReader(70_000);
        const heard = split(stream, pieces).flatMap((piece) => [...reader.read(piece)]);
        const told = heard.filter((event) => event.kind === "message").map((event) => event.message);
        expect(told.map(plain)).toEqual(messages.map(([whole]) => plain(whole)));
      }),
      { numRuns: 60 },
    );
  });

  it("may have control frames between their parts", () => {
    const reader = new MessageReader(1000);
    const parts = [
      clientFrame({ opcode: Opcode.TEXT, payload: "one ", isFinal: false }),
      clientFrame({ opcode: Opcode.PING, payload: "o" }),
      clientFrame({ opcode: Opcode.PING, payload: "p" }),
      clientFrame({ opcode: Opcode.PONG }),
      clientFrame({ opcode: Opcode.CONTINUATION, payload: "two" }),
      clientFrame({ opcode: Opcode.CLOSE, payload: Buffer.from([0x0f, 0xa0, 0x62, 0x79, 0x65]) }),
    ];
    expect([...reader.read(Buffer.concat(parts))]).toEqual([
      { kind: "message", message: "one two" },
      { kind: "close", code: 4000, reason: "bye" },
    ]);
    // Only the last of them gets a pong.
    expect(reader.ping).toEqual(Buffer.from("p"));
  });

  it.each<[string, number, Draft[]]>([
    ["no mask", 1002, [{ opcode: Opcode.TEXT, isMasked: false }]],
    ["reserved bits", 1002, [{ opcode: Opcode.TEXT, reserved: 4 }]],
    ["an unknown data opcode", 1002, [{ opcode: 3 }]],
    ["an unknown control opcode", 1002, [{ opcode: 11 }]],
    ["a ping in parts", 1002, [{ opcode: Opcode.PING, isFinal: false }]],
    ["a long ping", 1002, [{ opcode: Opcode.PING, payload: "p".repeat(126) }]],
    ["a part of nothing", 1002, [{ opcode: Opcode.CONTINUATION }]],
    ["a message within another", 1002, [{ opcode: Opcode.TEXT, isFinal: false }, { opcode: Opcode.TEXT }]],
    ["text that is no UTF-8", 1007, [{ opcode: Opcode.TEXT, payload: new Uint8Array([0xc3, 0x28]) }]],
    ["a close code of one byte", 1002, [{ opcode: Opcode.CLOSE, payload: "x" }]],
    ["a close code that may not be sent", 1002, [{ opcode: Opcode.CLOSE, payload: new Uint8Array([0x03, 0xee]) }]],
    ["a reason that is no UTF-8", 1007, [{ opcode: Opcode.CLOSE, payload: new Uint8Array([0x03, 0xe8, 0xff]) }]],
  ])("%s: fault %i", (_, code, drafts) => {
    expect(faultOf(drafts.map(clientFrame))).toBe(code);
  });

  it.each([
    ["pings", [], { opcode: Opcode.PING }],
    ["empty messages", [], { opcode: Opcode.TEXT }],
    ["pongs", [], { opcode: Opcode.PONG }],
  ])("that arrive with thousands of %s are read in several turns", (_, before, draft) => {
    const frame = clientFrame(draft);
    let frames = 0;
    const reader = new MessageReader(1000, () => ++frames % 200 === 0);
    const bytes = Buffer.concat([...before.map(clientFrame), ...Array.from({ length: 800 }, () => frame)]);
    const events = [...reader.read(bytes)];
    const turns = events.flatMap(({ kind }, at) => (kind === "turn" ? [at] : []));
    expect(turns).toHaveLength(4);
  });

  it("may have empty parts, but not an unlimited number", () => {
    const empty = clientFrame({ opcode: Opcode.CONTINUATION, isFinal: false });
    const first = clientFrame({ opcode: Opcode.TEXT, isFinal: false });
    const last = clientFrame({ opcode: Opcode.CONTINUATION, payload: "a" });
    const withEmpty = (count: number) => [first, ...Array.from({ length: count }, () => empty), last];
    expect(faultOf([...withEmpty(900), ...withEmpty(900)])).toBeUndefined();
    expect(faultOf(withEmpty(1100))).toBe(1009);
  });

  it("are limited: in one frame by its header alone, in several parts by their sum", () => {
    const part = (isFinal: boolean, opcode: number = Opcode.CONTINUATION) =>
      clientFrame({ opcode, payload: "a".repeat(50), isFinal });
    expect(faultOf([clientFrame({ opcode: Opcode.TEXT, payload: "a".repeat(100) })], 100)).toBeUndefined();
    expect(faultOf([clientFrame({ opcode: Opcode.TEXT, payload: "a".repeat(101) }).subarray(0, 6)], 100)).toBe(1009);
    expect(faultOf([part(false, Opcode.TEXT), part(true)], 100)).toBeUndefined();
    expect(faultOf([part(false, Opcode.TEXT), part(false), part(true)], 100)).toBe(1009);
  });

  it.each([
    [999, false],
    [1000, true],
    [1003, true],
    [1004, false],
    [1005, false],
    [1006, false],
    [1007, true],
    [1014, true],
    [1015, false],
    [2999, false],
    [3000, true],
    [4999, true],
    [5000, false],
  ])("the code %i may be sent: %s", (code, may) => {
    expect(isSendableCode(code)).toBe(may);
  });
});

function plain(message: string | Uint8Array): string | number[] {
  return typeof message === "string" ? message : [...message];
}

function split(bytes: Buffer, cuts: number[]): Buffer[] {
  const at = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, n) => bytes.subarray(at[n], end));
}

function framesOf(message: string | Uint8Array, cuts: number[]): Buffer[] {
  const opcode = typeof message === "string" ? Opcode.TEXT : Opcode.BINARY;
  const parts = split(Buffer.from(message as string), cuts);
  return parts.map((payload, n) =>
    clientFrame({ opcode: n === 0 ? opcode : Opcode.CONTINUATION, payload, isFinal: n === parts.length - 1 }),
  );
}

it("the buffer of a read with thousands of pings is freed when it is used up, and not left to the garbage collector", async () => {
  const pings = Array.from({ length: 10_000 }, () => clientFrame({ opcode: Opcode.PING }));
  const reads = [Buffer.concat(pings), Buffer.concat([clientFrame({ opcode: Opcode.TEXT, payload: "end" }), ...pings])];
  const own = reads.map((read) => new Uint8Array(read));
  const sent: number[] = [];
  const socket = new ServerWebSocket(
    {
      response: new Response(),
      readable: new ReadableStream({
        pull: (controller) => {
          const next = own[sent.length];
          sent.push(0);
          if (next === undefined) controller.close();
          else controller.enqueue(next);
        },
      }),
      writable: new WritableStream(),
    },
    {},
  );
  const messages: unknown[] = [];
  for await (const message of socket) messages.push(message);
  expect([messages, own.map(({ length }) => length)]).toEqual([["end"], [0, 0]]);
});
