/**
 * A rehearsal: starts a second fleet from the user's configuration, sends it requests, does to it what happens to fleets in production, and
 * finds which promises do not hold.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { PoolConfig } from "../core/model.js";
import { PacelineError } from "../errors.js";
import type { FleetStart } from "../fleet/api.js";
import { acts, type Scene } from "./acts.js";
import type { Evidence, Finding, IdleFacts, PhaseEvidence, RepeatFacts, SlowFacts } from "./evidence.js";
import { type Ask, nameOf } from "./exchange.js";
import { findingsOf, holds, notesOf } from "./findings.js";
import { Load } from "./load.js";
import { PHASE_NAMES, type PhaseName, phaseOf } from "./phases.js";
import { probeIdle, probeSlow, probeState } from "./probes.js";
import type { Replayed } from "./recording.js";
import { addressOf, REPORT_EVERY_MS, type Stage, setStage } from "./stage.js";
import { Tally } from "./tally.js";
import { type Target, targetsOf } from "./targets.js";
import { deathsIn, LineWatch, MemoryWatch, PhaseClock, RepeatWatch, type SentSignal, statusOf } from "./watch.js";

interface RehearsalOptions {
  /** The fleet to rehearse. */
  start: FleetStart;
  /** The duration of all phases together, in milliseconds; an operation may take longer. */
  forMs: number;
  /** In requests per second. Default: a rate that leaves the instances enough idle time, at most 50. */
  rate?: number | undefined;
  /** Paths to request in place of those that the configuration names. */
  paths: readonly string[];
  /** The recording to send again; it replaces the constant rate. */
  replayed?: Replayed | undefined;
  /** The phases to run, in addition to the steady phase. */
  only: readonly PhaseName[];
  signal: AbortSignal;
  onProgress(message: string): void;
}

export interface Rehearsal {
  ok: boolean;
  name: string;
  pools: Evidence["pools"];
  requests: string[];
  rate: number | null;
  phases: (PhaseEvidence & { promise: string; holds: boolean })[];
  findings: Finding[];
  notes: string[];
}

/** The steady phase is this many times as long as another phase, because it takes time to detect that memory grows. */
const STEADY_SHARES = 3;
/** The time for two reports of every process. */
const SETTLE_MS = 2 * REPORT_EVERY_MS + 100;
const READY_MS = 60_000;
/** How much longer the steady phase may last, until the memory has been read often enough. */
const MEMORY_MS = 10_000;
const MAX_WARM = 50;
const MAX_OWN_RATE = 50;
const BUSY_SHARE = 0.25;
/** Slower requests are not sent in bursts or many times, because the last response would come too late. */
const MAX_QUICK_MS = 500;

/** @throws PacelineError if the fleet does not start; it leaves nothing behind then */
export async function rehearse(options: RehearsalOptions): Promise<Rehearsal> {
  const stage = await setStage(options);
  let play: Play | undefined;
  try {
    play = new Play(stage, options);
    return await play.run();
  } finally {
    play?.end();
    await stage.clear();
  }
}

class Play {
  private readonly targets: Target[];
  private readonly load: Load;
  private readonly scene: Scene;
  private readonly clock = new PhaseClock();
  private readonly repeats = new RepeatWatch();
  private readonly lines: LineWatch;
  private readonly sent: SentSignal[] = [];
  private readonly phases: PhaseEvidence[] = [];
  private steady = new Tally("steady");
  private readonly facts: Pick<Evidence, "pools" | "stayed"> & {
    memory: Evidence["memory"];
    idle: IdleFacts[];
    slow: SlowFacts[];
    repeats: RepeatFacts[];
  };

  /** @throws PacelineError `usage` if there is nothing to request */
  constructor(
    private readonly stage: Stage,
    private readonly options: RehearsalOptions,
  ) {
    const { config, fleet } = stage;
    const { paths, replayed, rate = MAX_OWN_RATE, signal } = options;
    const recorded = replayed?.entries.filter(({ ask }) => ask.method === "GET").map(({ ask }) => ask.path);
    this.targets = targetsOf(config.pools, recorded === undefined ? paths : [...new Set(recorded)]);
    const asks = this.targets.map(({ ask }) => ask);
    if (asks.length === 0) throw new PacelineError("usage", "nothing to request: name paths with --path");
    const pools = config.pools.filter(({ name }) => this.targets.some(({ pool }) => pool === name));
    this.load = new Load({ address: addressOf(stage), asks, rate, replayed });
    const stayed: Scene["stayed"] = [];
    const slowest = (pool: string) => this.slowest(pool);
    this.scene = { fleet, pools, load: this.load, slowest, sent: this.sent, stayed, signal };
    const known = pools.map(({ name, kind, instances }) => ({ name, kind, instances }));
    this.facts = { pools: known, stayed, memory: [], idle: [], slow: [], repeats: [] };
    this.lines = new LineWatch(fleet, this.clock);
  }

