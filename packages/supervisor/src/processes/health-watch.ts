/** Warms up instances, and checks whether they are ready and then, at intervals, healthy. The shim of a command runs its own checks. */
import { HEALTH_JITTER, type HealthConfig, type Probed, probe } from "@paceline/wire";
import { type CheckCount, countCheck, hasSettled, NO_CHECKS } from "../core/checks.js";
import type { PoolConfig, WarmupConfig } from "../core/model.js";
import type { Report } from "../core/process.js";
import type { LiveProcess } from "./live-process.js";

interface HealthWatchOptions {
  healthOf(child: LiveProcess): HealthConfig | undefined;
  /** Returns how to warm up a new instance; undefined if it needs no warm-up. */
  warmupOf(child: LiveProcess): WarmupConfig | undefined;
  /** Whether the instance already serves, for example since before this supervisor started. */
  isServing(child: LiveProcess): boolean;
  /** Called when the warm-up failed or took too long. The instance gets requests in any case. */
  onCold(child: LiveProcess, problem: string): void;
  report(child: LiveProcess, report: Report): void;
  /** Called when an instance stops getting new requests or gets them again: `child.failsChecks` has changed. */
  onTurn?(child: LiveProcess, message: string): void;
  /** Returns a random number from 0 to 1 for the jitter of checks. Default: 0.5, which means no jitter. */
  random?(): number;
}

const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 500;

/** The paths that an instance is checked with before and after it becomes ready; each may be missing. */
interface Checks {
  readyPath: string | undefined;
  healthPath: string | undefined;
}

/** A check in progress. */
interface Question {
  path: string;
  /** Reports the result. */
  settle(problem: string | undefined): void;
  outcome: Promise<string | undefined>;
}

export class HealthWatch {
  /** Listening instances, each with its checks in progress by id. At most one check per path runs; further callers share it. */
  private readonly known = new WeakMap<LiveProcess, Map<number, Question>>();
  private questions = 0;
  /** The number of consecutive results of the checks of serving instances. */
  private readonly counts = new WeakMap<LiveProcess, CheckCount>();

  constructor(private readonly options: HealthWatchOptions) {}

  /**
   * Called when an instance listens, or reports that again. It becomes ready when `readyPath` succeeds and its warm-up has finished, even
   * if the warm-up failed.
   */
  listens(child: LiveProcess): void {
    const isKnown = this.known.has(child);
    if (!isKnown) this.known.set(child, new Map());
    const isOurs = child.kind === "instance" && child.commandTag === null;
    const health = child.kind === "instance" ? this.options.healthOf(child) : undefined;
    const hasWarmup = child.kind === "instance" && this.options.warmupOf(child) !== undefined;
    // The shim of a program has already checked `readyPath`.
    const readyPath = isOurs ? health?.readyPath : undefined;
    const healthPath = isOurs ? health?.healthPath : undefined;
    const mustWait = health !== undefined && (readyPath !== undefined || hasWarmup);
    // A reconnected instance is ready already, or is being checked.
    if (mustWait && !this.options.isServing(child)) {
      if (!isKnown) void this.untilReady(child, health, { readyPath, healthPath });
      return;
    }
    this.options.report(child, { type: "ready", attempt: child.attempt });
    if (!isKnown && health !== undefined && healthPath !== undefined)
      void this.askAtIntervals(child, health, healthPath);
  }

  /** Handles the result of a check over the control channel, or of a shim's own check. */
  probed(child: LiveProcess, { id, problem }: Probed): void {
    const health = id === 0 && child.commandTag !== null ? this.options.healthOf(child) : undefined;
    // The shim kills its command itself.
    if (health !== undefined) return void this.count(child, { ...health, healthFailures: 0 }, problem?.slice(0, 500));
    this.known.get(child)?.get(id)?.settle(problem?.slice(0, 500));
  }

  /** Returns what is wrong with an instance that has been ready for a while; undefined if it is healthy or has no health check. */
  async examine(child: LiveProcess): Promise<string | undefined> {
    const health = child.kind === "instance" ? this.options.healthOf(child) : undefined;
    if (health?.healthPath === undefined || isBusy(child)) return undefined;
    const problem = await this.ask(child, health, health.healthPath);
    // If the instance is being stopped, `fault` has the reason. That nothing listens any more is only a consequence.
    return problem === undefined ? undefined : (child.fault ?? problem);
  }

  private async untilReady(child: LiveProcess, health: HealthConfig, { readyPath, healthPath }: Checks): Promise<void> {
    if (readyPath !== undefined && !(await this.isGood(child, health, readyPath))) return;
    // Called here because the remaining time counts from now.
    const warmup = this.options.warmupOf(child);
    if (warmup !== undefined) {
      const ask = (path: string, timeoutMs: number) =>
        this.ask(child, { ...health, healthTimeoutMs: timeoutMs }, path, true);
      const problem = await warmUp({ ...warmup, ask, isOver: () => isOver(child) });
      if (isOver(child)) return;
      if (problem !== undefined) this.options.onCold(child, problem);
    }
    this.options.report(child, { type: "ready", attempt: child.attempt });
    if (healthPath !== undefined) await this.askAtIntervals(child, health, healthPath);
  }

