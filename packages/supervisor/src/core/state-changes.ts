/** Finds what changed between two status documents, one change for each line of `paceline watch`. Pure. */

import {
  type EventFacts,
  type FleetFacts,
  firstLine,
  type InstanceFacts,
  type PoolFacts,
  type ProcessFacts,
  shareText,
} from "./explain-model.js";

export interface StateChange {
  /** Unix time in milliseconds. */
  at: number;
  name: string;
  /** The kind of change; stable for programs. */
  kind:
    | "state"
    | "restart"
    | "turn"
    | "stall"
    | "size"
    | "ready"
    | "generation"
    | "deploy"
    | "memory"
    | "weight"
    | "problem"
    | "log"
    | "lock"
    | "fleet";
  from: string | null;
  to: string | null;
  /** The reason, if an event states it. */
  reason: string | null;
}

type Noted = Pick<StateChange, "name" | "kind" | "from" | "to">;

/**
 * Returns the changes. A process that died and is ready again in the second document is one `restart`.
 * @param said the events since `before`, oldest first
 */
export function changesBetween(
  before: FleetFacts,
  after: FleetFacts,
  said: readonly EventFacts[],
  now: number,
): StateChange[] {
  const noted: Noted[] = [];
  const note = (kind: Noted["kind"], name: string, from: string | null, to: string | null) => {
    if (from !== to) noted.push({ kind, name, from, to });
  };
  note("fleet", after.name, before.state, after.state);
  note("problem", after.name, before.problem, after.problem);
  note("log", after.name, before.log?.problem ?? null, after.log?.problem ?? null);
  note("lock", after.name, lockText(before), lockText(after));
  for (const pool of after.pools) {
    const former = before.pools.find(({ name }) => name === pool.name);
    if (former === undefined) note("size", pool.name, null, String(pool.wanted));
    else ofPool(former, pool, note);
  }
  for (const { name } of before.pools)
    if (!after.pools.some((pool) => pool.name === name)) note("size", name, "in the fleet", null);
  for (const balancer of after.balancers) {
    const former = before.balancers.find(({ name }) => name === balancer.name);
    if (former === undefined) note("state", balancer.name, null, balancer.state);
    else ofProcess(former, balancer, note);
  }
  return noted.map((change) => ({ ...change, ...reasonOf(change, said, now) }));
}

type Note = (kind: Noted["kind"], name: string, from: string | null, to: string | null) => void;

function ofPool(before: PoolFacts, after: PoolFacts, note: Note): void {
  const { name } = after;
  note("size", name, String(before.wanted), String(after.wanted));
  note("generation", name, String(before.generation), String(after.generation));
  note("deploy", name, before.deploy?.phase ?? null, after.deploy?.phase ?? null);
  for (const instance of after.instances) {
    const former = before.instances.find((each) => each.name === instance.name);
    if (former === undefined) {
      note("state", instance.name, null, instance.state);
      continue;
    }
    ofProcess(former, instance, note);
    note("turn", instance.name, former.outOfTurn ?? "in turn", instance.outOfTurn ?? "in turn");
    note("weight", instance.name, weightOf(former), weightOf(instance));
    note("memory", instance.name, forecastOf(former), forecastOf(instance));
  }
  for (const { name: slot, state } of before.instances)
    if (!after.instances.some((each) => each.name === slot)) note("state", slot, state, null);
  const [readyBefore, readyAfter] = [before, after].map((pool) => `${pool.ready}/${pool.wanted} ready`);
  if (before.ready !== after.ready) note("ready", name, readyBefore ?? null, readyAfter ?? null);
}

function ofProcess(before: ProcessFacts, after: ProcessFacts, note: Note): void {
  if (before.state === after.state && before.attempt !== after.attempt)
    note("restart", after.name, `process ${before.attempt}`, `process ${after.attempt}`);
  else note("state", after.name, before.state, after.state);
  const isStalled = (process: ProcessFacts) => (process.stalledMs === null ? "responds" : "stalled");
  note("stall", after.name, isStalled(before), isStalled(after));
}

function weightOf({ weight }: InstanceFacts): string | null {
  return weight === null ? null : String(weight);
}

/** Only whether there is a prediction, because its number changes all the time. */
function forecastOf({ recycle }: InstanceFacts): string {
  return recycle?.memoryLimitInSeconds == null ? "steady" : "growing";
}

function lockText({ lock }: FleetFacts): string | null {
  return lock === null ? null : `locked by ${lock.by}: ${lock.reason}`;
}

/** Returns the last event about the name. A change of numbers has no event. */
function reasonOf(
  { name, kind, to }: Noted,
  said: readonly EventFacts[],
  now: number,
): Pick<StateChange, "at" | "reason"> {
  if (kind === "ready" || kind === "weight" || kind === "problem" || kind === "lock" || kind === "fleet")
    return { at: now, reason: null };
  const own = said.filter(({ subject }) => subject === name);
  // The last event of a restarted instance is "is ready". The event before it has the reason of the exit.
  const event = kind === "restart" ? own.findLast(({ message }) => message !== "is ready") : own.at(-1);
  if (event === undefined || (kind === "state" && to === "ready")) return { at: event?.at ?? now, reason: null };
  return { at: event.at, reason: firstLine(event.message) };
}

/** Returns `web.3 ready → backoff: exited with code 1 after 3 s`. */
export function changeLine({ name, kind, from, to, reason }: StateChange): string {
  const words = wordsOf(kind, from, to);
  return `${name} ${words}${reason === null ? "" : `: ${reason}`}`;
}

function wordsOf(kind: StateChange["kind"], from: string | null, to: string | null): string {
  const arrow = from === null ? `is ${to}` : to === null ? `is gone (was ${from})` : `${from} → ${to}`;
  switch (kind) {
    case "size":
      return from === null
        ? `was added with ${to} instances`
        : to === null
          ? "was removed"
          : `${from} → ${to} instances wanted`;
    case "generation":
      return `generation ${arrow}`;
    case "deploy":
      return to === null ? "deploy ended" : `deploy: ${from === null ? to : arrow}`;
    case "restart":
      return `restarted, ${arrow}`;
    case "stall":
      return to === "stalled" ? "does not respond" : "responds again";
    case "weight":
      return `weight ${arrow}, ${shareText(Number(to) / 100)} of the normal share`;
    case "memory":
      return to === "growing" ? "memory grows towards maxMemoryMb" : "memory does not grow any more";
    case "problem":
      return to === null ? "has no problem any more" : `problem: ${to}`;
    case "log":
      return to === null ? "log is written again" : `log cannot be written: ${to}`;
    case "lock":
      return to ?? "is unlocked";
    case "state":
    case "turn":
    case "ready":
    case "fleet":
      return arrow;
    default:
      return kind satisfies never;
  }
}
