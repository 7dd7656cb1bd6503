/** The seam between the lane and a platform's Response: how an answer is taken apart. */

import type { FieldLines } from "@paceline/wire/lane/field-lines";
import { TAKES_FILES } from "../kinds/static/lent-file.js";
import { answersOnBun } from "./responses-bun.js";
import { adoptRequests } from "./web-classes.js";

export interface AnswerReader {
  isAnswer(value: unknown): value is Response;
  /** The fields of its head. */
  fields(response: Response): FieldLines;
  /** A body that is there already, as it is; else a stream, or null for none. */
  body(response: Response): AnswerBody;
}

/** Text, bytes or a file, where the answer was made with one; what comes block by block; or nothing. */
export type AnswerBody = string | Uint8Array | Blob | ReadableStream<Uint8Array> | AsyncIterable<unknown> | null;

/**
 * Sets the platform's classes up for the lane, before the app is loaded. `restore` undoes it, for an app that turns out
 * to need none of it.
 */
export async function prepareAnswers(): Promise<{ answers: AnswerReader; restore(): void }> {
  const { Request, Response, fetch } = globalThis;
  adoptRequests();
  const answers =
    process.versions.bun === undefined ? (await import("./responses-node.js")).answersOnNode() : answersOnBun();
  Object.defineProperty(globalThis.Response, TAKES_FILES, { value: true });
  return { answers, restore: () => Object.assign(globalThis, { Request, Response, fetch }) };
}