  /** Repeats the check until it succeeds; resolves with false if the instance exits first. */
  private async isGood(child: LiveProcess, health: HealthConfig, path: string): Promise<boolean> {
    // Bounded: starting has a deadline, and an exited process is no longer checked.
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 1.5, MAX_PAUSE_MS)) {
      const problem = await this.ask(child, health, path);
      if (isOver(child)) return false;
      if (problem === undefined) break;
      child.fault = `it runs, but ${problem}`;
      await pause(pauseMs);
      if (isOver(child)) return false;
    }
    child.fault = null;
    return true;
  }

  private async askAtIntervals(child: LiveProcess, health: HealthConfig, path: string): Promise<void> {
    for (;;) {
      await pause(health.healthIntervalMs * (1 + HEALTH_JITTER * (2 * (this.options.random?.() ?? 0.5) - 1)));
      if (isOver(child)) return;
      // The instance handles one request at a time and is busy with one, whose duration requestTimeoutMs bounds.
      if (isBusy(child)) continue;
      const problem = await this.ask(child, health, path);
      if (isOver(child)) return;
      const { change, failures } = this.count(child, health, problem);
      if (change !== "end") continue;
      const reason = `unhealthy: ${inARow(problem, failures)}`;
      return this.options.report(child, { type: "hung", attempt: child.attempt, reason, signal: "SIGTERM" });
    }
  }

  /** Counts the result of a check. This may take the instance out of service, or return it. */
  private count(child: LiveProcess, health: HealthConfig, problem: string | undefined): ReturnType<typeof countCheck> {
    const counted = countCheck(this.counts.get(child) ?? NO_CHECKS, problem === undefined, health);
    this.counts.set(child, counted);
    const { change, failures, passes, isOut } = counted;
    if (change !== "out" && change !== "back") return counted;
    child.failsChecks = isOut;
    const how = isOut
      ? `fails its health checks and gets no new requests unless too many are out of turn: ${inARow(problem, failures)}`
      : `passes its health checks again, ${passes} in a row, and gets requests`;
    this.options.onTurn?.(child, how);
    return counted;
  }

  private ask(child: LiveProcess, health: HealthConfig, path: string, isWarmUp = false): Promise<string | undefined> {
    const { checkHost: host, healthTimeoutMs: timeoutMs } = health;
    const address = child.tcp ?? child.socket;
    if (child.protocol !== "lane" && address !== null) return probe({ address, path, host, timeoutMs, isWarmUp });
    return this.askOverChannel(child, path, { host, timeoutMs, isWarmUp });
  }

  private askOverChannel(
    child: LiveProcess,
    path: string,
    { host, timeoutMs, isWarmUp }: { host: string; timeoutMs: number; isWarmUp: boolean },
  ): Question["outcome"] {
    const underWay = this.known.get(child) ?? new Map<number, Question>();
    this.known.set(child, underWay);
    for (const question of underWay.values()) if (question.path === path) return question.outcome;
    const id = ++this.questions;
    const { promise: outcome, resolve } = settleable<string | undefined>();
    const settle = (problem: string | undefined) => {
      clearTimeout(timer);
      underWay.delete(id);
      resolve(problem);
    };
    const timer = setTimeout(() => settle(`GET ${path} got no response within ${timeoutMs} ms`), timeoutMs);
    underWay.set(id, { path, settle, outcome });
    child.connection?.send({ type: "probe", id, path, host, ...(isWarmUp && { isWarmUp }) });
    return outcome;
  }
}

function isOver(child: LiveProcess): boolean {
  return child.exit !== null || child.drainDeadline !== null || child.verdict !== null;
}

function inARow(problem: string | undefined, failures: number): string {
  return `${problem}${failures === 1 ? "" : `, ${failures} times in a row`}`;
}

/** A check of an instance with limited concurrency would wait behind its current request. */
function isBusy(child: LiveProcess): boolean {
  return child.maxInFlight !== null && child.isBusy;
}

/** Node 20 has no Promise.withResolvers. */
function settleable<T>(): { promise: Promise<T>; resolve(value: T): void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((each) => {
    resolve = each;
  });
  return { promise, resolve };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}

/** A warm-up must end this long before the deadline of the start. */
const MARGIN_MS = 500;

/** Returns the paths for the warm-up of a process that was spawned at `spawnedAt`, and the time that is left for it. */
export function warmupOf(
  spawnedAt: number,
  pool: Pick<PoolConfig, "warmup" | "policy"> | undefined,
): WarmupConfig | undefined {
  if (pool?.warmup == null) return undefined;
  const { paths, timeoutMs } = pool.warmup;
  const leftMs = Math.round(spawnedAt + pool.policy.readyTimeoutMs - MARGIN_MS - performance.now());
  return { paths, timeoutMs: Math.max(1, Math.min(timeoutMs, leftMs)) };
}

interface WarmUpOptions {
  paths: readonly string[];
  timeoutMs: number;
  /** Sends a GET request; resolves with what is wrong with the response, or undefined for any status below 500. */
  ask(path: string, timeoutMs: number): Promise<string | undefined>;
  /** Whether the instance has exited or is about to be stopped. */
  isOver(): boolean;
  now?: () => number;
}

/** Resolves with what went wrong, or undefined. A path that failed once is not requested again. */
export async function warmUp(options: WarmUpOptions): Promise<string | undefined> {
  const { timeoutMs, ask, isOver, now = () => performance.now() } = options;
  const deadline = now() + timeoutMs;
  const problems: string[] = [];
  let paths = options.paths;
  let rounds: number[] = [];
  // Bounded by the deadline and by the number of rounds.
  while (paths.length > 0 && !hasSettled(rounds)) {
    const began = now();
    const served: string[] = [];
    for (const path of paths) {
      const leftMs = deadline - now();
      if (leftMs <= 0) return problems[0] ?? `has not settled within ${timeoutMs} ms`;
      const problem = await ask(path, Math.ceil(leftMs));
      if (isOver()) return undefined;
      if (problem === undefined) served.push(path);
      else problems.push(problem);
    }
    // Durations of different paths cannot be compared.
    rounds = served.length < paths.length ? [] : [...rounds, now() - began];
    paths = served;
  }
  return problems.length > 1 ? `${problems[0]}, and ${problems.length - 1} more` : problems[0];
}
