/** Sets a platform's Request and Response up for the lane. */
import { TAKES_FILES } from "../kinds/static/lent-file.js";
import type { AnswerReader } from "./response-reader.js";
import { answersOnBun } from "./responses-bun.js";
import { adoptRequests } from "./web-classes.js";

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