  async run(): Promise<Rehearsal> {
    const { only, forMs, replayed } = this.options;
    const names = PHASE_NAMES.filter((name) => name === "steady" || only.includes(name));
    const shares = names.filter((name) => !isQuiet(name)).length - 1 + STEADY_SHARES;
    await this.warm();
    for (const name of names) {
      this.checkInterrupted();
      this.options.onProgress(`${name}: ${phaseOf(name).does}`);
      await this.play(name, (forMs / shares) * (name === "steady" ? STEADY_SHARES : 1));
      // If the supervisor of the fleet is no longer running, the rehearsal cannot continue.
      if (this.phases.at(-1)?.failure != null && !(await this.isServing())) break;
    }
    await sleep(SETTLE_MS);
    const lines = this.lines.end();
    const deaths = deathsIn(this.stage.fleet.runDir, this.clock, this.sent);
    const evidence: Evidence = { ...this.facts, phases: this.phases, lines, deaths };
    const findings = findingsOf(evidence);
    return {
      ok: findings.length === 0,
      name: this.stage.config.name,
      pools: this.facts.pools,
      requests: this.targets.map(({ ask }) => nameOf(ask)),
      rate: replayed === undefined ? this.load.rate : null,
      phases: this.phases.map((phase) => ({
        ...phase,
        promise: phaseOf(phase.name).promise,
        holds: holds(phase, findings),
      })),
      findings,
      notes: [...notesOf(evidence), ...this.notesOfTargets()],
    };
  }

  end(): void {
    this.load.close();
    this.lines.end();
  }

  /** The first requests of a process load code. No phase should be blamed for that. */
  private async warm(): Promise<void> {
    const status = await statusOf(this.stage.fleet);
    const most = Math.max(...status.pools.map(({ ready }) => ready), 1);
    for (const { ask } of this.targets.slice(0, MAX_WARM)) {
      this.checkInterrupted();
      await Promise.all(Array.from({ length: most }, () => this.load.ask(ask)));
    }
    if (this.options.rate === undefined) this.load.rate = await this.bearableRate();
    await sleep(SETTLE_MS);
    this.repeats.take(await statusOf(this.stage.fleet));
    this.repeats.since();
  }

  /**
   * Returns a rate that leaves a pool idle most of the time, so that the other instances can handle the requests of one that is missing.
   */
  private async bearableRate(): Promise<number> {
    let busyMs = 0;
    const asked = this.targets.slice(0, MAX_WARM);
    for (const { pool, ask } of asked) {
      const { durationMs } = await this.load.ask(ask);
      const { instances = 1 } = this.facts.pools.find(({ name }) => name === pool) ?? {};
      // If the requests are sent in turn, each takes this share of the time of all instances of its pool.
      busyMs += durationMs / instances / asked.length;
    }
    return Math.max(1, Math.min(MAX_OWN_RATE, Math.floor((BUSY_SHARE * 1000) / busyMs)));
  }

  private async play(name: PhaseName, leastMs: number): Promise<void> {
    const { fleet } = this.stage;
    this.clock.begin(name);
    const tally = new Tally(name);
    if (name === "state") {
      this.facts.repeats = await probeState(this.scene, this.quickTargets(), tally);
      this.phases.push({ ...tally.counts(), repeated: 0, failure: null });
      return;
    }
    const memory = name === "steady" ? new MemoryWatch(await statusOf(fleet)) : undefined;
    if (!isQuiet(name)) this.load.start(tally);
    const from = performance.now();
    const failure = await this.act(name, tally);
    if (!isQuiet(name)) await sleep(Math.max(0, leastMs - (performance.now() - from)));
    while (memory?.isEnough === false && performance.now() - from < leastMs + MEMORY_MS) await sleep(REPORT_EVERY_MS);
    memory?.stop();
    await this.load.pause();
    if (name !== "stop") {
      await sleep(SETTLE_MS);
      const status = await statusOf(fleet).catch(() => undefined);
      if (status !== undefined) this.repeats.take(status);
      if (memory !== undefined) this.facts.memory = memory.facts(status);
    }
    this.phases.push({ ...tally.counts(), repeated: this.repeats.since(), failure });
    if (name !== "steady") return;
    this.steady = tally;
    this.facts.idle = await probeIdle(this.scene);
    this.facts.slow = await probeSlow(this.scene, this.slowRequests());
    this.repeats.take(await statusOf(fleet));
    this.repeats.since();
  }

