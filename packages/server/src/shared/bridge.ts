/**
 * Where an app meets the server that runs it. The app imports timers, deferred jobs and helpers from its own copy of this package, while
 * the server is a bundle: what both must know lies on `globalThis`, or under a symbol that both know.
 */
import type { DeferredStats, InstanceLimits } from "@paceline/wire";
import type { AppLifecycle } from "./app.js";

/** Changes with the shape of BackgroundWork, so that two versions that differ do not take each other's for their own. */
const PLACE = Symbol.for("@paceline/server/background-work/1");

/** One kind of work that goes on beside requests. */
interface Work {
  /** How many of it have begun, or must still run, and have not ended. */
  readonly unfinished: number;
  /** What has not ended, by name. */
  describe(): string;
}

export interface TimerWork extends Work {
  /** None begins any more. */
  stop(): void;
  add(timer: WaitingTimer): void;
  remove(timer: WaitingTimer): void;
  begun(timer: WaitingTimer): void;
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
  /** A number that changes with each request that begins or ends; absent while no server runs here. */
  requestActivity?: () => number;
  /** The defaults hold while it is absent. */
  limits?: DeferLimits;
  /** The server drains: no timer begins any more. */
  isLeaving: boolean;
  /** Called at the next job that is queued, once. */
  onNextJob?: (() => void) | undefined;
  /** A drain has begun, or will follow soon. */
  isDrainAnnounced?: boolean;
  /** Present once the app has asked for the signal. */
  draining?: AbortController;
  /** Present once a timer was set here. */
  timers?: TimerWork;
  /** Present once a job was deferred here. */
  deferred?: DeferredWork;
}

/** The place of this process. */
export function backgroundWork(): BackgroundWork {
  const holder = globalThis as { [PLACE]?: BackgroundWork };
  holder[PLACE] ??= { isLeaving: false };
  return holder[PLACE];
}

/** How much has not ended of what a drain waits for. */
export function unfinishedWork({ timers, deferred }: BackgroundWork = backgroundWork()): number {
  return (timers?.unfinished ?? 0) + (deferred?.unfinished ?? 0);
}

/** The drain begins: timers stop, and what runs or is queued goes on. */
export function leaveWork(work: BackgroundWork = backgroundWork()): void {
  work.isLeaving = true;
  work.timers?.stop();
}

/** The process is about to exit: what is lost with it is logged by name. */
export function logLostWork({ timers, deferred }: BackgroundWork = backgroundWork()): void {
  for (const work of [timers, deferred]) if (work !== undefined && work.unfinished > 0) console.error(work.describe());
}

/** Aborts when a drain begins: on a stop, a reload, a scale-down. The same signal each time; made when it is first asked for. */
export function drainSignal(): AbortSignal {
  const work = backgroundWork();
  if (work.draining === undefined) {
    work.draining = new AbortController();
    // Every long response listens to it, and Node warns of more than ten.
    if (process.versions.bun === undefined) {
      process.getBuiltinModule("node:events").setMaxListeners(0, work.draining.signal);
    }
    if (work.isDrainAnnounced) work.draining.abort(reason());
  }
  return work.draining.signal;
}

/** A drain begins, or will follow soon. Calls the app's `beforeDrain` once; resolves when that has ended. */
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

/** A method of `info`: whether the response has left or its client has gone; undefined where nobody can say. */
export const HAS_ENDED = Symbol.for("paceline.hasEnded");

export function hasEnded(info: object): boolean | undefined {
  return (info as { [HAS_ENDED]?(): boolean | undefined })[HAS_ENDED]?.();
}

/** So many names are told; the rest is counted. */
const MAX_NAMES = 20;

/** What a timer or a job is called where it is told of. */
export function nameOf(fn: ((...args: never[]) => unknown) | undefined): string {
  return fn?.name || "(anonymous)";
}

/** Such as `save × 3, mail × 1`, in the order in which they are met first. */
export function countNames(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const told = [...counts].slice(0, MAX_NAMES).map(([name, count]) => `${name} × ${count}`);
  if (counts.size > MAX_NAMES) told.push(`${counts.size - MAX_NAMES} other names`);
  return told.join(", ");
}
