/** What is recorded about a running process for a report of its death, and its measurements of the last five minutes. */
import type { LostRequest, LostRequests } from "@paceline/wire";
import type { GroupKill } from "../core/control-groups.js";
import { type DeathHistory, type DeathKind, MAX_REQUESTS } from "../core/deaths.js";
import type { Frame } from "../core/stacks.js";

const MAX_LOST_MESSAGES = 16;
/** How long after we notice an exit balancers may report the requests that were lost with it. */
export const TOGETHER_MS = 6000;
/** How much earlier than us a balancer may notice an exit. A request that was lost even earlier has another cause. */
const BEFORE_MS = 500;
/** How much earlier than the kill of its process a request may be lost, because the client of a request that is too slow gets 504 first. */
const BEFORE_KILL_MS = 4000;

export class DeathNotes {
  /** Why we killed it; null if we did not. */
  killedAs: DeathKind | null = null;
  /** What its output says about the cause of its exit; empty if nothing. */
  said = "";
  /** How the kernel killed a process of its control group: null if it did not, undefined without such a group. */
  kernelKill: GroupKill | null | undefined;
  /** Whether the process is being replaced because of its memory. */
  isOverMemory = false;
  /** Where its code was when we killed it, innermost frame first. */
  stack: string[] = [];
  /** The function of the app in that stack, such as `total (app.js:12)`. */
  place: string | undefined;
  /** The stack that a dump has shown since the process last sent a message. While a process is blocked, Node shows no further stack. */
  dumped: Frame[] = [];
  /** The number of its report, until an event has mentioned it. */
  report: number | null = null;
  readonly history = new ProcessHistory();
  private readonly losses: { at: number; requests: LostRequest[]; omitted: number }[] = [];

  /** Records requests that a balancer has lost at this process. A connection may break although the process continues to run. */
  lose({ requests, omitted }: LostRequests, at: number): void {
    this.losses.push({ at, requests: requests.slice(0, MAX_REQUESTS), omitted });
    if (this.losses.length > MAX_LOST_MESSAGES) this.losses.shift();
  }

  /** Returns the requests lost when the process exited. */
  lostAtEnd(endedAt: number): { requests: LostRequest[]; requestsOmitted: number } {
    const beforeMs = this.killedAs === null ? BEFORE_MS : BEFORE_KILL_MS;
    const together = this.losses.filter(({ at }) => at >= endedAt - beforeMs);
    return {
      requests: together.flatMap(({ requests }) => requests),
      requestsOmitted: together.reduce((sum, { omitted }) => sum + omitted, 0),
    };
  }

  /** Returns ` (paceline deaths show 17)` for the first event after the death, then nothing. */
  takeReportText(): string {
    const text = this.report === null ? "" : ` (paceline deaths show ${this.report})`;
    this.report = null;
    return text;
  }
}

/** 60 samples, one every 5 s, take 0.7 kB per process. */
const SAMPLES = 60;
export const SAMPLE_EVERY_MS = 5000;
const FIGURES = 3;

/** What is measured for a sample; undefined if nothing was measured. */
interface Sample {
  rssBytes: number | undefined;
  requestsTotal: number | undefined;
}

/** The last five minutes of a process: memory, delay of its event loop, requests. */
export class ProcessHistory {
  /** Created with the first measurement, so that a process that exits at once needs no memory for it. */
  private values: Float32Array | undefined;
  private taken = 0;
  private requestsTotal = 0;
  private takenAt = 0;
  /** The longest delay reported since the last sample. */
  private lagMs: number | undefined;

  /** Records a delay that the process has reported. */
  noteLag(ms: number): void {
    this.lagMs = Math.max(this.lagMs ?? 0, ms);
  }

  /** @param at milliseconds of the monotonic clock */
  add({ rssBytes, requestsTotal }: Sample, at: number): void {
    const isKnown = rssBytes !== undefined || requestsTotal !== undefined || this.lagMs !== undefined;
    if (this.values === undefined && !isKnown) return;
    this.values ??= new Float32Array(SAMPLES * FIGURES);
    const from = (this.taken % SAMPLES) * FIGURES;
    const seconds = this.takenAt === 0 ? SAMPLE_EVERY_MS / 1000 : Math.max(0.2, (at - this.takenAt) / 1000);
    this.values[from] = rssBytes === undefined ? Number.NaN : rssBytes;
    this.values[from + 1] = this.lagMs ?? Number.NaN;
    this.values[from + 2] =
      requestsTotal === undefined ? Number.NaN : Math.max(0, requestsTotal - this.requestsTotal) / seconds;
    this.requestsTotal = requestsTotal ?? this.requestsTotal;
    this.lagMs = undefined;
    this.takenAt = at;
    this.taken++;
  }

  /** Returns the samples, oldest first; null if there are none. */
  read(): DeathHistory | null {
    const { values, taken } = this;
    if (values === undefined) return null;
    const count = Math.min(taken, SAMPLES);
    const figure = (which: number) =>
      Array.from({ length: count }, (_, at) => {
        const value = values[((taken - count + at) % SAMPLES) * FIGURES + which] as number;
        return Number.isNaN(value) ? null : Math.round(value * 10) / 10;
      });
    return {
      everyMs: SAMPLE_EVERY_MS,
      rssBytes: figure(0),
      eventLoopLagMs: figure(1),
      requestsPerSecond: figure(2),
    };
  }
}