  private async act(name: Exclude<PhaseName, "state">, tally: Tally): Promise<PhaseEvidence["failure"]> {
    try {
      await this.orInterrupted(acts[name](this.scene, tally));
      // The next phase begins when all instances run.
      if (name !== "stop" && name !== "steady") await this.stage.fleet.ready({ timeoutMs: READY_MS });
      return null;
    } catch (error) {
      this.checkInterrupted();
      if (!(error instanceof PacelineError)) throw error;
      return { message: error.message, lastLines: error.lastLines };
    }
  }

  private isServing(): Promise<boolean> {
    return statusOf(this.stage.fleet).then(
      ({ state }) => state === "running",
      () => false,
    );
  }

  /** Returns the slowest request of a pool that is still fast enough for a burst. */
  private slowest(pool: string): Ask[] {
    const isOfPool = (target: Target) => target.pool === pool;
    const usable = this.quickTargets().filter(isOfPool);
    const all = usable.length === 0 ? this.targets.filter(isOfPool) : usable;
    const sorted = [...all].sort((a, b) => this.averageOf(b) - this.averageOf(a));
    return sorted.slice(0, 1).map(({ ask }) => ask);
  }

  private quickTargets(): Target[] {
    return this.targets.filter((target) => this.averageOf(target) <= MAX_QUICK_MS);
  }

  private averageOf({ ask }: Target): number {
    return this.steady.byRequest.get(nameOf(ask))?.averageMs ?? 0;
  }

  private slowRequests(): { pool: PoolConfig; ask: Ask; slowestMs: number; quick: Ask }[] {
    const slowestOf = ({ ask }: Target) => this.steady.byRequest.get(nameOf(ask))?.slowestMs ?? 0;
    const sorted = [...this.targets].sort((a, b) => slowestOf(b) - slowestOf(a));
    return sorted.flatMap((target) => {
      const pool = this.scene.pools.find(({ name }) => name === target.pool);
      const quick = sorted.findLast((each) => each.pool === target.pool);
      if (pool === undefined || quick === undefined) return [];
      return [{ pool, ask: target.ask, slowestMs: slowestOf(target), quick: quick.ask }];
    });
  }

  private notesOfTargets(): string[] {
    const { replayed } = this.options;
    const skipped = replayed?.skipped ?? 0;
    const refused = this.targets.flatMap(({ ask }) => {
      const statuses = [...(this.steady.byRequest.get(nameOf(ask))?.statuses.keys() ?? [])];
      return statuses.length > 0 && statuses.every((status) => status >= 400 && status < 500)
        ? [`${nameOf(ask)} returned ${statuses.join(", ")}: name better paths with --path`]
        : [];
    });
    return [
      ...refused,
      ...(skipped > 0 ? [`${skipped} recorded requests were not sent again: they had a body, or a masked path`] : []),
      ...(this.load.unsent > 0
        ? [`${this.load.unsent} requests were not sent, because too many waited for a response`]
        : []),
    ];
  }

  private checkInterrupted(): void {
    if (this.options.signal.aborted) throw new PacelineError("interrupted", "interrupted; nothing is left running");
  }

  /** An operation may wait for a long time. On an interrupt the fleet is stopped, whatever the operation waits for. */
  private async orInterrupted(act: Promise<void>): Promise<void> {
    const { signal } = this.options;
    let abort = () => {};
    const interrupted = new Promise<void>((resolve) => {
      abort = resolve;
    });
    signal.addEventListener("abort", abort);
    act.catch(() => {});
    await Promise.race([act, interrupted]).finally(() => signal.removeEventListener("abort", abort));
    this.checkInterrupted();
  }
}

/** Whether the phase sends its own requests, and no load runs beside them. */
function isQuiet(name: PhaseName): boolean {
  return name === "state" || name === "stop";
}
