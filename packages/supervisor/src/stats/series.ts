/**
 * What each process and pool did in the last five minutes by second, and in the last day by minute. All series share one clock, so that
 * their samples are aligned. A sample takes two bytes per figure. Names that are no longer sampled are forgotten.
 */
import { Histogram, type SparseHistogram } from "@paceline/wire";

export const SECONDS = 300;
export const MINUTES = 1440;
/** Names beyond this number are not kept. */
const MAX_NAMES = 2048;
/** The first size of a name's array of minutes, which grows as time passes. */
const FIRST_MINUTES = 30;

/** For each figure, the number of steps per unit that are distinguished, and how the seconds of a minute become one value. */
const FIGURES = {
  requests: { steps: 10, of: "mean" },
  errors5xx: { steps: 1000, of: "mean" },
  p50: { steps: 1000, of: "latency" },
  p99: { steps: 1000, of: "latency" },
  inFlight: { steps: 1, of: "highest" },
  rssBytes: { steps: 1 / 1024, of: "highest" },
  cpuPercent: { steps: 10, of: "mean" },
} as const;

type SeriesFigure = keyof typeof FIGURES;
const SERIES_FIGURES = Object.keys(FIGURES) as SeriesFigure[];
const COUNT = SERIES_FIGURES.length;
const STEPS = SERIES_FIGURES.map((figure) => FIGURES[figure].steps);

/** A value is null if it is unknown or nothing is running, which is not the same as zero. */
export interface SeriesSample {
  requests: number | null;
  errors5xx: number | null;
  inFlight: number | null;
  rssBytes: number | null;
  cpuPercent: number | null;
  /** The latencies of the responses of about this second. */
  latency: readonly SparseHistogram[];
}

const UNKNOWN = 0xffff;
/** Values below this are exact; values above it have an error of 0.05 %. */
const EXACT = 2048;

/** Packs a number of steps into two bytes: an exponent, and a mantissa of eleven bits. */
export function pack(value: number | null, steps: number): number {
  if (value === null || Number.isNaN(value)) return UNKNOWN;
  const whole = Math.max(0, Math.round(value * steps));
  if (whole < EXACT) return whole;
  const exponent = Math.floor(Math.log2(whole)) - 10;
  return Math.min(UNKNOWN - 1, (exponent << 10) + Math.round(whole / 2 ** exponent));
}

export function unpack(packed: number, steps: number): number | null {
  if (packed === UNKNOWN) return null;
  const exponent = packed < EXACT ? 0 : (packed >>> 10) - 1;
  const whole = (packed - (exponent << 10)) * 2 ** exponent;
  // A division has fewer digits from rounding errors than a multiplication by 0.001.
  return steps < 1 ? whole / steps : whole / Math.round(steps);
}

/** The figures of one name. */
interface Series {
  readonly seconds: Uint16Array;
  /** Grows up to a day; the first entry is the minute `firstMinute`. */
  minutes: Uint16Array;
  firstMinute: number;
  /** The current minute: sums and highest values, how many seconds were known, and all latencies. */
  readonly sums: Float64Array;
  readonly known: Uint8Array;
  latencies: Uint32Array | undefined;
  hasLatencies: boolean;
}

/** A series as arrays, oldest value first. */
type SeriesValues = Record<SeriesFigure, (number | null)[]>;

export class SeriesBook {
  private readonly all = new Map<string, Series>();
  /** Seconds since the first sample; -1 before it. */
  private second = -1;

  /** Records the samples of all names for a second. `second` grows with each call; seconds without samples stay unknown. */
  take(second: number, samples: ReadonlyMap<string, SeriesSample>): void {
    if (second <= this.second) return;
    const minute = Math.floor(second / 60);
    if (this.second >= 0 && minute !== Math.floor(this.second / 60)) this.endMinute(Math.floor(this.second / 60));
    for (const [name, series] of this.all) {
      if (!samples.has(name)) this.all.delete(name);
      else
        for (let missed = Math.max(this.second + 1, second - SECONDS); missed < second; missed++) blank(series, missed);
    }
    this.second = second;
    for (const [name, sample] of samples) {
      const series = this.all.get(name) ?? this.open(name, minute);
      if (series !== undefined) put(series, second, sample);
    }
  }

  private open(name: string, minute: number): Series | undefined {
    if (this.all.size >= MAX_NAMES) return undefined;
    const series: Series = {
      seconds: new Uint16Array(SECONDS * COUNT).fill(UNKNOWN),
      minutes: new Uint16Array(0),
      firstMinute: minute,
      sums: new Float64Array(COUNT),
      known: new Uint8Array(COUNT),
      latencies: undefined,
      hasLatencies: false,
    };
    this.all.set(name, series);
    return series;
  }

  private endMinute(minute: number): void {
    for (const series of this.all.values()) endMinute(series, minute);
  }

