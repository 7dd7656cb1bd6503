/** Pings the fleet's processes, and kills those that are hung or whose request has exceeded its time limit. */
import { type Fleet, findPool, isCanary, occupants, processId } from "../core/fleet.js";
import { Liveness, type Watched } from "../core/liveness.js";
import type { Report, SlotPolicy } from "../core/process.js";
import { frameText, placeInApp } from "../core/stacks.js";
import { seconds } from "../core/words.js";
import { builtFile } from "../package.js";
import type { Children } from "./children.js";
import { Examinations } from "./examinations.js";
import { isInspectable, type LiveProcess } from "./live-process.js";

interface LivenessWatchOptions {
  children: Children;
  fleet(): Fleet;
  policyOf(pool: string, generation: number): SlotPolicy;
  /** Returns the pool's `requestTimeoutMs`; 0: no limit. */
  requestTimeoutMs(pool: string): number;
  report(child: LiveProcess, report: Report): void;
  /** Called if a process was hung, but its event loop turned while it was examined. The process is not killed. */
  onRanAgain(child: LiveProcess, message: string): void;
}

const TICK_MS = 1000;
/** The tick interval while no messages arrive and no process has a request. */
const QUIET_TICK_MS = 5000;
const SHORTEST_TICK_MS = 50;
/** How long waiting messages are read after an overdue process was detected, before the verdict. */
const READ_PASS_MS = 10;
/** Reports within this time after a request arrived do not count: they may have been sent just before it, and read by us later. */
const REPORT_MS = 500;
/** How long a Python process may take to write its tracebacks before it is killed. */
const TRACEBACK_MS = 1500;
/** How long a process may take to respond to a ping that a caller requested. */
const ASK_MS = 2000;
/** How long the process may take to write the requested traceback. */
const HEAR_MS = 300;
/** How much later another balancer may report an older request: balancers check every 100 ms. */
const BALANCERS_MS = 150;

export class LivenessWatch {
  private readonly liveness = new Liveness();
  private timer: NodeJS.Timeout | undefined;
  /** The timer of a check for overdue requests before the next tick. */
  private overdueTimer: NodeJS.Timeout | undefined;
  /** When the last tick was and when the next one is due, as values of performance.now(). */
  private tickedAt = performance.now();
  private dueAt = 0;
  private isOver = false;
  private readonly examinations = new Examinations();
  /** Callers that wait for a message of a process, by process id. */
  private readonly asking = new Map<string, Set<() => void>>();

  constructor(private readonly options: LivenessWatchOptions) {}

  start(): void {
    this.arm();
  }

  stop(): void {
    this.isOver = true;
    clearTimeout(this.timer);
    clearTimeout(this.overdueTimer);
  }

  /** Records a message from this process. */
  heard(child: LiveProcess): void {
    this.liveness.heard(child.id);
    this.examinations.heard(child);
    for (const heard of this.asking.get(child.id) ?? []) heard();
    if (child.verdict === null) child.running = null;
    if (child.death.dumped.length > 0) child.death.dumped = [];
    // A request may have started, so the next tick must be soon.
    if (this.dueAt > performance.now() + TICK_MS) this.arm(TICK_MS);
  }

