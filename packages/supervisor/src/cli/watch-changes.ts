/** Follows a fleet: compares its status with each event, and each second, and prints what changed. */
import { setTimeout as sleep } from "node:timers/promises";
import type { FleetEvent, Status } from "../control/api.js";
import { changeLine, changesBetween, type StateChange } from "../core/state-changes.js";
import { isAbout, unknownName, visibleLine } from "../core/words.js";
import { PacelineError } from "../errors.js";
import type { FleetChoice } from "../fleet/api.js";
import { connectFleet } from "../fleet/fleet.js";
import { printAll } from "./follow.js";
import { dateAndTime } from "./format-line.js";
import type { JsonOption } from "./options.js";
import { printError } from "./output.js";

/** What no event says, such as a stall, is seen this late. */
const LOOK_EVERY_MS = 1_000;
/** Events that come together are looked at together. */
const TOGETHER_MS = 40;
const MAX_EVENTS = 1_000;

/** Resolves when the fleet has ended. @throws PacelineError `invalid` for an unknown name, `timeout` after `timeoutMs` */
export async function watchChanges(
  name: string | undefined,
  options: FleetChoice & JsonOption,
  timeoutMs: number | undefined,
): Promise<void> {
  const fleet = await connectFleet(options);
  const about = await fleet.unlessOwn(name);
  let before = await fleet.status();
  checkName(about, before);
  const left = new AbortController();
  let isLate = false;
  const end = () => {
    isLate = true;
    left.abort();
  };
  const timer = timeoutMs === undefined ? undefined : setTimeout(end, timeoutMs);
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
  // Awaited below; a failure meanwhile must not end the process.
  events.catch(() => {});
  const format = options.json ? (change: StateChange) => JSON.stringify(change) : lineOf;
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
      const after = await fleet.status();
      const changes = changesBetween(before, after, known, Date.now()).filter((change) => isAbout(change.name, about));
      before = after;
      await printAll(changes.map(format));
    }
    await events;
    if (isLate) throw new PacelineError("timeout", `the deadline of ${(timeoutMs ?? 0) / 1000} s passed`);
  } catch (error) {
    if (!(error instanceof PacelineError) || (error.code !== "not-running" && error.code !== "lost")) throw error;
    printError("the fleet has ended");
  } finally {
    clearTimeout(timer);
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
