/** Trailers: their limits, who takes them, and their lines. Pure. */

/** What is read of the trailers of a request or response, in bytes with line ends, and how many fields of it pass. */
export const MAX_TRAILER_BYTES = 8192;
export const MAX_TRAILERS = 32;

/** In a TE field (RFC 9110 §10.1.4). With a weight of 0 they are refused (RFC 9110 §12.4.2). */
const TAKES_TRAILERS = /(?:^|[\s,])trailers(?![ \t]*;[ \t]*q=0(?:\.0*)?[ \t]*(?:$|,))(?=$|[\s,;])/i;

/** Whether a client with this TE field takes trailers. */
export function takesTrailers(te: string): boolean {
  return TAKES_TRAILERS.test(te);
}

const LINES = /^(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)+$/;

/** Whether this is `name: value` lines, each with its CRLF (RFC 9110 §5). */
export function areTrailerLines(text: string): boolean {
  return LINES.test(text);
}

/** Returns the names and values of valid lines. */
export function trailersOf(lines: string): [string, string][] {
  return lines
    .split("\r\n")
    .slice(0, -1)
    .map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
}
