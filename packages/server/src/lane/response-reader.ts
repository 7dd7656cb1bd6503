/** Reads an app's response: its head in the form for the lane, and its body in blocks. */
import type { FieldLines } from "@paceline/wire/lane/response-head";
import { type BlockSource, toBytes } from "../shared/blocks.js";
import { isTurnOver, nextShare } from "../shared/turn-share.js";

export interface ResponseReader {
  /** Called before the first request. */
  onFirstRequest?(): void;
  isResponse(value: unknown): value is Response;
  /** Returns the fields of its head. */
  fields(response: Response): FieldLines;
  /** Returns a body in memory unchanged; otherwise a stream, or null if there is none. */
  body(response: Response): ResponseBody;
}

/** Text, bytes or a file, if the response was created with one; a stream of blocks; or nothing. */
export type ResponseBody = string | Uint8Array | Blob | ReadableStream<Uint8Array> | AsyncIterable<unknown> | null;

/** The receiver of the blocks. */
export interface BlockWriter {
  /** Returns the part of a block that may be sent. */
  fit(block: Uint8Array): Uint8Array;
  /** Returns false if the caller must wait for `drained`. */
  write(block: Uint8Array): boolean;
  drained(): Promise<void>;
  /** Called if the next block is always ready, so that several may be sent together. */
  hasten(): void;
  endBody(): void;
  failed(error: unknown): void;
}

/** Reads at most one block ahead of the lane. Resolves when everything was written, or when the body has failed. `isLeft` cancels it. */
export async function writeBlocks(source: BlockSource, writer: BlockWriter, isLeft: () => boolean): Promise<void> {
  try {
    for (;;) {
      const { done, value } = await source.next();
      if (isLeft()) return;
      if (done) return writer.endBody();
      const whole = toBytes(value);
      const block = writer.fit(whole);
      if (block.length > 0 && !writer.write(block)) await writer.drained();
      // A body whose next block is always ready would block the others.
      else if (isTurnOver()) {
        writer.hasten();
        await nextShare();
      }
      if (isLeft()) return;
      if (block !== whole) {
        source.cancel();
        return writer.endBody();
      }
    }
  } catch (error) {
    if (!isLeft()) writer.failed(error);
  }
}

/**
 * Returns the status if a final response may have it. `Response.error()` has 0, a response from `fetch` what its server sent, and that
 * of a subclass is any value.
 * @throws TypeError for the app otherwise
 */
export function checkedStatus(status: unknown): number {
  if (Number.isInteger(status) && (status as number) >= 200 && (status as number) <= 599) return status as number;
  throw new TypeError(`the response's status is ${describe(status)}, not a number from 200 to 599`);
}

function describe(status: unknown): string {
  return typeof status === "number" ? `${status}` : `of type ${typeof status}`;
}

const CODED = /^content-encoding: (?!identity)/im;

/** Whether the body has a coding. Its length may be another one: `fetch` decodes a body, but keeps both fields. */
export function isCoded(lines: string): boolean {
  return CODED.test(lines);
}

/** The balancer accepts heads of 64 KB. A part of that is reserved for the rest of the head. */
const MAX_FIELDS_BYTES = 65_536 - 1024;
/** The balancer's limit, minus room for its own fields. */
const MAX_FIELDS = 240;
/** The minimum length of a field line, in bytes. */
const LEAST_LINE_BYTES = 5;
/** Characters that the platform allows in a value, but a head must not contain (RFC 9110 §5.5). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the expression is meant to match control characters
const UNSENDABLE = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/;
const REASON = /^[\t\x20-\x7e\x80-\xff]*$/;

/** The last lines that were found valid, because many responses have the same ones. */
let lastChecked = "";

/** @throws TypeError for the app if these lines cannot be sent */
export function checkFields(lines: string): void {
  if (lines === lastChecked) return;
  if (lines.length > MAX_FIELDS_BYTES) {
    throw new TypeError(`the response's fields have ${lines.length} bytes, more than the limit of ${MAX_FIELDS_BYTES}`);
  }
  if (lines.length > LEAST_LINE_BYTES * MAX_FIELDS) {
    const count = lines.split("\r\n").length - 1;
    if (count > MAX_FIELDS)
      throw new TypeError(`the response has ${count} fields, more than the limit of ${MAX_FIELDS}`);
  }
  if (UNSENDABLE.test(lines)) throw new TypeError("the response's fields contain a control character");
  lastChecked = lines;
}

/** Returns the reason phrase if it can be sent. Bun allows any text, and the phrase is optional. */
export function sendableReason(text: unknown): string {
  return typeof text === "string" && REASON.test(text) ? text : "";
}
