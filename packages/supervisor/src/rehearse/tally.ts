/** Counts the outcomes of the requests of one phase. Pure. */
import type { LostAsk, PhaseEvidence } from "./evidence.js";
import { nameOf, type Outcome } from "./exchange.js";
import type { PhaseName } from "./phases.js";

/** Further losses are only counted. */
const MAX_LOSSES = 20;
const MAX_NAMES = 100;
/** A longer phase keeps every second duration, then every fourth, and so on. */
const MAX_DURATIONS = 20_000;

/** Status codes with which the balancer responds if no instance has responded to a request. */
const OF_THE_BALANCER = new Set([502, 503, 504]);

type Counts = Omit<PhaseEvidence, "repeated" | "failure">;

/** The figures of the responses to one request. */
interface AskFigures {
  responses: number;
  /** The mean duration in milliseconds. */
  averageMs: number;
  slowestMs: number;
  /** The number of responses by status. */
  statuses: Map<number, number>;
}

export class Tally {
  private sent = 0;
  private responses = 0;
  private lost = 0;
  private every = 1;
  private durations: number[] = [];
  private readonly losses: LostAsk[] = [];
  private readonly errors: Record<string, number> = {};
  readonly byRequest = new Map<string, AskFigures>();

  constructor(readonly phase: PhaseName) {}

  add({ ask, status, loss, durationMs }: Outcome): void {
    const request = nameOf(ask);
    this.sent++;
    const how = loss ?? (OF_THE_BALANCER.has(status) ? `${status}` : null);
    if (how !== null) {
      this.lost++;
      if (this.losses.length < MAX_LOSSES) this.losses.push({ request, how, ms: Math.round(durationMs) });
      return;
    }
    this.addDuration(durationMs);
    this.addFigures(request, status, durationMs);
    if (status >= 500 && (request in this.errors || Object.keys(this.errors).length < MAX_NAMES))
      this.errors[request] = (this.errors[request] ?? 0) + 1;
  }

  private addDuration(durationMs: number): void {
    if (this.responses++ % this.every === 0) this.durations.push(durationMs);
    if (this.durations.length < MAX_DURATIONS) return;
    this.durations = this.durations.filter((_, at) => at % 2 === 0);
    this.every *= 2;
  }

  private addFigures(request: string, status: number, durationMs: number): void {
    const known = this.byRequest.get(request);
    if (known === undefined) {
      if (this.byRequest.size >= MAX_NAMES) return;
      const statuses = new Map([[status, 1]]);
      this.byRequest.set(request, { responses: 1, averageMs: durationMs, slowestMs: durationMs, statuses });
      return;
    }
    known.responses++;
    known.averageMs += (durationMs - known.averageMs) / known.responses;
    known.slowestMs = Math.max(known.slowestMs, durationMs);
    known.statuses.set(status, (known.statuses.get(status) ?? 0) + 1);
  }

  counts(): Counts {
    const { phase: name, sent, lost, losses, errors } = this;
    const sorted = [...this.durations].sort((a, b) => a - b);
    const at = (share: number) => {
      const found = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
      return found === undefined ? null : Math.round(found * 10) / 10;
    };
    return { name, sent, lost, losses, errors, p50: at(0.5), p99: at(0.99), max: at(1) };
  }
}
