/** Scales pools whose size follows their load: measures them once in each period, and carries out what core/autoscale.ts decides. */
import { type CronTimes, readCron } from "@paceline/wire/cron";
import type { LastScaling, ScalingStatus } from "../control/api.js";
import { decideSize, NEW_SCALING, type ScalingState } from "../core/autoscale.js";
import { type Fleet, findPool, leavesOnlyDrained, type Pool } from "../core/fleet.js";
import { resize } from "../core/fleet-changes.js";
import type { ScalingConfig } from "../core/model.js";
import { metricOf } from "../core/scaling-needs.js";
import { servingOf } from "../core/serving.js";
import type { EventLog } from "../logs/event-log.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import type { LoadSamples } from "./load-samples.js";
import type { Rollouts } from "./rollouts.js";

const PERIOD_MS = 1000;

interface AutoscalingOptions {
  runner: Pick<FleetRunner, "fleet" | "change" | "watch">;
  rollouts: Pick<Rollouts, "of" | "endRecycling">;
  samples: Pick<LoadSamples, "begin" | "of" | "keepOnly">;
  log: Pick<EventLog, "event">;
  /** Returns null for a pool with a fixed number of instances. */
  configOf(pool: string): ScalingConfig | null;
  /** Whether an operation other than a recycling is changing the pool. */
  isBusy(pool: string): boolean;
  isStopping(): boolean;
  /** The time between two measurements, in milliseconds. Default: 1,000. */
  periodMs?: number | undefined;
}

interface Scaled {
  config: ScalingConfig;
  schedule: SizeSchedule;
  state: ScalingState;
  floor: number | null;
  figure: number | null;
  last: LastScaling | null;
}

export class Autoscaling {
  private readonly pools = new Map<string, Scaled>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: AutoscalingOptions) {}

  /** Starts to measure once there is an autoscaled pool. */
  start(): void {
    this.options.runner.watch(() => this.arm());
    this.arm();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  statusOf(pool: string): ScalingStatus | null {
    const scaled = this.scaledOf(pool);
    if (scaled === undefined) return null;
    const { floor, config, figure, last } = scaled;
    return { ...this.boundsOf(scaled), floor, target: config.target, figure, last };
  }

  /** Sets the minimum size until the next reload. Returns the reason if it is out of range. */
  setFloor(pool: string, instances: number): string | undefined {
    const scaled = this.scaledOf(pool);
    if (scaled === undefined) return undefined;
    const { min, max } = this.boundsOf({ ...scaled, floor: null });
    if (instances < min || instances > max)
      return `${pool} is autoscaled from ${min} to ${max} instances, not to ${instances}: change \`instances\` in the config and reload`;
    scaled.floor = instances === min ? null : instances;
    return undefined;
  }

  /** The minimum sizes set with `setFloor` that are in force, for a supervisor that takes over. */
  floors(): [pool: string, instances: number][] {
    return [...this.pools.keys()].flatMap((pool) => {
      const floor = this.scaledOf(pool)?.floor ?? null;
      return floor === null ? [] : [[pool, floor] as [string, number]];
    });
  }

  /** Takes over the minimum sizes of an earlier supervisor. */
  restoreFloors(floors: readonly [pool: string, instances: number][]): void {
    for (const [pool, floor] of floors) {
      const scaled = this.scaledOf(pool);
      if (scaled !== undefined) scaled.floor = floor;
    }
  }

  private arm(): void {
    const { fleet } = this.options.runner;
    const isNeeded = fleet.pools.some(({ name }) => this.options.configOf(name) !== null);
    if (isNeeded === (this.timer !== undefined) || this.options.isStopping()) return;
    clearInterval(this.timer);
    this.timer = isNeeded ? setInterval(() => this.look(), this.options.periodMs ?? PERIOD_MS) : undefined;
    this.timer?.unref();
  }

  private look(): void {
    const { runner, samples, configOf, isStopping } = this.options;
    if (isStopping()) return this.stop();
    const { pools } = runner.fleet;
    const scaled = new Set(pools.flatMap(({ name }) => (configOf(name) === null ? [] : [name])));
    for (const name of this.pools.keys()) if (!scaled.has(name)) this.pools.delete(name);
    samples.keepOnly(scaled);
    samples.begin();
    for (const name of scaled) this.lookAt(runner.fleet, name);
  }

  private lookAt(fleet: Fleet, name: string): void {
    const { samples, isBusy } = this.options;
    const pool = findPool(fleet, name);
    const scaled = this.scaledOf(name);
    if (pool === undefined || scaled === undefined) return;
    const now = performance.now();
    const load = samples.of(pool, now);
    scaled.figure = metricOf(load, scaled.config.target);
    const busy = isBusy(name);
    const { serving, drained } = servingOf(pool);
    const unready = pool.wanted - drained - serving;
    const sample = { ...load, wanted: pool.wanted, drained, unready, isBusy: busy };
    const { config } = scaled;
    // An operation has its own size; the limits are enforced after it.
    const bounds = busy ? { min: pool.wanted, max: pool.wanted } : this.boundsOf(scaled);
    const { state, wanted, reason } = decideSize(scaled.state, sample, { ...config, ...bounds }, now);
    scaled.state = state;
    // The remaining slots would get no requests.
    if (leavesOnlyDrained(pool, wanted)) return;
    if (reason !== null && wanted !== pool.wanted) this.resize(pool, scaled, wanted, reason);
  }

  private resize({ name, wanted: from }: Pool, scaled: Scaled, to: number, reason: string): void {
    const { runner, rollouts, log } = this.options;
    scaled.last = { at: Date.now(), from, to, reason };
    log.event("info", name, `is being scaled from ${from} to ${to}: ${reason}`);
    rollouts.endRecycling(name);
    runner.change((fleet, context) => resize(fleet, name, to, context));
  }

  private boundsOf({ schedule, floor }: Scaled): Bounds {
    const { min, max } = schedule.at(Date.now());
    return { min: Math.min(max, Math.max(min, floor ?? min)), max };
  }

  /** Returns the state of a pool; undefined if its size is fixed. The state is discarded when the pool's rules change. */
  private scaledOf(pool: string): Scaled | undefined {
    const config = this.options.configOf(pool);
    if (config === null) return undefined;
    const known = this.pools.get(pool);
    if (known?.config === config) return known;
    const scaled: Scaled = {
      ...{ config, schedule: new SizeSchedule(config), state: NEW_SCALING },
      ...{ floor: null, figure: null, last: known?.last ?? null },
    };
    this.pools.set(pool, scaled);
    return scaled;
  }
}

