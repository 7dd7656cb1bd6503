/** Tells in shared memory whose handler is being called, for balancers to read while it keeps us from speaking (docs/lane.md). */
import { unlinkSync, writeFileSync } from "node:fs";
import { MAX_LANE_NUMBER } from "./lane-numbers.js";

const LANE_AT = 0;
const REQUEST_AT = 1;
/** The words of the lanes begin here, with that of lane 1. */
const CALLED_AT = 2;
const WORDS = CALLED_AT + MAX_LANE_NUMBER;

export class WorkMark {
  private constructor(private readonly words: Uint32Array) {}

  /**
   * Makes the file, of mode 0600, in which no handler was called yet; false where there is no shared memory (Node), or no
   * room for it. From here on a balancer may read it.
   */
  static makeFile(path: string): boolean {
    if (typeof Bun === "undefined") return false;
    try {
      writeFileSync(path, new Uint8Array(4 * WORDS), { mode: 0o600, flag: "wx" });
      return true;
    } catch {
      // Without it the balancers go by what they heard.
      return false;
    }
  }

  /** The mark in the file that was made; undefined where it cannot be mapped, and then there is no file any more. */
  static map(path: string): WorkMark | undefined {
    try {
      const { buffer, byteOffset } = Bun.mmap(path, { shared: true });
      return new WorkMark(new Uint32Array(buffer, byteOffset, WORDS));
    } catch {
      removeMark(path);
      return undefined;
    }
  }

  /** The handler of a lane's request is called now. */
  enter(lane: number, request: number): void {
    const { words } = this;
    words[CALLED_AT + lane - 1] = request;
    words[REQUEST_AT] = request;
    words[LANE_AT] = lane;
  }

  /** It has returned. */
  leave(): void {
    this.words[LANE_AT] = 0;
  }

  /** A lane has this number from now on. */
  clear(lane: number): void {
    this.words[CALLED_AT + lane - 1] = 0;
  }
}

export function removeMark(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // The supervisor was faster.
  }
}
