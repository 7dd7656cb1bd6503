/** Samples every process and pool once a second for the history that clients see, and stores the marks of deaths and changes in it. */
import { rssBytes as ownRssBytes, type SparseHistogram } from "@paceline/wire";
import type { FigureHistory, HistoryMark } from "../control/api.js";
import { type Fleet, occupants, processId } from "../core/fleet.js";
import { growthsPerMinute } from "../core/memory-slope.js";
import { ALL_CLIENTS } from "../core/words.js";
import type { Children } from "../processes/children.js";
import type { LiveProcess } from "../processes/live-process.js";
import { SeriesBook, type SeriesSample } from "../stats/series.js";
import type { StatsBook } from "../stats/stats.js";
import type { UsageSampler } from "../stats/usage.js";

const EVERY_MS = 1000;
const MAX_MARKS = 256;
const MAX_CLOCK_ERROR_MS = 2000;
const GROWTH_EVERY_SECONDS = 5;
/** The name of the series of the supervisor, including shims and templates: together with all pools it covers the whole fleet. */
export const SUPERVISOR = "supervisor";

interface SeriesKeeperOptions {
  fleet(): Fleet;
  children: Pick<Children, "get" | "helpers">;
  stats: Pick<StatsBook, "takeEndedErrors">;
  usage: Pick<UsageSampler, "peek">;
  /** Whether the pool gets requests, and whether it is connected to the clients, as balancers and instances in direct mode are. */
  serves(pool: string): boolean;
  isFront(pool: string): boolean;
}

/** Returns the name of the series of a replacement or a canary. */
function replacementName(slot: string): string {
  return `${slot} (replacement)`;
}

const NOTHING: SeriesSample = {
  ...{ requests: null, errors5xx: null, inFlight: null, rssBytes: null, cpuPercent: null, latency: [] },
};

export class SeriesKeeper {
  private readonly book = new SeriesBook();
  private readonly marks: HistoryMark[] = [];
  private timer: NodeJS.Timeout | undefined;
  private startedAt = 0;
  /** The Unix time of second 0. */
  private startedUnix = 0;
  private second = 0;
  /** By pool: by how many bytes a minute the memory of its processes grows, and when that was computed. */
  private readonly growths = new Map<string, { second: number; of: ReadonlyMap<string, number> }>();
  private cpu = { at: 0, micros: 0 };
  /** The CPU time of the whole fleet in the last sample, in percent of one core; null while nothing has been measured. */
  cpuPercent: number | null = null;

  constructor(private readonly options: SeriesKeeperOptions) {}