/** Returns the size with which a pool starts; an entry of its schedule may already apply. */
export function firstSizeOf({ instances, scaling }: { instances: number; scaling: ScalingConfig | null }): number {
  return scaling === null ? instances : sizeWithin(scaling, instances);
}

/** Returns the size with which an autoscaled pool continues after a reload. */
export function sizeWithin(config: ScalingConfig, wanted: number): number {
  const { min, max } = new SizeSchedule(config).at(Date.now());
  return Math.min(max, Math.max(min, wanted));
}

interface Bounds {
  min: number;
  max: number;
}

/** The limits of an autoscaled pool at a time: those of the last entry of its schedule that has come into force. */
export class SizeSchedule {
  private readonly entries: readonly { times: CronTimes; bounds: Bounds }[];
  private current: Bounds;
  /** The times by the clock between which `current` is valid. */
  private from = Number.POSITIVE_INFINITY;
  private until = Number.NEGATIVE_INFINITY;

  /** The patterns were checked with the config. */
  constructor(private readonly config: ScalingConfig) {
    this.current = config;
    this.entries = config.schedule.flatMap(({ cron, min, max }) => {
      const times = readCron(cron, config.timezone ?? undefined);
      return "problem" in times ? [] : [{ times, bounds: { min, max } }];
    });
  }

  /** @param at Unix time in milliseconds; a clock that was set back is detected */
  at(at: number): Bounds {
    if (at >= this.from && at < this.until) return this.current;
    let began = Number.NEGATIVE_INFINITY;
    this.current = { min: this.config.min, max: this.config.max };
    this.until = Number.POSITIVE_INFINITY;
    for (const { times, bounds } of this.entries) {
      // A pattern that is due at this very moment counts, too.
      const last = times.previous(at + 1) ?? Number.NEGATIVE_INFINITY;
      if (last > began) {
        began = last;
        this.current = bounds;
      }
      this.until = Math.min(this.until, times.next(at) ?? Number.POSITIVE_INFINITY);
    }
    this.from = Math.max(began, at - 1000);
    return this.current;
  }
}
