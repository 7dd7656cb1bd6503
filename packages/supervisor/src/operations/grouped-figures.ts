/** The figures of several processes together: of a pool, of the arms of a deploy, of a canary beside its slot's member. */
import type { ArmFigures, PoolFigures, ProcessFigures } from "../control/api.js";
import { type Fleet, findPool, occupants, type Pool, processId } from "../core/fleet.js";
import type { Children } from "../processes/children.js";
import type { LiveProcess } from "../processes/live-process.js";
import type { LivenessWatch } from "../processes/liveness-watch.js";
import { latenciesOf } from "../stats/stats.js";
import type { UsageSampler } from "../stats/usage.js";
import { inFlightOf } from "./measures.js";
import type { SeriesKeeper } from "./series-keeper.js";

interface Sources {
  children: Pick<Children, "get">;
  usage: UsageSampler;
  liveness: Pick<LivenessWatch, "stalledMs">;
  series: Pick<SeriesKeeper, "errorsPerMinute">;
}

/** Returns the processes of a pool that have not ended, also those that are being replaced. */
export function processesOf({ children }: Pick<Sources, "children">, { slots }: Pick<Pool, "slots">): LiveProcess[] {
  return slots.flatMap((slot) =>
    occupants(slot).flatMap(({ occupant }) => {
      const child = children.get(processId(slot.name, occupant.process.attempt));
      return child === undefined || child.exit !== null ? [] : [child];
    }),
  );
}

export function poolFigures(sources: Sources, pool: Pick<Pool, "name" | "slots">, now: number): PoolFigures {
  const { inFlight, cpuPercent, rssBytes, latencyMs, latencyShape } = figuresOf(
    sources,
    processesOf(sources, pool),
    now,
  );
  const errorsPerMinute = sources.series.errorsPerMinute(pool.name);
  return { inFlight, cpuPercent, rssBytes, latencyMs, latencyShape, errorsPerMinute };
}

/** Returns sums, the latencies taken together, and the age of the oldest. */
export function figuresOf(
  { usage, liveness }: Pick<Sources, "usage" | "liveness">,
  processes: readonly LiveProcess[],
  now: number,
): ProcessFigures {
  const sums = { requestsTotal: 0, requestsPerSecond: 0, errorsTotal: 0, inFlight: 0, uptimeSeconds: 0 };
  let cpuPercent: number | null = null;
  let rssBytes: number | null = null;
  for (const process of processes) {
    const { stats, pid, spawnedAt } = process;
    sums.requestsTotal += stats.last?.requestsTotal ?? 0;
    sums.errorsTotal += stats.last?.errorsTotal ?? 0;
    sums.inFlight += inFlightOf(process, liveness);
    sums.requestsPerSecond += stats.requestsPerSecond(now);
    sums.uptimeSeconds = Math.max(sums.uptimeSeconds, (now - spawnedAt) / 1000);
    const used = pid === null ? undefined : usage.of(pid);
    if (used === undefined) continue;
    rssBytes = (rssBytes ?? 0) + used.rssBytes;
    if (used.cpuPercent !== null) cpuPercent = (cpuPercent ?? 0) + used.cpuPercent;
  }
  const latencies = latenciesOf(processes.flatMap(({ stats }) => stats.recentLatencies(now)));
  return {
    ...sums,
    requestsPerSecond: tenth(sums.requestsPerSecond),
    uptimeSeconds: tenth(sums.uptimeSeconds),
    cpuPercent: cpuPercent === null ? null : tenth(cpuPercent),
    rssBytes,
    ...latencies,
  };
}

/** Returns the figures of the processes with these ids, as of one of them on average; null if none runs. */
export function armFigures(sources: Sources, ids: readonly string[], now: number): ArmFigures | null {
  const processes = ids.flatMap((id) => {
    const child = sources.children.get(id);
    return child === undefined || child.exit !== null ? [] : [child];
  });
  const { length } = processes;
  if (length === 0) return null;
  const all = figuresOf(sources, processes, now);
  const each = (sum: number | null) => (sum === null ? null : tenth(sum / length));
  return {
    ...all,
    processes: length,
    requestsPerSecond: tenth(all.requestsPerSecond / length),
    inFlight: tenth(all.inFlight / length),
    cpuPercent: each(all.cpuPercent),
    rssBytes: all.rssBytes === null ? null : Math.round(all.rssBytes / length),
  };
}

/** Returns the processes of a pool whose generation is in service, and those of another one. */
export function armsOf(fleet: Fleet, pool: string, next: number, former: number): { old: string[]; new: string[] } {
  const arms = { old: [] as string[], new: [] as string[] };
  for (const slot of findPool(fleet, pool)?.slots ?? [])
    for (const { role, occupant } of occupants(slot)) {
      if (role === "warm" || occupant.process.state !== "ready") continue;
      const id = processId(slot.name, occupant.process.attempt);
      if (occupant.generation === next) arms.new.push(id);
      else if (occupant.generation === former) arms.old.push(id);
    }
  return arms;
}

function tenth(value: number): number {
  return Math.round(value * 10) / 10;
}