  /** Pings the process. Returns a text if the process does not respond; undefined if it does, or if it has no control channel. */
  ask({ id, connection }: LiveProcess): Promise<string | undefined> {
    if (connection === null) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const callers = this.asking.get(id) ?? new Set();
      this.asking.set(id, callers);
      const end = (problem: string | undefined) => {
        clearTimeout(timer);
        callers.delete(heard);
        if (callers.size === 0) this.asking.delete(id);
        resolve(problem);
      };
      const heard = () => end(undefined);
      const timer = setTimeout(() => end("is stalled: it does not respond to a ping"), ASK_MS);
      callers.add(heard);
      connection.send({ type: "ping" });
    });
  }

  /** Returns for how long a process has not responded to a ping, in milliseconds; null while that is normal. */
  stalledMs(id: string): number | null {
    return this.liveness.stalledMs(id);
  }

  /** Checks the reported request of a process, which may have exceeded its time limit already or may exceed it before the next tick. */
  lookAtOverdue({ overdue, pool }: LiveProcess): void {
    const timeoutMs = this.options.requestTimeoutMs(pool);
    if (overdue === null || timeoutMs === 0 || this.isOver || this.overdueTimer !== undefined) return;
    const leftMs = overdue.since + timeoutMs - performance.now();
    if (leftMs > TICK_MS) return;
    this.overdueTimer = setTimeout(
      () => {
        this.overdueTimer = undefined;
        this.endOverdue();
      },
      Math.max(READ_PASS_MS, Math.ceil(leftMs)),
    );
  }

  /** Kills processes, also draining ones, whose request has exceeded its time limit and has no client that waits for it. */
  private endOverdue(): void {
    for (const child of this.options.children.alive()) {
      if (child.overdue === null || child.verdict !== null) continue;
      const timeoutMs = this.options.requestTimeoutMs(child.pool);
      const forMs = performance.now() - child.overdue.since;
      if (timeoutMs === 0) continue;
      // The oldest request at the instance ran first, and the other requests waited for it.
      if (forMs < timeoutMs || (isSharedByBalancers(child) && forMs < timeoutMs + BALANCERS_MS)) {
        this.lookAtOverdue(child);
        continue;
      }
      // A Python process reports its own requests, so a report that it is idle clears the request. Only reports sent after the request
      // arrived count: a view that holds the interpreter sends none.
      if (child.commandTag === null && child.stats.hasReportedIdle(child.overdue.since, REPORT_MS))
        child.overdue = null;
      else
        this.kill(
          child,
          "overrun",
          `hung: ${nameOverdue(child.overdue.request, child)} took over ${seconds(timeoutMs)} (requestTimeoutMs)`,
        );
    }
  }

  private arm(longestMs = TICK_MS): void {
    if (this.isOver) return;
    const limits = this.options
      .fleet()
      .pools.flatMap(({ name, slots }) =>
        slots.flatMap(occupants).map(({ occupant }) => this.options.policyOf(name, occupant.generation).hangAfterMs),
      )
      .filter((ms) => ms > 0);
    const delayMs = Math.max(SHORTEST_TICK_MS, Math.min(longestMs, ...limits.map((ms) => ms / 4)));
    clearTimeout(this.timer);
    this.dueAt = performance.now() + delayMs;
    this.timer = setTimeout(() => this.tick(), delayMs);
  }

  private tick(): void {
    this.endOverdue();
    const now = performance.now();
    const watched = this.watched();
    const plannedMs = this.dueAt - this.tickedAt;
    this.tickedAt = now;
    for (const id of this.liveness.tick(now, watched, plannedMs)) {
      this.options.children.get(id)?.connection?.send({ type: "ping" });
    }
    if (this.liveness.hasOverdue(watched)) {
      this.dueAt = 0;
      this.timer = setTimeout(() => setImmediate(() => this.examineHung()), READ_PASS_MS);
    } else this.arm(this.isQuiet(watched) ? QUIET_TICK_MS : TICK_MS);
  }

  /** Whether the slow tick is enough. It is not enough while a balancer reports an overdue request, even one at a draining process. */
  private isQuiet(watched: readonly Watched[]): boolean {
    const hasOverdue = [...this.options.children.alive()].some(({ overdue }) => overdue !== null);
    return !hasOverdue && this.liveness.isQuiet(watched);
  }

  private examineHung(): void {
    this.arm();
    const watched = this.watched();
    for (const id of this.liveness.hung(watched, (pool) => this.isRecovering(pool))) {
      const child = this.options.children.get(id);
      if (child === undefined || child.verdict !== null || this.examinations.isUnderWay(child)) continue;
      const running = child.running === null ? "" : ` while running ${child.running}`;
      const forMs = this.liveness.unansweredMs(id);
      const isEarly = watched.some((each) => each.id === id && forMs < each.hangAfterMs);
      const beside = isEarly ? ", while the instances in service respond" : "";
      this.kill(child, "hung", `hung: its event loop was blocked for ${seconds(forMs)}${running}${beside}`);
    }
  }

  private kill(child: LiveProcess, type: "hung" | "overrun", reason: string): void {
    const { attempt, id } = child;
    const isPython = child.runtime.startsWith("python ");
    // SIGABRT makes Python's faulthandler write all stacks, even while a view holds the interpreter.
    const report = (afterMs = 0) => {
      const how = { ...(isPython && { signal: "SIGABRT" as const }), ...(afterMs > 0 && { afterMs }) };
      this.options.report(child, { type, attempt, reason, ...how });
      if (isPython) setTimeout(() => this.options.children.signal(id, "SIGKILL"), afterMs + TRACEBACK_MS);
    };
    const condemn = () => {
      child.verdict = reason;
      child.death.killedAs = type === "hung" ? "hung" : "requestTimeout";
    };
    if (isInspectable(child)) {
      const { running } = child;
      return void this.examine(child, () => {
        condemn();
        child.running = running;
        report();
      });
    }
    condemn();
    if (child.maxInFlight === 1 || (type === "hung" && !isPython)) return report();
    // If the process can still read this message, it writes the stack of the thread that runs the request or blocks the event loop.
    if (isPython) child.connection?.send({ type: "describeOverdue" });
    // The process leaves its pool immediately. Its other requests, also those of other balancers, may finish.
    report(HEAR_MS);
  }

  /** Reads the stack of a hung process, then calls `end`, unless the event loop of the process turns again in the meantime. */
  private async examine(child: LiveProcess, end: () => void): Promise<void> {
    const blockedMs = this.liveness.unansweredMs(child.id);
    const { dumped } = child.death;
    const known = { frames: dumped, ranAfterMs: undefined };
    const { frames, ranAfterMs } = dumped.length > 0 ? known : await this.examinations.examine(child);
    if (child.exit !== null) return;
    if (ranAfterMs !== undefined) {
      const text = `its event loop was blocked, and ran again after ${seconds(blockedMs + ranAfterMs)}: not killed`;
      return this.options.onRanAgain(child, text);
    }
    child.death.stack = frames.map(frameText);
    child.death.place = placeInApp(frames, builtFile("programs/"));
    end();
  }

  private watched(): Watched[] {
    const { children, fleet, policyOf } = this.options;
    return fleet().pools.flatMap((pool) =>
      pool.slots.flatMap((slot) =>
        occupants(slot).flatMap(({ role, occupant }) => {
          const { process, generation } = occupant;
          const id = processId(slot.name, process.attempt);
          const child = process.state === "ready" ? children.get(id) : undefined;
          if (child?.exit !== null) return [];
          const hangAfterMs = child.isDumping ? 0 : policyOf(pool.name, generation).hangAfterMs;
          const isTried = isCanary(pool, role, occupant);
          return { id, pool: pool.name, isBusy: child.isBusy, hangAfterMs, isCanary: isTried };
        }),
      ),
    );
  }

  private isRecovering(pool: string): boolean {
    const slots = findPool(this.options.fleet(), pool)?.slots ?? [];
    return slots.some(
      ({ member: { process } }) =>
        process.goal === "up" && (process.state === "killing" || process.state === "starting"),
    );
  }
}

/** Whether a balancer other than the one that reported the overdue request also has requests at this process. */
function isSharedByBalancers({ overdue, relayed }: LiveProcess): boolean {
  return [...relayed].some(([balancer, inFlight]) => inFlight > 0 && balancer !== overdue?.by);
}

/** If there are several requests, the one that has waited longest need not be the cause. */
function nameOverdue(request: string, { maxInFlight }: LiveProcess): string {
  return (maxInFlight ?? 1) > 1 ? `${request}, its oldest request,` : request;
}
