/** The reply to HAProxy's agent-check: whether this fleet takes requests, and a weight by its load. Pure. */

/** The facts about the fleet at one moment. */
export interface FleetLoadFacts {
  /** Whether the fleet is stopping. */
  isStopping: boolean;
  /** The number of instances that serve, and of all instances, in the pools that get requests. */
  serving: number;
  wanted: number;
  /** The share of the machine's CPU time that was used since the last time, 0 to 1; null if unknown. */
  cpu: number | null;
  /** The number of requests in this fleet, and how many of them wait for an instance. */
  inFlight: number;
  waiting: number;
}

/** The smoothed load that the weight follows; `at` is in milliseconds. */
export interface MachineLoad {
  at: number;
  load: number;
}

/** Up to this load the weight is full. A proxy in front that shifts requests at every small difference would never settle. */
const CALM_LOAD = 0.5;
/** The share of the full weight at full load, so that the fleet gets some requests even then. */
const LEAST_SHARE = 0.1;
/**
 * The time constant of the load, in milliseconds. Sudden changes take effect slowly, so that proxies in front of several machines do not
 * shift all requests back and forth.
 */
const SETTLE_MS = 10_000;

/** Returns the line for HAProxy, and the load for the next call. */
export function weigh(
  facts: FleetLoadFacts,
  before: MachineLoad | undefined,
  now: number,
): { line: string; load: MachineLoad | undefined } {
  const { isStopping, serving, wanted } = facts;
  if (isStopping) return { line: "drain", load: before };
  if (serving === 0) return { line: "down #no instance serves", load: undefined };
  const load = settle(loadOf(facts), before, now);
  const share = Math.min(1, serving / Math.max(1, wanted)) * shareAt(load.load);
  // HAProxy treats 0 % as a drain.
  const percent = Math.max(1, Math.round(100 * share));
  // `ready` undoes an earlier `drain`, and `up` an earlier `down`.
  return { line: `up ready ${percent}%`, load };
}

/** Either the CPUs of the machine or the instances may be exhausted. Of the two, the one closer to its limit counts. */
function loadOf({ cpu, inFlight, waiting }: FleetLoadFacts): number {
  const queued = inFlight > 0 ? waiting / inFlight : 0;
  return Math.min(1, Math.max(0, cpu ?? 0, queued));
}

function settle(load: number, before: MachineLoad | undefined, now: number): MachineLoad {
  if (before === undefined) return { at: now, load };
  const weight = 1 - Math.exp(-Math.max(0, now - before.at) / SETTLE_MS);
  return { at: now, load: before.load + weight * (load - before.load) };
}

/** Returns the share of the full weight: 1 up to the calm load, then falling linearly to the minimum. */
function shareAt(load: number): number {
  const excess = Math.max(0, load - CALM_LOAD) / (1 - CALM_LOAD);
  return 1 - excess * (1 - LEAST_SHARE);
}
