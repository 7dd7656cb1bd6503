/** A request's head as it came over the lane: one text, of which each part is read when it is asked for. */
import { METHODS, REQUEST_TEXT, RequestFlag } from "./protocol.js";

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
      at += 5 + nameLength + valueLength;
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
      const nameEnd = at + 5 + uint16(text, at);
      const valueEnd = nameEnd + uint24(text, at + 2);
      pairs.push([text.slice(at + 5, nameEnd), text.slice(nameEnd, valueEnd)]);
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
      if (at + 5 > text.length) return false;
      at += 5 + uint16(text, at) + uint24(text, at + 2);
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
