/** The one shape of the helpers that stand around a handler. */
import type { FetchHandler } from "../../shared/app.js";

/** Takes a handler, gives one that does more: `compression()(handler)`. */
export type Wrapper = (handler: FetchHandler) => FetchHandler;

/** Calls a handler, and what follows its response at once where the response is there at once. */
export function answered(
  result: Response | Promise<Response>,
  next: (response: Response) => Response | Promise<Response>,
): Response | Promise<Response> {
  return result instanceof Response ? next(result) : Promise.resolve(result).then(next);
}
