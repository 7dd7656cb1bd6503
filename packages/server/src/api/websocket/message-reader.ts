/** Puts the messages of a WebSocket client together from its frames, and holds them to the rules of RFC 6455. Pure. */
import { type Frame, FrameReader, Opcode, WebSocketFault } from "./frame-reader.js";

export type Event =
  | { kind: "message"; message: string | Uint8Array }
  | { kind: "close"; code: number; reason: string }
  /** Many frames came together: the others have their turn before the next. */
  | { kind: "turn" };

/** Empty parts that a message may have: they take time, and no bound on its length ends them. */
const MAX_EMPTY_PARTS = 1000;

/** No code was told (§7.4.1). */
export const NO_STATUS = 1005;

export class MessageReader {
  private readonly frames: FrameReader;
  /** Of the message that has begun: its opcode, and its parts so far, in a buffer that doubles as they come. */
  private opcode: number = Opcode.CONTINUATION;
  private parts: Buffer = NOTHING;
  private length = 0;
  private emptyParts = 0;
  /** The last ping, until it is answered: one read may bring thousands, and the last is enough (RFC 6455 §5.5.3). */
  ping: Uint8Array | undefined;

  /** @param isTurnOver called for each frame: a read may bring thousands of pings or of empty parts. */
  constructor(
    private readonly maxMessageBytes: number,
    private readonly isTurnOver: () => boolean = () => false,
  ) {
    this.frames = new FrameReader(maxMessageBytes);
  }

  /** What these bytes bring. @throws WebSocketFault */
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
    // One that came in one piece is given on as it is.
    const whole = isFinal && this.length === 0 ? payload : this.joined(payload);
    if (!isFinal) return undefined;
    const isText = this.opcode === Opcode.TEXT;
    this.opcode = Opcode.CONTINUATION;
    this.parts = NOTHING;
    this.length = 0;
    this.emptyParts = 0;
    return { kind: "message", message: isText ? textOf(whole) : whole };
  }

  /** All parts so far, with this one. */
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

const NOTHING = Buffer.alloc(0);
const TURN: Event = { kind: "turn" };
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function textOf(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new WebSocketFault(1007, "the text is no UTF-8");
  }
}

function closeOf(payload: Buffer): Event {
  if (payload.length === 0) return { kind: "close", code: NO_STATUS, reason: "" };
  const code = payload.length === 1 ? 0 : payload.readUInt16BE(0);
  if (!isSendableCode(code)) throw new WebSocketFault(1002, "the close code is invalid");
  return { kind: "close", code, reason: textOf(payload.subarray(2)) };
}

/** Codes that may be on the wire (§7.4): those that are registered, and those left to libraries and apps. */
export function isSendableCode(code: number): boolean {
  if (code >= 3000) return code <= 4999;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}
