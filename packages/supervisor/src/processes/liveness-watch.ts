/** Asks the processes of the fleet for signs of life, and has those killed that are hung or whose request has overrun its time. */
import { type Fleet, findPool, occupants, processId } from "../core/fleet.js";
import { Liveness, type Watched } from "../core/liveness.js";
import type { Report, SlotPolicy } from "../core/process.js";
import { seconds } from "../core/words.js";
import type { Children } from "./children.js";
import type { LiveProcess } from "./live-process.js";

export interface LivenessWatchOptions {
  children: Children;
  fleet(): Fleet;
  policyOf(pool: string, generation: number): SlotPolicy;
  /** The pool's key of that name; 0 for never. */
  requestTimeoutMs(pool: string): number;
  report(child: LiveProcess, report: Report): void;
}

const TICK_MS = 1000;
/** Between two ticks while nothing is heard and no process has a request. */
const QUIET_TICK_MS = 5000;
const SHORTEST_TICK_MS = 50;
/** Between the look that finds somebody overdue and the verdict all that had come is read. */
const READ_PASS_MS = 10;
/** A report may have left a process just before a request came, and be read later. */
const REPORT_MS = 500;
/** How long a Python process may take to write its tracebacks before it is killed. */
const TRACEBACK_MS = 500;
/** How long it may take to write the one that it was asked for. */
const HEAR_MS = 300;

export class LivenessWatch {
  private readonly liveness = new Liveness();
  private timer: NodeJS.Timeout | undefined;
  /** A look at what is overdue, before that of the next tick. */
  private overdueTimer: NodeJS.Timeout | undefined;
  /** When the last tick was and the next is due, by performance.now(). */
  private tickedAt = performance.now();
  private dueAt = 0;
  private isOver = false;

  constructor(private readonly options: LivenessWatchOptions) {}

  start(): void {
    this.arm();
  }

  stop(): void {
    this.isOver = true;
    clearTimeout(this.timer);
    clearTimeout(this.overdueTimer);
  }

  /** Something came from this process. */
  heard(child: LiveProcess): void {
    this.liveness.heard(child.id);
    child.running = null;
    // Something may have begun, such as a request.
    if (this.dueAt > performance.now() + TICK_MS) this.arm(TICK_MS);
  }

  /** For how long it has not answered; null while that is no longer than usual. */
  stalledMs(id: string): number | null {
    return this.liveness.stalledMs(id);
  }

  /** Its request may have overrun its time already, or does before the next tick. */
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
      Math.max(READ_PASS_MS, leftMs),
    );
  }

  /** Ends those in which a request that nobody waits for has overrun its time, also while they drain. */
  private endOverdue(): void {
    for (const child of this.options.children.alive()) {
      if (child.overdue === null || child.verdict !== null) continue;
      const timeoutMs = this.options.requestTimeoutMs(child.pool);
      const forMs = performance.now() - child.overdue.since;
      if (timeoutMs === 0 || forMs < timeoutMs) continue;
      // A Python process counts by itself, and its balancers may have left it before the request ended. Its word from before the request
      // says nothing: one whose view holds the interpreter reports no more.
      if (child.mark === null && child.stats.hasReportedIdle(child.overdue.since, REPORT_MS)) child.overdue = null;
      else
        this.kill(
          child,
          "overrun",
          `hung: ${child.overdue.request} took over ${seconds(timeoutMs)} (requestTimeoutMs)`,
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
      this.timer = setTimeout(() => setImmediate(() => this.judge()), READ_PASS_MS);
    } else this.arm(this.isQuiet(watched) ? QUIET_TICK_MS : TICK_MS);
  }

  /** A request that may overrun its time is one that a balancer told of, even of a process that drains. */
  private isQuiet(watched: readonly Watched[]): boolean {
    const hasOverdue = [...this.options.children.alive()].some(({ overdue }) => overdue !== null);
    return !hasOverdue && this.liveness.isQuiet(watched);
  }

  private judge(): void {
    this.arm();
    for (const id of this.liveness.hung(this.watched(), (pool) => this.isRecovering(pool))) {
      const child = this.options.children.get(id);
      if (child === undefined || child.verdict !== null) continue;
      const running = child.running === null ? "" : ` while running ${child.running}`;
      const forMs = this.liveness.unansweredMs(id);
      this.kill(child, "hung", `hung: its event loop was blocked for ${seconds(forMs)}${running}`);
    }
  }

  private kill(child: LiveProcess, type: "hung" | "overrun", reason: string): void {
    const { attempt, id } = child;
    child.verdict = reason;
    const isPython = child.runtime.startsWith("python ");
    // Python's faulthandler writes what each thread is at, and nothing else can while a view runs.
    const report = () => {
      this.options.report(child, { type, attempt, reason, ...(isPython && { signal: "SIGABRT" }) });
      if (isPython) setTimeout(() => this.options.children.signal(id, "SIGKILL"), TRACEBACK_MS);
    };
    if (!isPython || type === "hung" || child.maxInFlight === 1) return report();
    // Where it can hear that, it writes what the one of its threads is at that is meant.
    child.connection?.send({ type: "describeOverdue" });
    setTimeout(report, HEAR_MS);
  }

  private watched(): Watched[] {
    const { children, fleet, policyOf } = this.options;
    return fleet().pools.flatMap(({ name, slots }) =>
      slots.flatMap((slot) =>
        occupants(slot).flatMap(({ occupant: { process, generation } }) => {
          const id = processId(slot.name, process.attempt);
          const child = process.state === "ready" ? children.get(id) : undefined;
          if (child?.exit !== null) return [];
          return { id, pool: name, isBusy: child.isBusy, hangAfterMs: policyOf(name, generation).hangAfterMs };
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
