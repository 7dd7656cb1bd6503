/** The last five minutes of each process, for the report of its death: memory, delay of its event loop, requests. */
import type { DeathHistory } from "../core/deaths.js";

/** 60 samples of 5 s take 0.7 kB a process. */
const SAMPLES = 60;
export const SAMPLE_EVERY_MS = 5000;
const FIGURES = 3;

/** What is measured for a sample; undefined if nothing was. */
export interface Sample {
  rssBytes: number | undefined;
  requestsTotal: number | undefined;
}

export class ProcessHistory {
  /** Made with the first sample: a process that ends at once needs none. */
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

  /** @param at milliseconds by a monotonic clock */
  add({ rssBytes, requestsTotal }: Sample, at: number): void {
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

  /** Returns the samples, the newest last; null if there are none. */
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
