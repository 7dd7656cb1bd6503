/** The configuration of a fleet that is only rehearsed: nothing in it acts on the world outside but the app itself. Pure. */
import type { FleetConfig } from "../core/model.js";

/** How long the processes of a rehearsal stay if everything that watches over them was killed. */
const ORPHAN_GRACE_MS = 5_000;

/**
 * Leaves out the pools that get no requests: queue consumers and schedules would do the work of the real fleet a second time. So
 * would hooks. The addresses of the agent-check and of the metrics belong to the real fleet. Whatever this one writes goes into its run directory.
 */
export function rehearsedConfig({ hooks: _hooks, ...config }: FleetConfig & { hooks?: unknown }): FleetConfig {
  return {
    ...config,
    agentCheck: null,
    admin: null,
    orphanGraceMs: Math.min(config.orphanGraceMs, ORPHAN_GRACE_MS),
    restartSupervisor: false,
    balancer: { ...config.balancer, spoolDir: null, accessLog: false },
    pools: config.pools.filter(({ serves }) => serves),
  };
}
