/** This process: its memory, descriptors, event loop and output. */
import { collectAll, fs } from "./bun-memory.js";

/** How many descriptors clients leave free for other uses: this number or an eighth, whichever is larger, but at most half. */
const MIN_SPARE_DESCRIPTORS = 48;

let lastHeapBytes = 0;
let lastRssBytes = 0;

/**
 * The runtime opens a file for this and throws if no descriptor is free. In that case this returns the last figure, which is 0 at first.
 */
export function heapBytes(): number {
  lastHeapBytes = figureOr(() => process.memoryUsage().heapUsed, lastHeapBytes);
  return lastHeapBytes;
}

/** A collection of a larger heap would delay the next request too long. */
const MAX_COLLECTED_HEAP_BYTES = 32 << 20;

/** Returns the memory of a load that has ended to the system. Bun would keep it until its next collections. */
export function collectAtRest(): void {
  if (heapBytes() <= MAX_COLLECTED_HEAP_BYTES) collectAll();
}

/** Like `heapBytes`, for all memory. */
export function rssBytes(): number {
  lastRssBytes = figureOr(() => process.memoryUsage.rss(), lastRssBytes);
  return lastRssBytes;
}

/** Returns the descriptor limit of this process; Infinity without /proc. */
export function descriptorLimit(): number {
  const limits = figureOr(() => fs().readFileSync("/proc/self/limits", "latin1"), "");
  const [, soft] = /^Max open files +(\d+) /m.exec(limits) ?? [];
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
}

/** Returns how many sockets of clients and upstreams leave enough descriptors for other uses. */
export function maxSockets(descriptors: number): number {
  return descriptors - Math.min(Math.max(MIN_SPARE_DESCRIPTORS, descriptors >> 3), descriptors >> 1);
}

/** Returns the notice about clients that are reset because descriptors are short. */
export function descriptorNotice(sockets: number, descriptors: number): string {
  return `new connections are reset while more than ${sockets} are open, as this process may have ${descriptors} open files; raise "ulimit -n"`;
}

/** The notice if the runtime cannot accept clients and lets them wait, as Bun does. */
export const OUT_OF_DESCRIPTORS =
  'no descriptor is free for another file or connection, and new clients wait for one; raise "ulimit -n"';

/** Whether this process has no free descriptor. */
export function isOutOfDescriptors(): boolean {
  try {
    fs().closeSync(fs().openSync("/dev/null", "r"));
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EMFILE";
  }
}

function figureOr<T>(ask: () => T, otherwise: T): T {
  try {
    return ask();
  } catch {
    return otherwise;
  }
}

/**
 * Measures the longest delay of the event loop, by how late a timer with the interval `intervalMs` fires. So a delay shorter than the
 * interval may go unnoticed, and a longer one is underestimated by at most the interval.
 */
export class LoopLag {
  private readonly timer: NodeJS.Timeout;
  private dueAtMs: number;
  private worstMs = 0;

  /** @param intervalMs milliseconds between checks, each of which wakes up the process. Default: 100 */
  constructor(private readonly intervalMs = 100) {
    this.dueAtMs = performance.now() + intervalMs;
    this.timer = setInterval(() => this.look(), intervalMs);
    this.timer.unref();
  }

  /** Returns the longest delay since the last call, in milliseconds, rounded to a tenth. */
  takeMs(): number {
    // An overdue timer counts, too, because the delay may have ended in this very turn.
    const worst = Math.max(this.worstMs, performance.now() - this.dueAtMs);
    this.worstMs = 0;
    return Math.round(worst * 10) / 10;
  }

  /** Stops measuring. */
  stop(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    const now = performance.now();
    this.worstMs = Math.max(this.worstMs, now - this.dueAtMs);
    this.dueAtMs = now + this.intervalMs;
  }
}

/** The maximum number of characters that top and `ps -o comm` show. */
const MAX_COMM = 15;

/**
 * Shows `title` in top and `ps -o comm`. Default: the title with which the process was started; on Bun nothing, because writing a file
 * would cost every idle process 0.5 MB.
 */
export function showTitle(title?: string): void {
  if (title === undefined && process.versions.bun !== undefined) return;
  figureOr(() => fs().writeFileSync("/proc/self/comm", (title ?? process.argv0).slice(0, MAX_COMM)), undefined);
}

/**
 * Lets log output be lost instead of crashing the process. A failed write is an unhandled error: on Node also that of `console`, on Bun
 * only that of process.stdout and process.stderr, whose use costs 2 MB; see isLostOutput.
 */
export function survivesFullDisk(): void {
  if (process.versions.bun === undefined) ignoreOutputErrors();
}

/** Returns whether an uncaught error on Bun is a failed write of the process's own output to a full disk. Further ones are ignored. */
export function isLostOutput(error: unknown): boolean {
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  if (process.versions.bun === undefined || code !== "ENOSPC" || syscall !== "write" || !isOutputFull()) return false;
  ignoreOutputErrors();
  return true;
}

function ignoreOutputErrors(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
}

function isOutputFull(): boolean {
  const rooms = [1, 2].map((fd) => figureOr(() => fs().statfsSync(`/proc/self/fd/${fd}`).bavail, 1));
  return rooms.includes(0);
}

/**
 * Returns the descriptor for writing to standard output. A pipe is reopened for O_NONBLOCK: an unread pipe would block a thread, and so
 * Node's exit, forever. On the inherited descriptor, the flag would also affect other programs that share the open file.
 */
export function openStdout(): number {
  const { constants, fstatSync, openSync } = fs();
  try {
    // `bigint`: after a plain stat of a pipe, Node's `import` follows no links (Node issue 51142).
    if (fstatSync(1, { bigint: true }).isFIFO())
      return openSync("/proc/self/fd/1", constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    // Without /proc, or if the process may not open the pipe, the inherited descriptor is used.
  }
  return 1;
}
