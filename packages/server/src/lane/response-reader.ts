/** How a response of a platform is taken apart. */
import type { FieldLines } from "@paceline/wire/lane/response-head";

export interface ResponseReader {
  isResponse(value: unknown): value is Response;
  /** The fields of its head. */
  fields(response: Response): FieldLines;
  /** A body that is there already, as it is; else a stream, or null for none. */
  body(response: Response): ResponseBody;
}

/** Text, bytes or a file, where the response was made with one; what comes block by block; or nothing. */
export type ResponseBody = string | Uint8Array | Blob | ReadableStream<Uint8Array> | AsyncIterable<unknown> | null;
