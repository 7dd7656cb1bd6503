/**
 * The positions of the access log's fields in a request's head. They are noted while the head is parsed, because only its bytes are kept
 * afterwards.
 */
import { ascii, CR, equalsIgnoringCase } from "../http1/bytes.js";
import { FieldKind } from "../http1/field-table.js";
import type { RequestHead } from "../http1/request-head.js";

const REFERER = ascii("referer");
const USER_AGENT = ascii("user-agent");
/** ` HTTP/1.1` at the end of a request line. */
const VERSION_BYTES = 9;
const CRLF_BYTES = 2;

/** The fields that are searched for, as indices into `positions`. */
export const LOGGED = { LINE: 0, TARGET: 2, HOST: 4, REFERER: 6, USER_AGENT: 8, REQUEST_ID: 10 } as const;

export class LoggedHead {
  /** Whether the request is not logged unless it fails. Its fields are not noted then. */
  isOmitted = false;
  method = "";
  minorVersion = 1;
  /** Whether the client speaks HTTP/2. The head is then kept in the form of HTTP/1.1. */
  isHttp2 = false;
  /**
   * Start and end of each field, relative to the start of the head, whose bytes may be copied elsewhere. The end is 0 if the field
   * is missing.
   */
  readonly positions = new Int32Array(12);

  /**
   * @param head undefined: the request is omitted
   * @param start where the head begins in its bytes
   * @param end where it ends, after the empty line
   */
  note(head: RequestHead | undefined, start: number, end: number): void {
    this.isOmitted = head === undefined;
    if (head === undefined) return;
    const { positions } = this;
    const { fields } = head;
    const { bytes, count } = fields;
    this.method = head.method;
    this.minorVersion = head.minorVersion;
    positions[LOGGED.REFERER + 1] = positions[LOGGED.USER_AGENT + 1] = positions[LOGGED.REQUEST_ID + 1] = 0;
    const line = bytes[start] === CR ? CRLF_BYTES : 0;
    const lineEnd = (count > 0 ? fields.nameStart(0) : end - CRLF_BYTES) - CRLF_BYTES - start;
    positions[LOGGED.LINE] = line;
    positions[LOGGED.LINE + 1] = lineEnd;
    positions[LOGGED.TARGET] = line + head.method.length + 1;
    positions[LOGGED.TARGET + 1] = lineEnd - VERSION_BYTES;
    positions[LOGGED.HOST] = head.hostEnd === 0 ? 0 : head.hostStart - start;
    positions[LOGGED.HOST + 1] = head.hostEnd === 0 ? 0 : head.hostEnd - start;
    for (let i = 0; i < count; i++) {
      const nameStart = fields.nameStart(i);
      const nameEnd = fields.nameEnd(i);
      const length = nameEnd - nameStart;
      let field: number = LOGGED.REQUEST_ID;
      if (length === REFERER.length && equalsIgnoringCase(bytes, nameStart, nameEnd, REFERER)) field = LOGGED.REFERER;
      else if (length === USER_AGENT.length && equalsIgnoringCase(bytes, nameStart, nameEnd, USER_AGENT))
        field = LOGGED.USER_AGENT;
      else if (fields.kinds[i] !== FieldKind.REQUEST_ID) continue;
      // Of several fields with one name, only the first is logged.
      if (positions[field + 1] !== 0) continue;
      positions[field] = fields.valueStart(i) - start;
      positions[field + 1] = fields.valueEnd(i) - start;
    }
  }
}
