/** `paceline start --watch`: reloads pools when their files change. If that fails, the running version keeps serving. */
import { existsSync } from "node:fs";
import { relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { OperationResult, WatchStatus } from "../../control/api.js";
import type { FleetConfig } from "../../core/model.js";
import type { EventLog } from "../../logs/event-log.js";
import { FolderWatch } from "./folder-watch.js";
import { type ChangedPools, union, WatchPlan } from "./watch-plan.js";

/** How long to wait before a reload that another operation blocked is tried again, in milliseconds. */
const BUSY_MS = 250;

interface WatchOptions {
  /** The file from which the config was read. */
  configFile: string | undefined;
  runDir: string;
  log: Pick<EventLog, "event">;
  /** Returns the config in use. */
  config(): FleetConfig;
  reload(pool: string | undefined): Promise<OperationResult>;
  /** Whether an instance of that pool, or of every pool, is ready. */
  isServing(pool: string | undefined): boolean;
  /** Returns since when all processes of that pool have been running, by `performance.now()`; undefined if not all are ready. */
  allReadySince(pool: string): number | undefined;
}

interface Failure {
  readonly message: string;
  /** A pool whose processes all started after this time runs the newest code; undefined if more than code has changed. */
  readonly changedAt: number | undefined;
}

export class Watch {
  private readonly folders: FolderWatch;
  private readonly changes: Changes;
  private plan: WatchPlan;
  private isStopped = false;
  /** The pools that a failed reload has not updated. */
  private missed: ChangedPools = [];
  /** Why changes were not applied, by pool or for all. */
  private readonly failures = new Map<string, Failure>();

  constructor(private readonly options: WatchOptions) {
    const { log } = options;
    this.changes = new Changes({
      onSettled: (paths) => void this.takeOver(paths),
      onWritten: (path) => {
        const advice = "an app that writes into its own folder reloads itself";
        log.event("warn", "paceline", `${this.nameOf(path)} changes with every reload: ${advice}`);
      },
    });
    this.folders = new FolderWatch({
      onChange: (path) => {
        if (this.plan.poolsOf(path).length > 0) this.changes.add(path);
      },
      onProblem: (message) => log.event("warn", "paceline", message),
    });
    this.plan = this.follow();
    log.event("info", "paceline", `watches ${this.plan.roots.join(", ")}`);
  }

  get status(): WatchStatus {
    return { folders: this.folders.size, failure: [...this.failures.values()].at(-1)?.message ?? null };
  }

  /** Records a completed reload, whoever requested it. */
  reloaded(pool: string | undefined): void {
    if (pool !== undefined) return void this.failures.delete(pool);
    this.failures.clear();
    this.missed = [];
  }

  /** Checks the fleet after a change: a failure is cleared once all processes of its pool run the newest code. */
  observe(): void {
    for (const [pool, { changedAt }] of this.failures) {
      if (changedAt === undefined) continue;
      const since = this.options.allReadySince(pool);
      if (since !== undefined && since >= changedAt) this.failures.delete(pool);
    }
  }

  stop(): void {
    this.isStopped = true;
    this.changes.stop();
    this.folders.close();
  }

  private follow(): WatchPlan {
    const { config, configFile, runDir } = this.options;
    const plan = new WatchPlan(config(), configFile, runDir);
    this.folders.follow(plan);
    return plan;
  }

  private async takeOver(paths: readonly string[]): Promise<void> {
    const pools = paths.reduce<ChangedPools>((all, path) => union(all, this.plan.poolsOf(path)), this.missed);
    // A reload has changed the set of watched files since then.
    if (pools.length === 0) return this.changes.reloaded();
    const reloads = pools === "all" ? "all pools" : pools.join(", ");
    this.options.log.event("info", "paceline", `${this.namesOf(paths)} changed: reloads ${reloads}`);
    const isCode = !paths.some((path) => this.plan.files.includes(path));
    const changedAt = isCode ? performance.now() : undefined;
    for (const pool of pools === "all" ? [undefined] : pools) {
      const result = await this.reload(pool);
      if (this.isStopped) return;
      if (!result.ok) this.reportFailure(pool, result, changedAt);
    }
    this.plan = this.follow();
    this.changes.reloaded();
  }

  private async reload(pool: string | undefined): Promise<OperationResult> {
    for (;;) {
      const result = await this.options.reload(pool).catch(failureOf);
      if (result.ok || result.code !== "busy" || this.isStopped) return result;
      // The blocking operation ends within bounded time.
      await sleep(BUSY_MS);
    }
  }

  private reportFailure(
    pool: string | undefined,
    { code, message }: OperationResult & { ok: false },
    changedAt: number | undefined,
  ): void {
    const { log, isServing } = this.options;
    const [first = ""] = message.split("\n");
    this.failures.set(pool ?? "all", { message: first, changedAt: pool === undefined ? undefined : changedAt });
    // For a pool that did not become ready, the rollout has logged the reason.
    const before = isServing(pool) ? "the previous version keeps serving" : "the previous version is not ready either";
    if (code === "failed") log.event("warn", "paceline", `the change was not applied: ${before}`);
    else log.event("error", "paceline", `the change was not applied: ${message.replaceAll("\n", "; ")}`);
    // The affected pools are unknown, so the next change checks all of them.
    if (pool === undefined) this.missed = "all";
    this.observe();
  }

  /** Omits files that existed only for a moment, for example an editor's temporary file. */
  private namesOf(paths: readonly string[]): string {
    const there = paths.filter((path) => existsSync(path));
    const [first = "", ...more] = there.length > 0 ? there : paths;
    return `${this.nameOf(first)}${more.length > 0 ? ` and ${more.length} more` : ""}`;
  }

  /** Returns a path relative to the fleet's folder. */
  private nameOf(path: string): string {
    const [first] = this.options.config().pools;
    const name = first === undefined ? "" : relative(first.cwd, path);
    return name === "" || name.startsWith("..") ? path : name;
  }
}

function failureOf(error: unknown): OperationResult & { ok: false } {
  return { ok: false, code: "failed", message: error instanceof Error ? error.message : `${error}` };
}

/** A burst of changes is over when nothing has changed for this time, in milliseconds. */
const SETTLE_MS = 100;
/** A longer burst is handled after this time, in milliseconds. */
const MAX_SETTLE_MS = 1_000;
/** A file that changes during a reload, or within this time after it, may be written by the app itself. In milliseconds. */
const QUICK_MS = 1_500;
/** Each consecutive change of such a file multiplies the time that it must stay unchanged by this factor. */
const SLOWER = 4;
const MAX_QUIET_MS = 60_000;
/** A file is reported after this many consecutive changes. */
const REPORTED_TIMES = 4;
/** The maximum number of remembered paths; further changes are reported with these paths. */
const MAX_PATHS = 1_000;

interface ChangesOptions {
  /** Reports a finished burst. Nothing more is reported until `reloaded` is called. */
  onSettled(paths: readonly string[]): void;
  /** Reports a file that changes with every reload. */
  onWritten(path: string): void;
}

/** Collects file changes until a burst is over. Slows down for files that seem to be changed by the reloads themselves. */
export class Changes {
  private readonly paths = new Set<string>();
  private readonly slow = new Map<string, NodeJS.Timeout>();
  /** How many consecutive times each path has changed with a reload. */
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
    if (times === REPORTED_TIMES) this.options.onWritten(path);
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
    this.timer = setTimeout(() => this.reportBurst(), Math.min(SETTLE_MS, longestMs));
  }

  private reportBurst(): void {
    const paths = [...this.paths];
    this.paths.clear();
    this.isReloading = true;
    this.options.onSettled(paths);
  }
}
