/** Decides when output files are read: at an interval while they grow, and at the next write after a pause. */
import { type FSWatcher, watch } from "node:fs";
import type { OutputFile } from "./output.js";

const POLL_MS = 200;
/** How soon to check again whether the log accepts more, in milliseconds. */
const BUSY_MS = 5;
/** After this many reads without news, the kernel reports the next write. Watching during writes would cost more than polling. */
const QUIET_LOOKS = 10;
/** How often the files are read while the kernel reports nothing, in milliseconds. */
const WATCHED_POLL_MS = 10_000;
/** On other systems a watched folder does not report writes to its files. */
const CAN_WATCH = process.platform === "linux";

export interface OutputPollerOptions {
  /** The folder of the output files. */
  folder: string;
  files(): Iterable<OutputFile>;
  /** Whether the log is behind. Pending output is better kept in files than in memory. */
  isBusy(): boolean;
  /** Whether all lines that were read are in the log. Default: always. */
  isSettled?(): boolean;
  problem(error: unknown): void;
  /** The polling interval in milliseconds. Default: 200. */
  pollMs?: number;
}

export class OutputPoller {
  private timer: NodeJS.Timeout | undefined;
  private watcher: FSWatcher | undefined;
  private canWatch = CAN_WATCH;
  /** The files that were read since the positions were saved. */
  private readonly unsaved = new Set<OutputFile>();
  private settling: NodeJS.Timeout | undefined;
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
    clearTimeout(this.settling);
    this.unwatch();
  }

  /** Saves the positions once the log has the lines that were read. */
  private saveSoon(): void {
    const { isSettled = () => true } = this.options;
    this.settling ??= setTimeout(() => {
      this.settling = undefined;
      if (!isSettled()) return this.saveSoon();
      for (const file of this.unsaved) file.savePosition();
      this.unsaved.clear();
    }, BUSY_MS);
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
    if (isNew) this.saveSoon();
    this.quietLooks = isNew ? 0 : this.quietLooks + 1;
    // Lets other work run in between.
    if (isMore) return void setImmediate(() => !this.stopped && this.poll());
    // Reads once more, to find output that was written before the watch started.
    if (this.quietLooks === QUIET_LOOKS) this.watch();
    this.arm(this.watcher !== undefined && this.quietLooks > QUIET_LOOKS ? WATCHED_POLL_MS : this.pollMs);
  }

  private read(): { isNew: boolean; isMore: boolean } {
    let isNew = false;
    let isMore = false;
    for (const file of this.options.files()) {
      const before = file.readBytes;
      try {
        if (file.read()) isMore = true;
      } catch (error) {
        this.options.problem(error);
      }
      if (file.readBytes === before) continue;
      isNew = true;
      this.unsaved.add(file);
    }
    return { isNew, isMore };
  }

  private watch(): void {
    if (!this.canWatch || this.watcher !== undefined) return;
    try {
      const watcher = watch(this.options.folder, { persistent: false }, () => this.written(watcher));
      // For example, the kernel's limit of watches is reached; polling continues.
      watcher.on("error", () => this.giveUpWatching());
      this.watcher = watcher;
    } catch {
      this.giveUpWatching();
    }
  }

  /** Handles a change reported by the kernel: polls at once and continues polling. */
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
