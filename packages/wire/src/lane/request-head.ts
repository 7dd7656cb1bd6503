/** The payload of a REQUEST, written by the balancer and read by an instance; see docs/lane.md. Pure. */
import { putUint16, putUint24 } from "./protocol.js";

export const RequestFlag = {
  /** No body follows. */
  END: 1,
  /** May start before the balancer is notified, because it is safe to repeat (RFC 9110 §9.2.2). */
  IDEMPOTENT: 2,
  /** Requests an upgrade: after a 101 the stream is a tunnel. */
  UPGRADE: 4,
  /** Waits for 100 Continue before it sends its body. */
  EXPECTS: 8,
  /** The client requested another scheme or host than the balancer received: see X-Forwarded-Proto and -Host. */
  ELSEWHERE: 16,
  /** The balancer has little memory for the response: its window starts with LITTLE_WINDOW_BYTES. */
  LITTLE: 32,
} as const;

/** The methods that are sent as a number. 0 is any other method, whose name follows. */
const METHODS = ["", "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] as const;
const METHOD_CODES = new Map<string, number>(METHODS.map((method, code) => [method, code]));

/** The position of a REQUEST's text. */
export const REQUEST_TEXT = 10;
/** The size of a field's two lengths, which precede its name. */
export const FIELD_LENGTHS = 5;

/** Returns the number of a method; 0 for one that is sent by name. */
export function methodCode(method: string): number {
  return METHOD_CODES.get(method) ?? 0;
}

/** The fixed part of a REQUEST. */
interface RequestStart {
  code: number;
  flags: number;
  fields: number;
  target: number;
  host: number;
  /** The length of the method's name; 0 if it is sent as a number. */
  method: number;
}

export function putRequestStart(buffer: Uint8Array, at: number, start: RequestStart): void {
  buffer[at] = start.code;
  buffer[at + 1] = start.flags;
  putUint16(buffer, at + 2, start.fields);
  putUint24(buffer, at + 4, start.target);
  putUint16(buffer, at + 7, start.host);
  buffer[at + 9] = start.method;
}

/** Writes the lengths of a field's name and value. Returns the position after them, where both follow. */
export function putFieldLengths(buffer: Uint8Array, at: number, name: number, value: number): number {
  putUint16(buffer, at, name);
  putUint24(buffer, at + 2, value);
  return at + FIELD_LENGTHS;
}

/** A request's head as received: one text whose parts are read on demand. */
export class LaneRequestHead {
  constructor(
    /** The payload of a REQUEST, with one character per byte. */
    private readonly text: string,
  ) {}

  get isIdempotent(): boolean {
    return (this.flags & RequestFlag.IDEMPOTENT) !== 0;
  }

  get isUpgrade(): boolean {
    return (this.flags & RequestFlag.UPGRADE) !== 0;
  }

  /** Whether the client waits for 100 Continue. */
  get expectsContinue(): boolean {
    return (this.flags & RequestFlag.EXPECTS) !== 0;
  }

  /** Whether the client requested another scheme or host than the balancer received, by its fields. */
  get isElsewhere(): boolean {
    return (this.flags & RequestFlag.ELSEWHERE) !== 0;
  }

  /** Whether the response starts with a small window. */
  get isLittle(): boolean {
    return (this.flags & RequestFlag.LITTLE) !== 0;
  }

  /** Whether no body follows. */
  get isWhole(): boolean {
    return (this.flags & RequestFlag.END) !== 0;
  }

  private get flags(): number {
    return this.text.charCodeAt(1);
  }

  get length(): number {
    return this.text.length;
  }

  get method(): string {
    const { text } = this;
    const code = text.charCodeAt(0);
    return code > 0 && code < METHODS.length ? (METHODS[code] as string) : text.slice(REQUEST_TEXT, this.methodEnd);
  }

  /** Path and query; `*` for the server as a whole. */
  get target(): string {
    return this.text.slice(this.methodEnd, this.targetEnd);
  }

  /** The requested Host; empty if there was none. */
  get host(): string {
    return this.text.slice(this.targetEnd, this.hostEnd);
  }

  private get methodEnd(): number {
    return REQUEST_TEXT + this.text.charCodeAt(9);
  }

  private get targetEnd(): number {
    return this.methodEnd + uint24(this.text, 4);
  }

  private get hostEnd(): number {
    return this.targetEnd + uint16(this.text, 7);
  }

  /** Returns the value of a field by its lower-case name. Several with one name are joined (RFC 9110 §5.2). */
  get(name: string): string | null {
    if (name === "host") return this.host === "" ? null : this.host;
    const { text } = this;
    let found: string | null = null;
    for (let i = uint16(text, 2), at = this.hostEnd; i > 0; i--) {
      const nameLength = uint16(text, at);
      const valueLength = uint24(text, at + 2);
      at += FIELD_LENGTHS + nameLength + valueLength;
      if (nameLength !== name.length || !text.startsWith(name, at - nameLength - valueLength)) continue;
      const value = text.slice(at - valueLength, at);
      found = found === null ? value : `${found}${name === "cookie" ? "; " : ", "}${value}`;
    }
    return found;
  }

  /** Returns every field as received, with names in lower case, Host first. */
  pairs(): [string, string][] {
    const { text, host } = this;
    const pairs: [string, string][] = host === "" ? [] : [["host", host]];
    for (let i = uint16(text, 2), at = this.hostEnd; i > 0; i--) {
      const nameEnd = at + FIELD_LENGTHS + uint16(text, at);
      const valueEnd = nameEnd + uint24(text, at + 2);
      pairs.push([text.slice(at + FIELD_LENGTHS, nameEnd), text.slice(nameEnd, valueEnd)]);
      at = valueEnd;
    }
    return pairs;
  }

  /** Whether its lengths are consistent. If not, the head is invalid. */
  get isConsistent(): boolean {
    const { text } = this;
    if (text.charCodeAt(0) >= METHODS.length || (text.charCodeAt(0) === 0) !== text.charCodeAt(9) > 0) return false;
    let at = this.hostEnd;
    for (let i = uint16(text, 2); i > 0; i--) {
      if (at + FIELD_LENGTHS > text.length) return false;
      at += FIELD_LENGTHS + uint16(text, at) + uint24(text, at + 2);
    }
    return at === text.length;
  }
}

function uint16(text: string, at: number): number {
  return text.charCodeAt(at) | (text.charCodeAt(at + 1) << 8);
}

function uint24(text: string, at: number): number {
  return text.charCodeAt(at) | (text.charCodeAt(at + 1) << 8) | (text.charCodeAt(at + 2) << 16);
}