  /** Returns the newest `most` samples of every name, and their number. */
  read(zoom: "seconds" | "minutes", most = MINUTES): { length: number; series: Record<string, SeriesValues> } {
    const isSeconds = zoom === "seconds";
    const newest = isSeconds ? this.second : Math.floor(this.second / 60) - 1;
    const length = Math.max(0, Math.min(isSeconds ? SECONDS : MINUTES, newest + 1, most));
    const series = [...this.all].map(([name, each]) => {
      const of = (figure: SeriesFigure, at: number) =>
        Array.from({ length }, (_, index) => {
          const time = newest - length + 1 + index;
          return unpack(isSeconds ? secondOf(each, time, at) : minuteOf(each, time, at), FIGURES[figure].steps);
        });
      const values = Object.fromEntries(SERIES_FIGURES.map((figure, at) => [figure, of(figure, at)]));
      return [name, values as SeriesValues] as const;
    });
    return { length, series: Object.fromEntries(series) };
  }

  /** Returns the memory of a name by second, newest last; null where it is unknown. */
  memoryOf(name: string): (number | null)[] {
    const series = this.all.get(name);
    const figure = SERIES_FIGURES.indexOf("rssBytes");
    const length = series === undefined ? 0 : Math.min(SECONDS, this.second + 1);
    return Array.from({ length }, (_, at) =>
      unpack(secondOf(series as Series, this.second - length + 1 + at, figure), STEPS[figure] as number),
    );
  }

  /** Returns the sum of a rate over the last `seconds`; 0 for an unknown name. */
  sumOf(name: string, figure: SeriesFigure, seconds: number): number {
    const series = this.all.get(name);
    if (series === undefined) return 0;
    const at = SERIES_FIGURES.indexOf(figure);
    let sum = 0;
    for (let time = Math.max(0, this.second - seconds + 1); time <= this.second; time++)
      sum += unpack(secondOf(series, time, at), STEPS[at] as number) ?? 0;
    return sum;
  }
}

function secondOf({ seconds }: Series, second: number, figure: number): number {
  return seconds[(second % SECONDS) * COUNT + figure] as number;
}

function minuteOf({ minutes, firstMinute }: Series, minute: number, figure: number): number {
  if (minute < firstMinute) return UNKNOWN;
  return minutes[((minute - firstMinute) % MINUTES) * COUNT + figure] ?? UNKNOWN;
}

function blank({ seconds }: Series, second: number): void {
  seconds.fill(UNKNOWN, (second % SECONDS) * COUNT, (second % SECONDS) * COUNT + COUNT);
}

function put(series: Series, second: number, sample: SeriesSample): void {
  const { latency } = sample;
  const merged = latency.length === 0 ? null : Histogram.merge(latency);
  const values = [
    ...[sample.requests, sample.errors5xx, quantileMs(merged, 0.5), quantileMs(merged, 0.99)],
    ...[sample.inFlight, sample.rssBytes, sample.cpuPercent],
  ];
  const from = (second % SECONDS) * COUNT;
  for (let at = 0; at < COUNT; at++) {
    const value = values[at] ?? null;
    series.seconds[from + at] = pack(value, STEPS[at] as number);
    if (value === null) continue;
    const sum = series.sums[at] as number;
    series.sums[at] = FIGURES[SERIES_FIGURES[at] as SeriesFigure].of === "highest" ? Math.max(sum, value) : sum + value;
    series.known[at] = (series.known[at] as number) + 1;
  }
  if (merged === null) return;
  series.latencies ??= new Uint32Array(Histogram.bucketCount);
  series.hasLatencies = true;
  for (let bucket = 0; bucket < merged.length; bucket++) {
    const count = merged[bucket] as number;
    if (count !== 0) series.latencies[bucket] = (series.latencies[bucket] as number) + count;
  }
}

function endMinute(series: Series, minute: number): void {
  const at = (minute - series.firstMinute) % MINUTES;
  if (at < 0) return;
  if ((at + 1) * COUNT > series.minutes.length) {
    const room = Math.min(MINUTES, Math.max(FIRST_MINUTES, 2 * (at + 1)));
    const grown = new Uint16Array(room * COUNT).fill(UNKNOWN);
    grown.set(series.minutes);
    series.minutes = grown;
  }
  const latencies = series.hasLatencies ? Float64Array.from(series.latencies ?? []) : null;
  for (const [figure, { of, steps }] of Object.values(FIGURES).entries()) {
    const known = series.known[figure] as number;
    const sum = series.sums[figure] as number;
    const q = SERIES_FIGURES[figure] === "p50" ? 0.5 : 0.99;
    const value =
      of === "latency" ? quantileMs(latencies, q) : known === 0 ? null : of === "highest" ? sum : sum / known;
    series.minutes[at * COUNT + figure] = pack(value, steps);
  }
  series.sums.fill(0);
  series.known.fill(0);
  series.latencies?.fill(0);
  series.hasLatencies = false;
}

function quantileMs(counts: Float64Array | null, q: number): number | null {
  const us = counts === null ? null : Histogram.quantile(counts, q);
  return us === null ? null : us / 1000;
}
