/** How the response of an app is read: its head as it can be sent, and its body block by block. */
import type { FieldLines } from "@paceline/wire/lane/response-head";
import { type BlockSource, toBytes } from "../shared/blocks.js";
import { isTurnOver, nextTurn } from "../shared/turn-share.js";

export interface ResponseReader {
  isResponse(value: unknown): value is Response;
  /** The fields of its head. */
  fields(response: Response): FieldLines;
  /** A body that is there already, as it is; else a stream, or null for none. */
  body(response: Response): ResponseBody;
}

/** Text, bytes or a file, where the response was made with one; what comes block by block; or nothing. */
export type ResponseBody = string | Uint8Array | Blob | ReadableStream<Uint8Array> | AsyncIterable<unknown> | null;

/** How the blocks leave. */
export interface BlockWriter {
  /** False: wait for `drained` before the next. */
  write(block: Uint8Array): boolean;
  drained(): Promise<void>;
  endBody(): void;
  failed(error: unknown): void;
}

/** One block ahead of what the lane takes, and no further. Resolves when all was written or has failed; `isLeft` tells that the writer wants no more. */
export async function writeBlocks(source: BlockSource, writer: BlockWriter, isLeft: () => boolean): Promise<void> {
  try {
    for (;;) {
      const { done, value } = await source.next();
      if (isLeft()) return;
      if (done) return writer.endBody();
      const block = toBytes(value);
      if (block.length > 0 && !writer.write(block)) await writer.drained();
      // Those that always have their next block ready would leave the others no turn.
      else if (isTurnOver()) await nextTurn();
      if (isLeft()) return;
    }
  } catch (error) {
    if (!isLeft()) writer.failed(error);
  }
}

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

/** @throws TypeError, which is told to the app as an error of its own, when these lines cannot be sent */
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