  start(): void {
    this.startedAt = performance.now();
    this.startedUnix = Date.now();
    this.timer ??= setInterval(() => this.sample(performance.now()), EVERY_MS);
    this.timer.unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  mark(mark: HistoryMark): void {
    this.marks.push(mark);
    if (this.marks.length > MAX_MARKS) this.marks.shift();
  }

  /** Returns how many responses with status 500 and above the slot or pool had in the last minute. */
  errorsPerMinute(name: string): number {
    return Math.round(this.book.sumOf(name, "errors5xx", 60));
  }

  /** Returns by how many bytes a minute the memory of some of these processes of a pool grows, as core/memory-slope.ts decides. */
  growthsOf(
    pool: string,
    processes: readonly { name: string; uptimeSeconds: number; generation: number }[],
  ): ReadonlyMap<string, number> {
    const known = this.growths.get(pool);
    if (known !== undefined && this.second - known.second < GROWTH_EVERY_SECONDS) {
      // A process that is younger than that has taken over the name of another one.
      const isYoung = new Set(
        processes.filter((each) => each.uptimeSeconds <= GROWTH_EVERY_SECONDS).map(({ name }) => name),
      );
      return new Map([...known.of].filter(([name]) => !isYoung.has(name)));
    }
    const found = growthsPerMinute(
      processes.map(({ name, uptimeSeconds, generation }) => ({
        ...{ uptimeSeconds, generation, bytes: this.book.memoryOf(name) },
      })),
    );
    const of = new Map(processes.flatMap(({ name }, at) => (found[at] == null ? [] : [[name, found[at]] as const])));
    this.growths.set(pool, { second: this.second, of });
    return of;
  }

  /** @param since a Unix time in milliseconds; only later samples are returned */
  read(zoom: "seconds" | "minutes", since = 0): FigureHistory {
    const everyMs = zoom === "seconds" ? EVERY_MS : 60_000;
    // The samples of all responses lie on one time grid, so that they can be joined.
    const now = this.startedUnix + Math.floor((this.second * EVERY_MS) / everyMs) * everyMs;
    const most = Math.max(0, Math.round((now - since) / everyMs));
    const { length, series } = this.book.read(zoom, most);
    const first = now - length * everyMs;
    return { now, everyMs, length, series, marks: this.marks.filter(({ at }) => at >= first) };
  }

  private sample(now: number): void {
    const second = Math.floor((now - this.startedAt) / EVERY_MS);
    const samples = new Map<string, SeriesSample>();
    const ended = this.options.stats.takeEndedErrors();
    for (const pool of this.options.fleet().pools) {
      const ofRequests = this.options.serves(pool.name);
      const all: SeriesSample[] = ended.flatMap(({ name, pool: owner, errors }) =>
        name === "" && owner === pool.name ? [{ ...NOTHING, errors5xx: errors }] : [],
      );
      for (const slot of pool.slots) {
        const lost = ended.reduce((sum, { name, errors }) => (name === slot.name ? sum + errors : sum), 0);
        let own = NOTHING;
        for (const { role, occupant } of occupants(slot)) {
          const child = this.options.children.get(processId(slot.name, occupant.process.attempt));
          if (child === undefined || child.exit !== null) continue;
          const sample = this.sampleOf(child, ofRequests, now);
          all.push(sample);
          if (role === "member") own = sample;
          else if (role === "replacement") samples.set(replacementName(slot.name), sample);
        }
        if (lost > 0) all.push({ ...NOTHING, errors5xx: lost });
        samples.set(slot.name, lost > 0 ? { ...own, errors5xx: (own.errors5xx ?? 0) + lost } : own);
      }
      samples.set(pool.name, sumOf(all));
    }
    const helpers = [...this.options.children.helpers()].map((key) => ({ ...NOTHING, ...this.usageOf(key) }));
    const own = sumOf([this.ownSample(now), ...helpers]);
    const { pools } = this.options.fleet();
    const samplesOf = (some: Fleet["pools"]) => some.flatMap(({ name }) => samples.get(name) ?? []);
    const { cpuPercent } = sumOf([...samplesOf(pools), own]);
    this.cpuPercent = cpuPercent === null ? null : Math.round(10 * cpuPercent) / 10;
    samples.set(ALL_CLIENTS, sumOf(samplesOf(pools.filter(({ name }) => this.options.isFront(name)))));
    if (!samples.has(SUPERVISOR)) samples.set(SUPERVISOR, own);
    this.book.take(second, samples);
    for (const name of this.growths.keys()) if (!samples.has(name)) this.growths.delete(name);
    this.second = second;
    // A larger difference means that the system clock was set.
    const unix = Date.now() - (now - this.startedAt);
    if (Math.abs(unix - this.startedUnix) > MAX_CLOCK_ERROR_MS) this.startedUnix = Math.round(unix);
  }

  private sampleOf({ stats, pid }: LiveProcess, ofRequests: boolean, now: number): SeriesSample {
    const memory = this.usageOf(pid);
    const { errors, latency } = stats.takeSample(now);
    if (!ofRequests) return { ...NOTHING, ...memory };
    const requests = stats.requestsPerSecond(now);
    return { requests, errors5xx: errors, inFlight: stats.last?.inFlight ?? 0, latency, ...memory };
  }

  private usageOf(key: number | null): Pick<SeriesSample, "rssBytes" | "cpuPercent"> {
    const { rssBytes = null, cpuPercent = null } = (key === null ? undefined : this.options.usage.peek(key)) ?? {};
    return { rssBytes, cpuPercent };
  }

  private ownSample(now: number): SeriesSample {
    const { user, system } = process.cpuUsage();
    const { at, micros } = this.cpu;
    this.cpu = { at: now, micros: user + system };
    const cpuPercent = at === 0 ? null : (user + system - micros) / (10 * Math.max(1, now - at));
    return { ...NOTHING, rssBytes: ownRssBytes(), cpuPercent };
  }
}

/** Returns the sum; null where all are unknown. */
function sumOf(samples: readonly SeriesSample[]): SeriesSample {
  const latency: SparseHistogram[] = [];
  const sums = { ...NOTHING, latency };
  for (const sample of samples) {
    for (const figure of ["requests", "errors5xx", "inFlight", "rssBytes", "cpuPercent"] as const)
      if (sample[figure] !== null) sums[figure] = (sums[figure] ?? 0) + sample[figure];
    latency.push(...sample.latency);
  }
  return sums;
}
