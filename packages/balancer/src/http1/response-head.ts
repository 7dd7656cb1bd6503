/** Parses a response's head strictly (RFC 9112), and decides once how its body is framed. */
import { ascii, BYTE_CLASS, CR, IS_FIELD_VALUE, LF, parseDecimal, SPACE } from "./bytes.js";
import { ConnectionOption, FIELDS_INCOMPLETE, FieldKind, FieldTable } from "./field-table.js";
import { type Framing, HEAD_INCOMPLETE, HEAD_REFUSED } from "./request-head.js";

/** The maximum size of a head in bytes. It is larger than for clients: an app that sets many cookies is not an attack. */
export const MAX_RESPONSE_HEAD_BYTES = 65_536;
const MAX_RESPONSE_FIELDS = 256;
/** No class beyond 5xx is defined (RFC 9110 §15). */
const MAX_STATUS = 599;

const HTTP_1 = ascii("HTTP/1.");
const CHUNKED = ascii("chunked");

/** One response's head at a time; reused for the next response. */
export class ResponseHead {
  readonly fields = new FieldTable(MAX_RESPONSE_FIELDS);
  bytes: Uint8Array = new Uint8Array(0);
  status = 200;
  reasonStart = 0;
  reasonEnd = 0;
  framing: Framing = "none";
  /** The Content-Length, also of a response without a body (to HEAD, or 304); -1 if absent. */
  contentLength = -1;
  keepAlive = true;
  /** Whether our instance may continue to work on the request after the response. If so, it reports when it is done. */
  mayWorkOn = false;
  hasDate = false;
  /** Microseconds from the handler's call to its response, as reported on the lane; otherwise -1. */
  handlerMicros = -1;
  /** Further lines for the client, which are written once. */
  added: Uint8Array | undefined;
  /** Whether the upstream sent no reason of its own, so that the standard reason is used. */
  hasNoReason = false;

  /** Whether it is a 1xx before the final response. A 101 counts as final. */
  get isInterim(): boolean {
    return this.status < 200 && this.status !== 101;
  }

  /**
   * Parses one head from `start`.
   * @param toHead whether the request was a HEAD, whose response has no body
   */
  parse(bytes: Uint8Array, start: number, end: number, toHead: boolean): number {
    this.bytes = bytes;
    this.hasNoReason = false;
    this.handlerMicros = -1;
    const afterLine = this.parseStatusLine(bytes, start, end);
    const after = afterLine < 0 ? afterLine : this.fields.parse(bytes, afterLine, end);
    if (after === HEAD_INCOMPLETE || after === FIELDS_INCOMPLETE) {
      return end - start >= MAX_RESPONSE_HEAD_BYTES ? HEAD_REFUSED : HEAD_INCOMPLETE;
    }
    if (after < 0 || after - start > MAX_RESPONSE_HEAD_BYTES) return HEAD_REFUSED;
    return this.interpret(toHead) ? after : HEAD_REFUSED;
  }

  private parseStatusLine(bytes: Uint8Array, start: number, end: number): number {
    // Matches "HTTP/1.1 200", followed by a space and a reason, or by the end of the line.
    const known = Math.min(HTTP_1.length, end - start);
    for (let i = 0; i < known; i++) if (bytes[start + i] !== HTTP_1[i]) return HEAD_REFUSED;
    if (end - start < 14) return HEAD_INCOMPLETE;
    const minor = (bytes[start + 7] as number) - 48;
    if (minor !== 0 && minor !== 1) return HEAD_REFUSED;
    this.status = parseDecimal(bytes, start + 9, start + 12);
    if (bytes[start + 8] !== SPACE || this.status < 100 || this.status > MAX_STATUS) return HEAD_REFUSED;
    let at = start + 12;
    if (bytes[at] === SPACE) at++;
    else if (bytes[at] !== CR) return HEAD_REFUSED;
    this.reasonStart = at;
    while (at < end && ((BYTE_CLASS[bytes[at] as number] as number) & IS_FIELD_VALUE) !== 0) at++;
    if (at + 1 >= end) return HEAD_INCOMPLETE;
    if (bytes[at] !== CR || bytes[at + 1] !== LF) return HEAD_REFUSED;
    this.reasonEnd = at;
    this.keepAlive = minor === 1;
    return at + 2;
  }

  /**
   * Takes a head with known status, length and reason. Its fields are lines from `start` to `end`, including the empty line. Returns false
   * if the lines are invalid.
   */
  take(
    status: number,
    contentLength: number,
    bytes: Uint8Array,
    reasonStart: number,
    start: number,
    end: number,
    toHead: boolean,
  ): boolean {
    this.bytes = bytes;
    this.status = status;
    this.reasonStart = reasonStart;
    this.reasonEnd = start;
    this.hasNoReason = start === reasonStart;
    for (let i = reasonStart; i < start; i++)
      if (((BYTE_CLASS[bytes[i] as number] as number) & IS_FIELD_VALUE) === 0) return false;
    // The same limit as over HTTP/1.1; the buffer has room for it.
    if (end - reasonStart > MAX_RESPONSE_HEAD_BYTES || this.fields.parse(bytes, start, end) !== end) return false;
    this.contentLength = contentLength;
    this.keepAlive = true;
    this.hasDate = false;
    let connection = 0;
    for (let i = 0; i < this.fields.count; i++) {
      if (this.fields.kinds[i] === FieldKind.DATE) this.hasDate = true;
      else if (this.fields.kinds[i] === FieldKind.CONNECTION) connection |= this.fields.readConnection(i);
    }
    if ((connection & ConnectionOption.TOO_MANY) !== 0) return false;
    if (toHead || status < 200 || status === 204 || status === 304) this.framing = "none";
    else if (contentLength < 0) this.framing = "chunked";
    else this.framing = contentLength > 0 ? "length" : "none";
    return true;
  }

  private interpret(toHead: boolean): boolean {
    const { fields } = this;
    let lengths = 0;
    let codings = 0;
    let connection = 0;
    this.contentLength = -1;
    this.hasDate = false;
    for (let i = 0; i < fields.count; i++) {
      switch (fields.kinds[i]) {
        case FieldKind.CONTENT_LENGTH: {
          const length = parseDecimal(this.bytes, fields.valueStart(i), fields.valueEnd(i));
          if (length < 0 || (lengths++ > 0 && length !== this.contentLength)) return false;
          this.contentLength = length;
          break;
        }
        case FieldKind.TRANSFER_ENCODING:
          if (codings++ > 0 || !fields.valueIs(i, CHUNKED)) return false;
          break;
        case FieldKind.CONNECTION:
          connection |= fields.readConnection(i);
          break;
        case FieldKind.DATE:
          this.hasDate = true;
          break;
      }
    }
    if (codings > 0 && lengths > 0) return false;
    if ((connection & ConnectionOption.TOO_MANY) !== 0) return false;
    this.mayWorkOn = (connection & ConnectionOption.WORKING) !== 0;
    if ((connection & ConnectionOption.CLOSE) !== 0) this.keepAlive = false;
    // A chunked HTTP/1.0 response is read as chunked, but its connection is not reused (RFC 9112 §6.1).
    else if (!this.keepAlive) this.keepAlive = (connection & ConnectionOption.KEEP_ALIVE) !== 0 && codings === 0;
    if (toHead || this.status < 200 || this.status === 204 || this.status === 304) this.framing = "none";
    else if (codings > 0) this.framing = "chunked";
    else if (lengths > 0) this.framing = this.contentLength > 0 ? "length" : "none";
    else this.framing = "close";
    return true;
  }
}
