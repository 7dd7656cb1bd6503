/** Collects file changes until a burst is over. Slows down for files that reloads themselves seem to change. */

/** A burst of changes is over when nothing has changed for this long. */
const SETTLE_MS = 100;
/** A longer burst is handled after this time. */
const MAX_SETTLE_MS = 1_000;
/** A file that changes during a reload, or this soon after it, may be written by the app itself. */
const QUICK_MS = 1_500;
/** Each time in a row multiplies the wait for that file by this factor. */
const SLOWER = 4;
const MAX_QUIET_MS = 60_000;
/** After this many times in a row it is reported. */
const TOLD_TIMES = 4;
/** The most paths that are remembered; changes beyond this are reported with these paths. */
const MAX_PATHS = 1_000;

interface ChangesOptions {
  /** Reports a finished burst. Nothing more is reported until `reloaded` is called. */
  onSettled(paths: readonly string[]): void;
  /** Reports a file that changes with every reload. */
  onWritten(path: string): void;
}

export class Changes {
  private readonly paths = new Set<string>();
  private readonly slow = new Map<string, NodeJS.Timeout>();
  /** How often in a row each path has changed with a reload. */
  private readonly quick = new Map<string, number>();
  private firstAt = 0;
  private timer: NodeJS.Timeout | undefined;
  private isReloading = false;
  private reloadedAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: ChangesOptions) {}

  add(path: string): void {
    if (!this.paths.has(path) && !this.slow.has(path)) this.count(path);
    const times = this.quick.get(path) ?? 0;
    const quietMs = Math.min(MAX_QUIET_MS, SETTLE_MS * SLOWER ** Math.max(0, times - 1));
    if (quietMs === SETTLE_MS) return this.take(path);
    if (this.slow.size >= MAX_PATHS && !this.slow.has(path)) return;
    clearTimeout(this.slow.get(path));
    const timer = setTimeout(() => {
      this.slow.delete(path);
      this.take(path);
    }, quietMs);
    this.slow.set(path, timer);
  }

  /** Confirms that the reported changes are applied; changes made meanwhile are reported next. */
  reloaded(): void {
    this.isReloading = false;
    this.reloadedAt = performance.now();
    if (this.paths.size > 0) this.settle();
  }

  stop(): void {
    clearTimeout(this.timer);
    for (const timer of this.slow.values()) clearTimeout(timer);
    this.slow.clear();
    this.isReloading = true;
  }

  private count(path: string): void {
    const isQuick = this.isReloading || performance.now() - this.reloadedAt < QUICK_MS;
    if (!isQuick) return void this.quick.delete(path);
    if (this.quick.size >= MAX_PATHS) this.quick.clear();
    const times = (this.quick.get(path) ?? 0) + 1;
    this.quick.set(path, times);
    if (times === TOLD_TIMES) this.options.onWritten(path);
  }

  private take(path: string): void {
    if (this.paths.size === 0) this.firstAt = performance.now();
    if (this.paths.size < MAX_PATHS) this.paths.add(path);
    this.settle();
  }

  private settle(): void {
    if (this.isReloading) return;
    const longestMs = Math.max(0, this.firstAt + MAX_SETTLE_MS - performance.now());
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell(), Math.min(SETTLE_MS, longestMs));
  }

  private tell(): void {
    const paths = [...this.paths];
    this.paths.clear();
    this.isReloading = true;
    this.options.onSettled(paths);
  }
}
