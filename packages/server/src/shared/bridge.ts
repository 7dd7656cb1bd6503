/**
 * The link between an app and its server. The app imports timers, deferred jobs and helpers from its own copy of this package,
 * while the server is a bundle. Shared state is therefore on `globalThis`, or under a global symbol.
 */
import type { DeferredStats, InstanceLimits } from "@paceline/wire";
import type { AppLifecycle } from "./app.js";

/** Must change with the shape of BackgroundWork, so that different versions do not share state. */
const PLACE = Symbol.for("paceline/background-work/1");

/** One kind of work besides requests. */
interface Work {
  /** How many jobs or runs have started or are queued, and have not ended. */
  readonly unfinished: number;
  /** Returns the names of unfinished work. */
  describe(): string;
}

export interface TimerWork extends Work {
  /** Prevents further work from starting. */
  stop(): void;
  add(timer: WaitingTimer): void;
  remove(timer: WaitingTimer): void;
  started(timer: WaitingTimer): void;
  ended(timer: WaitingTimer): void;
}

export interface WaitingTimer {
  readonly name: string;
  stop(): void;
}

export interface DeferredWork extends Work {
  /** A number that grows with each job that is queued or ends. */
  readonly activity: number;
  stats(): DeferredStats;
  /** @throws ServerError `defer-queue-full` */
  add(fn: (argument: unknown) => unknown, argument: unknown, isCombined: boolean): void;
}

type DeferLimits = Pick<InstanceLimits, "maxDeferredJobs" | "maxDeferDelayMs">;

export interface BackgroundWork {
  /** Returns a number that changes with each request that starts or ends. Absent while no server runs here. */
  requestActivity?: () => number;
  /** Default: the default limits. */
  limits?: DeferLimits;
  /** Whether the server drains, so that no timer starts. */
  isLeaving: boolean;
  /** Called once, when the next job is queued. */
  onNextJob?: (() => void) | undefined;
  /** Whether a drain has started or soon will. */
  isDrainAnnounced?: boolean;
  /** Set after the app has used the signal. */
  draining?: AbortController;
  /** Set after the first timer. */
  timers?: TimerWork;
  /** Set after the first deferred job. */
  deferred?: DeferredWork;
}

/** Returns the background work of this process. */
export function backgroundWork(): BackgroundWork {
  const holder = globalThis as { [PLACE]?: BackgroundWork };
  holder[PLACE] ??= { isLeaving: false };
  return holder[PLACE];
}

/** Returns how much unfinished work a drain waits for. */
export function unfinishedWork({ timers, deferred }: BackgroundWork = backgroundWork()): number {
  return (timers?.unfinished ?? 0) + (deferred?.unfinished ?? 0);
}

/** Starts the drain: timers stop; running and queued work continues. */
export function leaveWork(work: BackgroundWork = backgroundWork()): void {
  work.isLeaving = true;
  work.timers?.stop();
}

/** Logs the names of work lost when the process exits. */
export function logLostWork({ timers, deferred }: BackgroundWork = backgroundWork()): void {
  for (const work of [timers, deferred]) if (work !== undefined && work.unfinished > 0) console.error(work.describe());
}

/** Returns a signal that aborts when a drain begins: on a stop, a reload, a scale-down. Always the same one; created lazily. */
export function drainSignal(): AbortSignal {
  const work = backgroundWork();
  if (work.draining === undefined) {
    work.draining = new AbortController();
    // Every long response listens to it, and Node warns above ten listeners.
    if (process.versions.bun === undefined) {
      process.getBuiltinModule("node:events").setMaxListeners(0, work.draining.signal);
    }
    if (work.isDrainAnnounced) work.draining.abort(reason());
  }
  return work.draining.signal;
}

/** Announces a drain. Calls the app's `beforeDrain` once, and resolves when that has ended. */
export async function announceDrain(app: AppLifecycle | undefined): Promise<void> {
  const work = backgroundWork();
  if (work.isDrainAnnounced) return;
  work.isDrainAnnounced = true;
  work.draining?.abort(reason());
  try {
    await app?.beforeDrain?.();
  } catch (error) {
    console.error("beforeDrain() failed:", error);
  }
}

function reason(): Error {
  return new DOMException("the instance drains", "AbortError");
}

/** A method of `info`: returns whether the response was sent or its client has left; undefined if unknown. */
export const HAS_ENDED = Symbol.for("paceline.hasEnded");

export function hasEnded(info: object): boolean | undefined {
  return (info as { [HAS_ENDED]?(): boolean | undefined })[HAS_ENDED]?.();
}

/** The maximum number of names that are logged. Further names are only counted. */
const MAX_NAMES = 20;

/** Returns the name of a timer or job for logs. */
export function nameOf(fn: ((...args: never[]) => unknown) | undefined): string {
  return fn?.name || "(anonymous)";
}

/** Returns a list such as `save × 3, mail × 1`, in the order of first occurrence. */
export function countNames(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const named = [...counts].slice(0, MAX_NAMES).map(([name, count]) => `${name} × ${count}`);
  if (counts.size > MAX_NAMES) named.push(`${counts.size - MAX_NAMES} other names`);
  return named.join(", ");
}
