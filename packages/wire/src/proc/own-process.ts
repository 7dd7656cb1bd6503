/** This process: its memory and descriptors, its event loop, and what it writes. */
import { fs } from "./bun-memory.js";

/** Descriptors that clients leave free for all else: the larger of this and an eighth, at most half. */
const MIN_SPARE_DESCRIPTORS = 48;

let lastHeapBytes = 0;
let lastRssBytes = 0;

/** The runtime opens a file for it, and throws when no descriptor is free: then it is the figure before, 0 at first. */
export function heapBytes(): number {
  lastHeapBytes = figureOr(() => process.memoryUsage().heapUsed, lastHeapBytes);
  return lastHeapBytes;
}

/** As `heapBytes`, of all memory. */
export function rssBytes(): number {
  lastRssBytes = figureOr(() => process.memoryUsage.rss(), lastRssBytes);
  return lastRssBytes;
}

/** How many descriptors this process may have open; without /proc it is not known, and infinite. */
export function descriptorLimit(): number {
  const limits = figureOr(() => fs().readFileSync("/proc/self/limits", "latin1"), "");
  const [, soft] = /^Max open files +(\d+) /m.exec(limits) ?? [];
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
}

/** So many sockets of clients and upstreams leave room for all else that needs a descriptor. */
export function maxSockets(descriptors: number): number {
  return descriptors - Math.min(Math.max(MIN_SPARE_DESCRIPTORS, descriptors >> 3), descriptors >> 1);
}

/** What to say when clients are turned away for that. */
export function descriptorNotice(sockets: number, descriptors: number): string {
  return `new connections are reset while more than ${sockets} are open, as this process may have ${descriptors} open files; raise "ulimit -n"`;
}

/** What to say where the runtime leaves those waiting whom it cannot accept, as Bun does. */
export const OUT_OF_DESCRIPTORS =
  'no descriptor is free for another file or connection, and new clients wait for one; raise "ulimit -n"';

/** Whether this process cannot open anything more. */
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
 * The longest delay of the event loop since it was last asked. A timer that should fire every `intervalMs` tells by how
 * much it came late, so a block shorter than the interval may go unseen and a longer one is seen short by at most that.
 */
export class LoopLag {
  private readonly timer: NodeJS.Timeout;
  private dueAtMs: number;
  private worstMs = 0;

  /** @param intervalMs milliseconds between looks; 100 unless given. Each look wakes the process. */
  constructor(private readonly intervalMs = 100) {
    this.dueAtMs = performance.now() + intervalMs;
    this.timer = setInterval(() => this.look(), intervalMs);
    this.timer.unref();
  }

  /** The longest delay since the last call, in milliseconds, rounded to a tenth. */
  takeMs(): number {
    // A timer that is overdue now counts too: the block may have ended in this very turn of the loop.
    const worst = Math.max(this.worstMs, performance.now() - this.dueAtMs);
    this.worstMs = 0;
    return Math.round(worst * 10) / 10;
  }

  /** Ends the measuring. */
  stop(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    const now = performance.now();
    this.worstMs = Math.max(this.worstMs, now - this.dueAtMs);
    this.dueAtMs = now + this.intervalMs;
  }
}

/** Lets what a process logs be lost rather than end it: on Node a write that fails is an error that nobody handles. Bun ignores it. */
export function survivesFullDisk(): void {
  if (process.versions.bun !== undefined) return;
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
}
