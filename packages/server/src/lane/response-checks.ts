/** What an app may put into the head of a response, though no head can have it: told to the app, as an error of its own. */

/** The balancer takes heads of 64 KB; with room for what is put before and behind the fields. */
const MAX_FIELDS_BYTES = 65_536 - 1024;
/** As many as the balancer takes, with room for its own. */
const MAX_FIELDS = 240;
/** A line of a field has five bytes at least. */
const LEAST_LINE_BYTES = 5;
/** What the platform lets an app put into a value, and a head must not have (RFC 9110 §5.5). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNSENDABLE = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/;
const REASON = /^[\t\x20-\x7e\x80-\xff]*$/;

/** @throws TypeError when these lines cannot be sent */
export function checkFields(lines: string): void {
  if (lines.length > MAX_FIELDS_BYTES) throw new TypeError("the response's fields are too long");
  if (lines.length > LEAST_LINE_BYTES * MAX_FIELDS && lines.split("\r\n").length > MAX_FIELDS) {
    throw new TypeError("the response has too many fields");
  }
  if (UNSENDABLE.test(lines)) throw new TypeError("the response's fields contain a control character");
}

/** The reason, where it can be sent: Bun takes any text for it, and nobody needs one. */
export function sendableReason(text: string): string {
  return text === "" || REASON.test(text) ? text : "";
}
