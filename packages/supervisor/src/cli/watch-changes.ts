/** Follows a fleet: compares its status at each event and each second, and prints the changes. */
import { setTimeout as sleep } from "node:timers/promises";
import type { FleetEvent, Status } from "../control/api.js";
import { changeLine, changesBetween, type StateChange } from "../core/state-changes.js";
import { dateAndTime, isAbout, unknownName, visibleLine } from "../core/words.js";
import { PacelineError } from "../errors.js";
import type { FleetChoice } from "../fleet/api.js";
import { connectFleet, type FleetClient } from "../fleet/fleet.js";
import { isLoss } from "../fleet/stop-fleet.js";
import { printAll, reconnect } from "./follow.js";
import type { JsonOption } from "./options.js";
import { printError } from "./output.js";

/** Changes without an event, such as a stall, are seen after this time at the latest, in milliseconds. */
const LOOK_EVERY_MS = 1_000;
/** Events within this time are handled together, in milliseconds. */
const TOGETHER_MS = 40;
const MAX_EVENTS = 1_000;

/**
 * Resolves when the fleet has stopped.
 * @throws PacelineError `invalid` for an unknown name, `timeout` after `timeoutMs`
 */
export async function watchChanges(
  name: string | undefined,
  options: FleetChoice & JsonOption,
  timeoutMs: number | undefined,
): Promise<void> {
  let fleet = await connectFleet(options);
  const about = await fleet.unlessOwn(name);
  let before = await fleet.status();
  checkName(about, before);
  const format = options.json ? (change: StateChange) => JSON.stringify(change) : lineOf;
  const show = async (after: Status, known: readonly FleetEvent[]) => {
    const changes = changesBetween(before, after, known, Date.now()).filter((change) => isAbout(change.name, about));
    before = after;
    await printAll(changes.map(format));
  };
  const late = new AbortController();
  const timer = timeoutMs === undefined ? undefined : setTimeout(() => late.abort(), timeoutMs);
  const deadline = performance.now() + (timeoutMs ?? Number.POSITIVE_INFINITY);
  try {
    for (;;) {
      try {
        await look(fleet, late.signal, show);
        if (late.signal.aborted) break;
        return;
      } catch (error) {
        if (!isLoss(error)) throw error;
      }
      const next = await reconnect(fleet, deadline);
      if (late.signal.aborted) break;
      if (next === undefined) return printError("the fleet has ended");
      fleet = next;
    }
    throw new PacelineError("timeout", `the deadline of ${(timeoutMs ?? 0) / 1000} s passed`);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Checks until `late`, or until the events end.
 * @throws PacelineError when the supervisor is lost
 */
async function look(
  fleet: FleetClient,
  late: AbortSignal,
  show: (after: Status, known: readonly FleetEvent[]) => Promise<void>,
): Promise<void> {
  const left = new AbortController();
  const end = () => left.abort();
  late.addEventListener("abort", end);
  let said: FleetEvent[] = [];
  let wake = () => {};
  const events = fleet
    .read<FleetEvent>("events", { lines: 0, signal: left.signal }, (some) => {
      said.push(...some);
      said = said.slice(-MAX_EVENTS);
      wake();
    })
    .catch((error: unknown) => {
      if (!left.signal.aborted) throw error;
    })
    .finally(() => left.abort());
  // Awaited below; until then, a failure must not crash the process.
  events.catch(() => {});
  try {
    while (!left.signal.aborted) {
      await Promise.race([
        sleep(LOOK_EVERY_MS, undefined, { signal: left.signal }).catch(() => {}),
        new Promise<void>((resolve) => {
          wake = resolve;
        }),
      ]);
      if (left.signal.aborted) break;
      if (said.length > 0) await sleep(TOGETHER_MS);
      const known = said;
      said = [];
      await show(await fleet.status(), known);
    }
    await events;
  } finally {
    late.removeEventListener("abort", end);
    left.abort();
  }
}

/** Returns `2026-05-07 10:31:07.250 web.3 ready → backoff: exited with code 1`. */
function lineOf(change: StateChange): string {
  return `${dateAndTime(change.at)} ${visibleLine(changeLine(change))}`;
}

function checkName(name: string | undefined, { pools, balancers }: Status): void {
  if (name === undefined) return;
  const names = [
    ...pools.flatMap((pool) => [pool.name, ...pool.instances.map((each) => each.name)]),
    "balancer",
    ...balancers.map((each) => each.name),
  ];
  if (!names.includes(name)) throw new PacelineError("invalid", unknownName(name, names));
}
