/** The payload of a REQUEST, as the balancer writes it and an instance reads it; see docs/lane.md. Pure. */
import { putUint16, putUint24 } from "./protocol.js";

export const RequestFlag = {
  /** No body follows. */
  END: 1,
  /** May be started before the balancer knows of it, since it may be sent twice (RFC 9110 §9.2.2). */
  IDEMPOTENT: 2,
  /** Asks for an upgrade: after a 101 the stream is a tunnel. */
  UPGRADE: 4,
  /** Waits for 100 Continue before it sends its body. */
  EXPECTS: 8,
  /** The client asked for another scheme or host than the balancer was: X-Forwarded-Proto and -Host say which. */
  ELSEWHERE: 16,
} as const;

/** The methods that travel as a number; 0 stands for any other, whose name follows. */
const METHODS = ["", "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] as const;
const METHOD_CODES = new Map<string, number>(METHODS.map((method, code) => [method, code]));

/** Where the text of a REQUEST begins. */
export const REQUEST_TEXT = 10;
/** The bytes of a field's lengths, before its name. */
export const FIELD_LENGTHS = 5;

/** The number of a method; 0 for one that travels by its name. */
export function methodCode(method: string): number {
  return METHOD_CODES.get(method) ?? 0;
}

/** What stands before the text of a REQUEST. */
interface RequestStart {
  code: number;
  flags: number;
  fields: number;
  target: number;
  host: number;
  /** The length of the method's name; 0 where its number says it. */
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

/** Writes how a field begins, the lengths of its name and its value; returns the position after them, where both follow. */
export function putFieldLengths(buffer: Uint8Array, at: number, name: number, value: number): number {
  putUint16(buffer, at, name);
  putUint24(buffer, at + 2, value);
  return at + FIELD_LENGTHS;
}

/** A request's head as it came: one text, of which each part is read when it is asked for. */
export class LaneRequestHead {
  constructor(
    /** The payload of a REQUEST, a character for each byte. */
    private readonly text: string,
  ) {}

  get isIdempotent(): boolean {
    return (this.flags & RequestFlag.IDEMPOTENT) !== 0;
  }

  get isUpgrade(): boolean {
    return (this.flags & RequestFlag.UPGRADE) !== 0;
  }

  /** Whether the client waits for 100 Continue before it sends the body. */
  get expectsContinue(): boolean {
    return (this.flags & RequestFlag.EXPECTS) !== 0;
  }

  /** Whether the client asked for another scheme or host than the balancer was, as fields tell. */
  get isElsewhere(): boolean {
    return (this.flags & RequestFlag.ELSEWHERE) !== 0;
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

  /** The path and the query; `*` for the server itself. */
  get target(): string {
    return this.text.slice(this.methodEnd, this.targetEnd);
  }

  /** The Host that the client asked for; empty when it named none. */
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

  /** The value of a field by its lower-case name; several of one name are joined (RFC 9110 §5.2). */
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

  /** Every field as it came, names in lower case, Host first. */
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

  /** Whether its lengths fit together; what does not fit is no head. */
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
