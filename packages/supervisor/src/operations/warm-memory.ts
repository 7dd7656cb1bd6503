/** Keeps former versions warm only as long as the machine has memory for them. */
import { readFileSync } from "node:fs";
import { hasRoomForWarm } from "../core/deploy.js";
import type { Pool } from "../core/fleet.js";
import { endWarm } from "../core/fleet-changes.js";
import type { EventLog } from "../logs/event-log.js";
import type { FleetRunner } from "../processes/fleet-runner.js";

/** How often the memory is checked while processes are kept warm, in milliseconds. */
const MEMORY_PERIOD_MS = 5000;

export class WarmMemory {
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly runner: FleetRunner,
    private readonly log: EventLog,
  ) {
    runner.watch(() => this.watchMemory());
  }

  /** Whether there is memory to keep processes warm. */
  get hasRoom(): boolean {
    return hasRoomForWarm(machineMemory());
  }

  /** Ends warm processes when memory becomes short. */
  private watchMemory(): void {
    const { runner, log } = this;
    const warm = runner.fleet.pools.filter((pool) => isWarm(pool));
    if (warm.length === 0) {
      clearInterval(this.timer);
      this.timer = undefined;
      return;
    }
    if (this.timer !== undefined) return;
    this.timer = setInterval(() => {
      if (this.hasRoom) return;
      for (const { name } of runner.fleet.pools.filter((pool) => isWarm(pool))) {
        log.event("warn", name, "memory is short: the old version is no longer kept warm");
        runner.change((fleet, context) => endWarm(fleet, name, context));
      }
    }, MEMORY_PERIOD_MS);
    this.timer.unref();
  }
}

/** Whether processes of that generation, or of any, are kept warm. */
export function isWarm({ slots }: Pool, generation?: number): boolean {
  return slots.some(
    ({ warm }) => warm?.process.state === "warm" && (generation === undefined || warm.generation === generation),
  );
}

/** Returns the machine's memory; null without /proc. */
export function machineMemory(): { availableBytes: number; totalBytes: number } | null {
  try {
    const text = readFileSync("/proc/meminfo", "latin1");
    const of = (key: string) => 1024 * Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(text)?.[1]);
    const [availableBytes, totalBytes] = [of("MemAvailable"), of("MemTotal")];
    return availableBytes >= 0 && totalBytes > 0 ? { availableBytes, totalBytes } : null;
  } catch {
    return null;
  }
}
