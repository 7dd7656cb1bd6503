/** How a helper in an app learns what an answer was made with, though instance and app each load this package for themselves. */

/** A method of the classes that stand in for the platform's Response: the body that was there when it was made. */
export const KEPT_BODY = Symbol.for("paceline.keptBody");

/** Text, bytes or a file. */
export type KeptBody = string | Uint8Array | Blob;

/** What the answer was made with; undefined where nobody remembers, it comes block by block, or it was read. */
export function keptBody(response: Response): KeptBody | undefined {
  return (response as { [KEPT_BODY]?(): KeptBody | undefined })[KEPT_BODY]?.();
}
