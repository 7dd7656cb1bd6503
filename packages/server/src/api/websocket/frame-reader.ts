/** Reads the frames that a WebSocket client sends (RFC 6455 §5), in pieces of any size. Pure: no sockets. */

export const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

/** What the client did wrong, with the code that the Close frame tells it (§7.4.1). */
export class WebSocketFault extends Error {
  override readonly name = "WebSocketFault";

  constructor(
    readonly code: 1002 | 1007 | 1009,
    message: string,
  ) {
    super(message);
  }
}

export interface Frame {
  opcode: number;
  isFinal: boolean;
  payload: Buffer;
}

/** The longest head that a client's frame has: two bytes, a length of eight, a mask of four. */
const MAX_HEAD_BYTES = 14;
const MAX_CONTROL_BYTES = 125;
const NOTHING = Buffer.alloc(0);

export class FrameReader {
  private readonly head = Buffer.alloc(MAX_HEAD_BYTES);
  private headLength = 0;
  private payload: Buffer | undefined;
  private payloadLength = 0;
  /** Offset of the mask in the head, once the head is whole. */
  private maskAt = 0;

  /** @param maxFrameBytes a frame that says it is longer is refused before room is made for it. */
  constructor(private readonly maxFrameBytes: number) {}

  /** The frames that are whole with these bytes. @throws WebSocketFault */
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

  /** Refuses what its first two bytes make wrong. */
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

/** A frame as a server sends it: whole and not masked. */
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
