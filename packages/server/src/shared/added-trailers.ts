/** The trailers that a fetch app adds to its response. */
import { areTrailerLines, MAX_TRAILER_BYTES, MAX_TRAILERS } from "@paceline/wire";
import type { RequestInfo } from "./app.js";

export type TrailerFields = Parameters<NonNullable<RequestInfo["addTrailers"]>>[0];

export class AddedTrailers {
  pairs: [string, string][] = [];
  /** `name: value` lines, each with its CRLF. */
  lines = "";

  /** @throws TypeError if they cannot be sent */
  add(fields: TrailerFields): void {
    const pairs = [...this.pairs, ...new Headers(fields as Headers)];
    const lines = pairs.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    if (pairs.length > MAX_TRAILERS) throw new TypeError(`the response has more than ${MAX_TRAILERS} trailers`);
    if (lines.length > MAX_TRAILER_BYTES)
      throw new TypeError(`the response's trailers are longer than ${MAX_TRAILER_BYTES} bytes`);
    if (lines !== "" && !areTrailerLines(lines))
      throw new TypeError("the response's trailers have a control character");
    this.pairs = pairs;
    this.lines = lines;
  }
}
