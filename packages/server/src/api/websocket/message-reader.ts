/** Assembles a WebSocket client's messages from its frames and enforces RFC 6455. Pure. */

/** The opcodes of frames (RFC 6455 §5.2). */
export const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

/** A protocol error of the client, with the code for the Close frame (§7.4.1). */
export class WebSocketFault extends Error {
  override readonly name = "WebSocketFault";

  constructor(
    readonly code: 1002 | 1007 | 1009,
    message: string,
  ) {
    super(message);
  }
}

interface Frame {
  opcode: number;
  isFinal: boolean;
  payload: Buffer;
}

/** The maximum head of a client's frame: two bytes, an 8-byte length, a 4-byte mask. */
const MAX_HEAD_BYTES = 14;
const MAX_CONTROL_BYTES = 125;
const NOTHING = Buffer.alloc(0);

/** Reads a client's frames from pieces of any size. */
class FrameReader {
  private readonly head = Buffer.alloc(MAX_HEAD_BYTES);
  private headLength = 0;
  private payload: Buffer | undefined;
  private payloadLength = 0;
  /** The offset of the mask in a complete head. */
  private maskAt = 0;

  /** @param maxFrameBytes a longer frame is refused before memory is allocated for it */
  constructor(private readonly maxFrameBytes: number) {}

  /** Yields the frames completed by these bytes. @throws WebSocketFault */
  *read(bytes: Uint8Array): Generator<Frame, void> {
    let at = 0;
    while (at < bytes.length) {
      at = this.payload === undefined ? this.readHead(bytes, at) : this.readPayload(bytes, at);
      if (this.isWhole) yield this.take();
    }
  }

  private get isWhole(): boolean {
    return this.payload !== undefined && this.payloadLength === this.payload.length;
  }

  private readHead(bytes: Uint8Array, from: number): number {
    const { head } = this;
    let at = from;
    while (at < bytes.length && this.payload === undefined) {
      head[this.headLength++] = bytes[at++] as number;
      if (this.headLength === 2) this.check();
      if (this.headLength >= 2 && this.headLength === this.wholeHeadLength()) this.endHead();
    }
    return at;
  }

  private wholeHeadLength(): number {
    const short = (this.head[1] as number) & 0x7f;
    return 2 + (short === 127 ? 8 : short === 126 ? 2 : 0) + 4;
  }

  /** Checks the first two bytes. */
  private check(): void {
    const [first = 0, second = 0] = this.head;
    const opcode = first & 0x0f;
    const short = second & 0x7f;
    const isControl = opcode >= Opcode.CLOSE;
    if ((first & 0x70) !== 0) throw new WebSocketFault(1002, "reserved bits are set");
    if (opcode > Opcode.PONG || (opcode > Opcode.BINARY && !isControl)) {
      throw new WebSocketFault(1002, `the opcode ${opcode} is unknown`);
    }
    if ((second & 0x80) === 0) throw new WebSocketFault(1002, "a frame is not masked");
    if (isControl && ((first & 0x80) === 0 || short > MAX_CONTROL_BYTES)) {
      throw new WebSocketFault(1002, "a control frame is in parts, or too long");
    }
  }

  private endHead(): void {
    const { head } = this;
    const short = (head[1] as number) & 0x7f;
    const length = short === 127 ? Number(head.readBigUInt64BE(2)) : short === 126 ? head.readUInt16BE(2) : short;
    const isControl = ((head[0] as number) & 0x08) !== 0;
    if (length > this.maxFrameBytes && !isControl) throw new WebSocketFault(1009, "the message is too long");
    this.maskAt = this.headLength - 4;
    this.payload = length === 0 ? NOTHING : Buffer.allocUnsafe(length);
    this.payloadLength = 0;
  }

  private readPayload(bytes: Uint8Array, from: number): number {
    const { head, maskAt } = this;
    const payload = this.payload as Buffer;
    const count = Math.min(bytes.length - from, payload.length - this.payloadLength);
    for (let i = 0, at = this.payloadLength; i < count; i++, at++) {
      payload[at] = (bytes[from + i] as number) ^ (head[maskAt + (at & 3)] as number);
    }
    this.payloadLength += count;
    return from + count;
  }

  private take(): Frame {
    const first = this.head[0] as number;
    const frame = { opcode: first & 0x0f, isFinal: (first & 0x80) !== 0, payload: this.payload as Buffer };
    this.payload = undefined;
    this.headLength = 0;
    return frame;
  }
}

