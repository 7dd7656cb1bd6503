/** What a fleet records of its past: the figures of the last hours, deaths and operations. */
import type { EventLog } from "./logs/event-log.js";
import { History } from "./operations/history.js";
import { SeriesKeeper } from "./operations/series-keeper.js";
import type { Children } from "./processes/children.js";
import { DeathReporter } from "./processes/death-reporter.js";
import type { FleetRunner } from "./processes/fleet-runner.js";
import { BALANCER_POOL } from "./processes/live-process.js";
import type { PoolConfigs } from "./processes/pool-configs.js";
import { DeathFiles } from "./run-dir/report-files.js";
import { OomKills } from "./stats/oom-kills.js";
import type { StatsBook } from "./stats/stats.js";
import type { UsageSampler } from "./stats/usage.js";
import type { PartsOptions } from "./supervisor-options.js";

/** The parts whose past is recorded. */
interface OtherParts {
  readonly log: EventLog;
  readonly stats: StatsBook;
  readonly configs: PoolConfigs;
  readonly runner: FleetRunner;
  readonly children: Children;
  readonly usage: UsageSampler;
}

export type FleetRecords = ReturnType<typeof createRecords>;

export function createRecords(parts: OtherParts, { runDir }: PartsOptions) {
  const { log, stats, configs, runner, children, usage } = parts;
  const series = new SeriesKeeper({
    ...{ children, stats, usage, fleet: () => runner.fleet },
    serves: (pool) => pool === BALANCER_POOL || configs.pool(pool)?.serves !== false,
    isFront: (pool) => pool === BALANCER_POOL || configs.pool(pool)?.mode === "direct",
  });
  const deaths = new DeathReporter({
    ...{ log, usage },
    onDeath: ({ at, name, id }) => series.mark({ at, kind: "death", name, id }),
    files: new DeathFiles(runDir.deathsFolder),
    oomKills: new OomKills(),
    alive: () => [...children.alive(), ...children.templates.alive()],
    releaseOf: (pool, generation) => (configs.generation(pool, generation)?.pool ?? configs.pool(pool))?.release ?? "",
  });
  const history = new History({
    folder: runDir.historyFolder,
    log,
    onBegin: ({ at, command, target, id }) => {
      const kind = command === "rollback" ? "deploy" : command;
      if (kind === "deploy" || kind === "reload") series.mark({ at, kind, name: target ?? "all", id });
    },
    pools: () =>
      runner.fleet.pools.flatMap(({ name, generation, wanted }) => {
        const release = configs.generation(name, generation)?.pool.release ?? "";
        return name === BALANCER_POOL ? [] : [{ name, generation, instances: wanted, release }];
      }),
  });
  return { series, deaths, history };
}
