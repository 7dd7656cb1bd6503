/**
 * What an instance keeps in shared memory about the request it is running, for balancers to read while its handler keeps it from
 * speaking; see "The scoreboard" in docs/lane.md.
 */
import { fs } from "../proc/bun-memory.js";
import { readUint32 } from "./protocol.js";

/** So many lanes have a word of their own. */
const MAX_LANE_NUMBER = 1022;

/** The words that belong to no lane, and the first of those that do. */
const LANE_AT = 0;
const REQUEST_AT = 1;
const STARTED_AT = 2;
const WORDS = STARTED_AT + MAX_LANE_NUMBER;
const WORD_BYTES = 4;

/** Where an instance has its scoreboard, by its socket. */
export function scoreboardPath(socket: string): string {
  return `${socket.replace(/\.sock$/, "")}.scoreboard`;
}

/** The instance's end. */
export class Scoreboard {
  private constructor(private readonly words: Uint32Array) {}

  /**
   * Makes the file, of mode 0600, in which no handler was called yet; false where there is no shared memory (Node), or no
   * room for it. From here on a balancer may read it.
   */
  static async makeFile(path: string): Promise<boolean> {
    if (typeof Bun === "undefined") return false;
    try {
      await Bun.write(path, new Uint8Array(WORD_BYTES * WORDS), { mode: 0o600 });
      return true;
    } catch {
      // Without it the balancers go by what they heard.
      return false;
    }
  }

  /** The scoreboard in the file that was made; undefined where it cannot be mapped, and then there is no file any more. */
  static map(path: string): Scoreboard | undefined {
    try {
      const { buffer, byteOffset } = Bun.mmap(path, { shared: true });
      return new Scoreboard(new Uint32Array(buffer, byteOffset, WORDS));
    } catch {
      removeScoreboard(path);
      return undefined;
    }
  }

  /** The handler of a lane's request is called now. */
  enter(lane: number, request: number): void {
    const { words } = this;
    words[STARTED_AT + lane - 1] = request;
    words[REQUEST_AT] = request;
    words[LANE_AT] = lane;
  }

  /** It has returned. */
  leave(): void {
    this.words[LANE_AT] = 0;
  }

  /** A lane has this number from now on. */
  clear(lane: number): void {
    this.words[STARTED_AT + lane - 1] = 0;
  }
}

export function removeScoreboard(path: string): void {
  try {
    fs().unlinkSync(path);
  } catch {
    // The supervisor was faster.
  }
}

/** Numbers the lanes that are open, from 1, for their words in the scoreboard. */
export class LaneNumbers {
  private next = 1;
  private readonly free: number[] = [];

  /** 0 when all are in use. */
  take(): number {
    const again = this.free.pop();
    if (again !== undefined) return again;
    return this.next > MAX_LANE_NUMBER ? 0 : this.next++;
  }

  giveBack(number: number): void {
    if (number > 0) this.free.push(number);
  }
}

/** What an instance was running when its scoreboard was read; requests are numbered in the order in which their lane brought them, from 1. */
export type RunningWork = {
  /** Of this lane's requests it has called those up to this one. */
  started: number;
} & (
  | { /** It is calling the handler of a request of this lane. */ on: "ours"; request: number }
  /** It is calling the handler of a request of another lane. */
  | { on: "another" }
  /** It is calling none. */
  | { on: "none" }
);

/**
 * The balancer's end. Undefined where it cannot be read.
 * @param lane the number that the instance gave this lane in its HELLO; 0 when it keeps no scoreboard.
 */
export function readScoreboard(socketPath: string, lane: number): RunningWork | undefined {
  if (lane === 0) return undefined;
  const { closeSync, openSync, readSync } = fs();
  const running = Buffer.alloc(2 * WORD_BYTES);
  const lastStarted = Buffer.alloc(WORD_BYTES);
  try {
    // Read when an instance is taken for stalled, which is seldom: no descriptor for each instance is kept for it.
    const file = openSync(scoreboardPath(socketPath), "r");
    try {
      if (
        readSync(file, running, 0, running.length, 0) < running.length ||
        readSync(file, lastStarted, 0, WORD_BYTES, WORD_BYTES * (STARTED_AT + lane - 1)) < WORD_BYTES
      )
        return undefined;
    } finally {
      closeSync(file);
    }
  } catch {
    // Not there: the instance has ended, or could make none. What is known without it will do.
    return undefined;
  }
  const at = readUint32(running, WORD_BYTES * LANE_AT);
  const started = readUint32(lastStarted, 0);
  if (at === lane) return { on: "ours", started, request: readUint32(running, WORD_BYTES * REQUEST_AT) };
  return { on: at === 0 ? "none" : "another", started };
}
