/** When the output files are read: at an interval while something is written, and as soon as something is after a pause. */
import { type FSWatcher, watch } from "node:fs";
import type { OutputFile } from "./output.js";

const POLL_MS = 200;
/** How soon it is looked again whether the log takes more. */
const BUSY_MS = 5;
/** After so many looks that found nothing new the kernel reports the next write. A watch during writes would cost more than the looks. */
const QUIET_LOOKS = 10;
/** How often the files are read even though the kernel reports nothing. */
const WATCHED_POLL_MS = 10_000;
/** Elsewhere a watched folder does not report writes to the files in it. */
const CAN_WATCH = process.platform === "linux";

export interface OutputPollerOptions {
  /** The folder of the output files. */
  folder: string;
  files(): Iterable<OutputFile>;
  /** What was read has not got on: the files hold what comes, within their bounds, better than memory. */
  isBusy(): boolean;
  problem(error: unknown): void;
  /** Default: 200. */
  pollMs?: number;
}

export class OutputPoller {
  private timer: NodeJS.Timeout | undefined;
  private watcher: FSWatcher | undefined;
  private canWatch = CAN_WATCH;
  private quietLooks = 0;
  private stopped = false;
  private readonly pollMs: number;

  constructor(private readonly options: OutputPollerOptions) {
    this.pollMs = options.pollMs ?? POLL_MS;
  }

  start(): void {
    this.arm(this.pollMs);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    this.unwatch();
  }

  private arm(delayMs: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.poll(), delayMs);
  }

  private poll(): void {
    if (this.options.isBusy()) return this.arm(BUSY_MS);
    const { isNew, isMore } = this.read();
    if (this.stopped) return;
    if (isNew) this.unwatch();
    this.quietLooks = isNew ? 0 : this.quietLooks + 1;
    // A turn for all else in between, whatever is written meanwhile.
    if (isMore) return void setImmediate(() => !this.stopped && this.poll());
    // What is written before the watch begins is found by one more look.
    if (this.quietLooks === QUIET_LOOKS) this.watch();
    this.arm(this.watcher !== undefined && this.quietLooks > QUIET_LOOKS ? WATCHED_POLL_MS : this.pollMs);
  }

  private read(): { isNew: boolean; isMore: boolean } {
    let isNew = false;
    let isMore = false;
    for (const file of this.options.files()) {
      const before = file.position;
      try {
        if (file.read()) isMore = true;
      } catch (error) {
        this.options.problem(error);
      }
      if (file.position !== before) isNew = true;
    }
    return { isNew, isMore };
  }

  private watch(): void {
    if (!this.canWatch || this.watcher !== undefined) return;
    try {
      const watcher = watch(this.options.folder, { persistent: false }, () => this.written(watcher));
      // Such as by the kernel's bound on watches: then the looks go on.
      watcher.on("error", () => this.giveUpWatching());
      this.watcher = watcher;
    } catch {
      this.giveUpWatching();
    }
  }

  /** The kernel reports something in the folder: the looks begin again, at once. */
  private written(watcher: FSWatcher): void {
    if (watcher !== this.watcher) return;
    this.unwatch();
    this.quietLooks = 0;
    clearTimeout(this.timer);
    this.poll();
  }

  private giveUpWatching(): void {
    this.canWatch = false;
    this.unwatch();
    this.quietLooks = 0;
    if (!this.stopped) this.arm(this.pollMs);
  }

  private unwatch(): void {
    this.watcher?.close();
    this.watcher = undefined;
  }
}