/** Builds a frame as sent by a server: final and unmasked. */
export function frameOf(opcode: number, payload: Uint8Array): Buffer {
  const { length } = payload;
  const headLength = length > 0xffff ? 10 : length > MAX_CONTROL_BYTES ? 4 : 2;
  const frame = Buffer.allocUnsafe(headLength + length);
  frame[0] = 0x80 | opcode;
  if (headLength === 2) frame[1] = length;
  else if (headLength === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  frame.set(payload, headLength);
  return frame;
}

export type Event =
  | { kind: "message"; message: string | Uint8Array }
  | { kind: "close"; code: number; reason: string }
  /** Many frames arrived together: yields to other connections. */
  | { kind: "turn" };

/** The maximum number of empty parts of a message. They take time, and no limit on the length stops them. */
const MAX_EMPTY_PARTS = 1000;

/** The Close frame had no code (§7.4.1). */
export const NO_STATUS = 1005;

export class MessageReader {
  private readonly frames: FrameReader;
  /** The current message: its opcode and its parts, in a buffer that doubles. */
  private opcode: number = Opcode.CONTINUATION;
  private parts: Buffer = NOTHING;
  private length = 0;
  private emptyParts = 0;
  /** The last unanswered ping. A read may contain thousands, and one pong is enough (RFC 6455 §5.5.3). */
  ping: Uint8Array | undefined;

  /** @param isTurnOver called for each frame, because a read may contain thousands of pings or empty parts */
  constructor(
    private readonly maxMessageBytes: number,
    private readonly isTurnOver: () => boolean = () => false,
  ) {
    this.frames = new FrameReader(maxMessageBytes);
  }

  /** Yields the events that the bytes complete. @throws WebSocketFault */
  *read(bytes: Uint8Array): Generator<Event, void> {
    for (const frame of this.frames.read(bytes)) {
      const event = this.event(frame);
      if (event !== undefined) yield event;
      if (this.isTurnOver()) yield TURN;
    }
  }

  private event(frame: Frame): Event | undefined {
    switch (frame.opcode) {
      case Opcode.PING:
        this.ping = frame.payload;
        return undefined;
      case Opcode.PONG:
        return undefined;
      case Opcode.CLOSE:
        return closeOf(frame.payload);
      default:
        return this.data(frame);
    }
  }

  private data({ opcode, isFinal, payload }: Frame): Event | undefined {
    if ((opcode === Opcode.CONTINUATION) === (this.opcode === Opcode.CONTINUATION)) {
      throw new WebSocketFault(1002, "the parts of two messages are mixed");
    }
    if (opcode !== Opcode.CONTINUATION) this.opcode = opcode;
    if (payload.length === 0 && !isFinal && ++this.emptyParts > MAX_EMPTY_PARTS) {
      throw new WebSocketFault(1009, "the message has too many empty parts");
    }
    // A message in one piece is passed on without a copy.
    const whole = isFinal && this.length === 0 ? payload : this.joined(payload);
    if (!isFinal) return undefined;
    const isText = this.opcode === Opcode.TEXT;
    this.opcode = Opcode.CONTINUATION;
    this.parts = NOTHING;
    this.length = 0;
    this.emptyParts = 0;
    return { kind: "message", message: isText ? textOf(whole) : whole };
  }

  /** Returns all parts joined, including this one. */
  private joined(payload: Buffer): Buffer {
    const length = this.length + payload.length;
    if (length > this.maxMessageBytes) throw new WebSocketFault(1009, "the message is too long");
    if (length > this.parts.length) {
      const larger = Buffer.allocUnsafe(Math.max(length, 2 * this.parts.length));
      this.parts.copy(larger, 0, 0, this.length);
      this.parts = larger;
    }
    payload.copy(this.parts, this.length);
    this.length = length;
    return this.parts.subarray(0, length);
  }
}

const TURN: Event = { kind: "turn" };
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function textOf(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new WebSocketFault(1007, "the text is not valid UTF-8");
  }
}

function closeOf(payload: Buffer): Event {
  if (payload.length === 0) return { kind: "close", code: NO_STATUS, reason: "" };
  const code = payload.length === 1 ? 0 : payload.readUInt16BE(0);
  if (!isSendableCode(code)) throw new WebSocketFault(1002, "the close code is invalid");
  return { kind: "close", code, reason: textOf(payload.subarray(2)) };
}

/** Returns whether a code may be sent (§7.4): registered codes, and those for libraries and apps. */
export function isSendableCode(code: number): boolean {
  if (code >= 3000) return code <= 4999;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}
