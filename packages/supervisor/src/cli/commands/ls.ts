/** `paceline ls`: lists the fleets of this user, a line each. */
import type { Status } from "../../control/api.js";
import { withRequests } from "../../core/figures.js";
import type { FoundFleet } from "../../fleet/find-fleet.js";
import { type DefineCommand, type JsonOption, withJson } from "../options.js";
import { EXIT, print, printJson } from "../output.js";

/** A fleet that does not respond within this time is listed without figures. */
const STATUS_TIMEOUT_MS = 2000;
const MB = 1_000_000;

export interface ListedFleet {
  name: string;
  state: FoundFleet["state"] | Status["state"];
  pid: number | null;
  instances: { ready: number; wanted: number } | null;
  rssBytes: number | null;
  requestsPerSecond: number | null;
  listen: string[];
  /** The path of the config, or of what was started without one. */
  source: string;
  runDir: string;
  /** The user who runs it, for root; null if it is the caller's own. */
  owner: string | null;
}

export const ls: DefineCommand = (program, action) => {
  const command = program.command("ls").aliases(["list"]).description("list your fleets, wherever they were started");
  withJson(command).action(
    action(async ({ json }: JsonOption) => {
      const { listFleets } = await import("../../fleet/find-fleet.js");
      const { fleets: found, doubt } = await listFleets();
      const fleets = await Promise.all(found.map(describe));
      if (json) printJson(fleets);
      else if (fleets.length === 0) print(`you have no fleet${doubt === undefined ? "" : `; ${doubt}`}`);
      else print(await table(fleets));
      return EXIT.done;
    }),
  );
};

async function describe(fleet: FoundFleet): Promise<ListedFleet> {
  const { FleetClient } = await import("../../fleet/fleet.js");
  try {
    const client = fleet.state === "up" ? new FleetClient(fleet) : undefined;
    return listed(fleet, await client?.status({ timeoutMs: STATUS_TIMEOUT_MS }));
  } catch {
    return listed(fleet, undefined); // It does not respond, or, under another user, not as a supervisor does.
  }
}

function listed({ record, runDir, state, owner }: FoundFleet, status: Status | undefined): ListedFleet {
  const sum = (figure: (pool: Status["pools"][number]) => number | null) =>
    (status?.pools ?? []).reduce((total, pool) => total + (numberOf(figure(pool)) ?? 0), 0);
  return {
    name: `${status?.name ?? "–"}`,
    state: status?.state ?? state,
    pid: numberOf(status?.pid) ?? record?.pid ?? null,
    instances: status === undefined ? null : { ready: sum(({ ready }) => ready), wanted: sum(({ wanted }) => wanted) },
    rssBytes: numberOf(status?.rssBytes),
    // A fleet of workers alone gets no requests.
    requestsPerSecond:
      status === undefined || !withRequests(status.pools) ? null : sum(({ requestsPerSecond }) => requestsPerSecond),
    listen: (status?.listen ?? []).map(String),
    source: record?.source ?? runDir,
    runDir,
    owner: owner ?? null,
  };
}

/** Another user's process may respond with anything. */
function numberOf(value: unknown): number | null {
  return typeof value === "number" ? value : null;
}

async function table(fleets: readonly ListedFleet[]): Promise<string> {
  const { formatTable } = await import("../format-status.js");
  const right = (text: string) => ({ text, align: "right" as const });
  const users = fleets.some(({ owner }) => owner !== null);
  const rows = fleets.map(({ name, state, pid, instances, rssBytes, requestsPerSecond, listen, source, owner }) => [
    name,
    ...(users ? [owner ?? "root"] : []),
    state,
    right(`${pid ?? "–"}`),
    right(instances === null ? "–" : `${instances.ready}/${instances.wanted}`),
    right(rssBytes === null ? "–" : (rssBytes / MB).toFixed(1)),
    right(requestsPerSecond === null ? "–" : `${Math.round(requestsPerSecond)}`),
    listen.join(" ") || "–",
    source,
  ]);
  const user = users ? ["USER"] : [];
  const head = [
    "NAME",
    ...user,
    "STATE",
    right("PID"),
    right("READY"),
    right("RSS MB"),
    right("REQ/S"),
    "LISTEN",
    "SOURCE",
  ];
  return formatTable([head, ...rows]).join("\n");
}
