/** How a helper in an app learns when an answer has left, where the platform sends it by itself. */

/** A method of `info`: whether the answer has left or its client has gone; undefined where nobody can say. */
export const HAS_ENDED = Symbol.for("paceline.hasEnded");

export function hasEnded(info: object): boolean | undefined {
  return (info as { [HAS_ENDED]?(): boolean | undefined })[HAS_ENDED]?.();
}
