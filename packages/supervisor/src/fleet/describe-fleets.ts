/** Lists the fleets of this user with a few figures each, for `paceline ls`. */
import type { Status } from "../control/api.js";
import { withRequests } from "../core/figures.js";
import { PacelineError } from "../errors.js";
import type { ListedFleet } from "./api.js";
import { FleetClient } from "./fleet.js";
import { type FoundFleet, listFleets } from "./known-fleets.js";

/** A fleet that does not respond within this time, in milliseconds, is listed without figures. */
const STATUS_TIMEOUT_MS = 2000;

/**
 * Returns the fleets, and a hint if the list may be incomplete.
 * @param isAll includes those that have stopped
 */
export async function describeFleets(isAll = false): Promise<{ fleets: ListedFleet[]; doubt?: string | undefined }> {
  const { fleets, doubt } = await listFleets(undefined, undefined, isAll);
  return { fleets: await Promise.all(fleets.map(describe)), doubt };
}

async function describe(fleet: FoundFleet): Promise<ListedFleet> {
  try {
    const client = fleet.state === "up" ? new FleetClient(fleet) : undefined;
    return listed(fleet, await client?.status({ timeoutMs: STATUS_TIMEOUT_MS }));
  } catch (error) {
    const code = fleet.owner === undefined && error instanceof PacelineError ? error.code : undefined;
    // A supervisor that a signal has stopped is `unresponsive`.
    if (code === "timeout" || code === "unresponsive") return { ...listed(fleet, undefined), state: "stalled" };
    return listed(fleet, undefined); // It does not respond, or (if another user runs it) not as a supervisor does.
  }
}

function listed({ record, runDir, state, owner }: FoundFleet, status: Status | undefined): ListedFleet {
  const sum = (figure: (pool: Status["pools"][number]) => number | null) =>
    (status?.pools ?? []).reduce((total, pool) => total + (numberOf(figure(pool)) ?? 0), 0);
  return {
    name: `${status?.name ?? record?.name ?? "–"}`,
    state: status?.state ?? (state !== "down" ? state : record?.endedAt === null ? "killed" : "stopped"),
    pid: state === "down" ? null : (numberOf(status?.pid) ?? record?.pid ?? null),
    instances: status === undefined ? null : { ready: sum(({ ready }) => ready), wanted: sum(({ wanted }) => wanted) },
    rssBytes: numberOf(status?.rssBytes),
    // A fleet that has only workers gets no requests.
    requestsPerSecond:
      status === undefined || !withRequests(status.pools) ? null : sum(({ requestsPerSecond }) => requestsPerSecond),
    listen: (status?.listen ?? record?.listen ?? []).map(String),
    source: record?.source ?? runDir,
    runDir,
    owner: owner ?? null,
  };
}

/** A process of another user may respond with anything. */
function numberOf(value: unknown): number | null {
  return typeof value === "number" ? value : null;
}
