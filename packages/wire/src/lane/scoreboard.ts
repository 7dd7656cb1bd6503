/**
 * The shared memory in which an instance records the request that it is running, so that balancers can read it while the handler blocks the
 * event loop; see "The scoreboard" in docs/lane.md. Also the names of the files through which balancers share counts.
 */
import { fs } from "../proc/bun-memory.js";
import { readUint32 } from "./protocol.js";

/** The number of lanes that have a word of their own. */
const MAX_LANE_NUMBER = 1022;

/** The number of words that belong to no lane, and the first word that belongs to one. */
const LANE_AT = 0;
const REQUEST_AT = 1;
const STARTED_AT = 2;
const WORDS = STARTED_AT + MAX_LANE_NUMBER;
const WORD_BYTES = 4;

/** Returns the path of an instance's scoreboard, derived from its socket. */
export function scoreboardPath(socket: string): string {
  return `${socket.replace(/\.sock$/, "")}.scoreboard`;
}

/** The suffix of the files through which balancers share counts. */
export const COUNTS_SUFFIX = ".counts";

/** Returns the path of a balancer's counts file, for example for `balancer.1#3`. */
export function countsPath(folder: string, id: string): string {
  return `${folder}/${id}${COUNTS_SUFFIX}`;
}

/** Maps a file into memory. Returns undefined without shared memory (Node), or if it fails. */
function mapWords(path: string): Uint32Array | undefined {
  if (typeof Bun === "undefined") return undefined;
  try {
    const { buffer, byteOffset, byteLength } = Bun.mmap(path, { shared: true });
    return byteLength < WORD_BYTES * WORDS ? undefined : new Uint32Array(buffer, byteOffset, WORDS);
  } catch {
    // Without a scoreboard the balancers rely on frames alone.
    return undefined;
  }
}

/** The instance's end. */
export class Scoreboard {
  private constructor(private readonly words: Uint32Array) {}

  /**
   * Creates the file with mode 0600, before any handler is called. Returns false without shared memory (Node) or disk space. From here on a
   * balancer may read it.
   */
  static async makeFile(path: string): Promise<boolean> {
    if (typeof Bun === "undefined") return false;
    try {
      await writePrivately(path, new Uint8Array(WORD_BYTES * WORDS));
      return true;
    } catch {
      // As above.
      return false;
    }
  }

  /**
   * Maps the created file. From then on its owner cannot write to it: if the file were truncated, this process would be killed (SIGBUS). If
   * that fails, returns undefined and removes the file.
   */
  static map(path: string): Scoreboard | undefined {
    const words = mapWords(path);
    if (words !== undefined && protect(path)) return new Scoreboard(words);
    removeScoreboard(path);
    return undefined;
  }

  /** Records that the handler of a lane's request is being called. */
  enter(lane: number, request: number): void {
    const { words } = this;
    words[STARTED_AT + lane - 1] = request;
    words[REQUEST_AT] = request;
    words[LANE_AT] = lane;
  }

  /** Records that the handler has returned. */
  leave(): void {
    this.words[LANE_AT] = 0;
  }

  /** Resets the word of a newly numbered lane. */
  clear(lane: number): void {
    this.words[STARTED_AT + lane - 1] = 0;
  }
}

/** Bun ignores the mode for small files, which it creates before `write` returns. node:fs would cost memory. */
function writePrivately(path: string, bytes: Uint8Array): Promise<number> {
  const before = process.umask(0o177);
  try {
    return Bun.write(path, bytes);
  } finally {
    process.umask(before);
  }
}

/** Removes the permission to write. Only root can still truncate the file. */
function protect(path: string): boolean {
  try {
    fs().chmodSync(path, 0o400);
    return true;
  } catch {
    return false;
  }
}

export function removeScoreboard(path: string): void {
  try {
    fs().unlinkSync(path);
  } catch {
    // The supervisor has already removed it.
  }
}

/** Assigns numbers from 1 to the open lanes, for their words in the scoreboard. */
export class LaneNumbers {
  private next = 1;
  private readonly free: number[] = [];

  /** Returns 0 if all numbers are in use. */
  take(): number {
    const again = this.free.pop();
    if (again !== undefined) return again;
    return this.next > MAX_LANE_NUMBER ? 0 : this.next++;
  }

  giveBack(number: number): void {
    if (number > 0) this.free.push(number);
  }
}

/** The contents of a scoreboard: what the instance was running. The requests of a lane are numbered from 1 in the order of arrival. */
export type RunningWork = {
  /** The last request of this lane whose handler was called. */
  started: number;
} & (
  | { /** It is calling the handler of a request of this lane. */ on: "ours"; request: number }
  /** It is running the handler of another lane's request. */
  | { on: "another" }
  /** It is running no handler. */
  | { on: "none" }
);

/**
 * Reads a scoreboard at the balancer's end. Returns undefined if it cannot be read.
 * @param lane the lane's number in the instance's HELLO; 0 without a scoreboard
 */
export function readScoreboard(socketPath: string, lane: number): RunningWork | undefined {
  if (lane === 0) return undefined;
  const { closeSync, openSync, readSync } = fs();
  const running = Buffer.alloc(2 * WORD_BYTES);
  const lastStarted = Buffer.alloc(WORD_BYTES);
  try {
    // Read only when an instance seems to be stalled, which is rare. So no descriptor of the file is kept open.
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
    // The instance has exited, or could not create a scoreboard. The balancer works without it.
    return undefined;
  }
  const at = readUint32(running, WORD_BYTES * LANE_AT);
  const started = readUint32(lastStarted, 0);
  if (at === lane) return { on: "ours", started, request: readUint32(running, WORD_BYTES * REQUEST_AT) };
  return { on: at === 0 ? "none" : "another", started };
}
