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
}

export const ls: DefineCommand = (program, action) => {
  const command = program.command("ls").aliases(["list"]).description("list your fleets, wherever they were started");
  withJson(command).action(
    action(async ({ json }: JsonOption) => {
      const { ownFleets } = await import("../../fleet/find-fleet.js");
      const fleets = await Promise.all((await ownFleets()).map(describe));
      if (json) printJson(fleets);
      else if (fleets.length === 0) print("you have no fleet");
      else print(await table(fleets));
      return EXIT.done;
    }),
  );
};

async function describe(found: FoundFleet): Promise<ListedFleet> {
  const { FleetClient } = await import("../../fleet/fleet.js");
  const { record, runDir, state } = found;
  const asked = state === "up" ? new FleetClient(found).status({ timeoutMs: STATUS_TIMEOUT_MS }) : undefined;
  const status = await asked?.catch(() => undefined);
  const pools = status?.pools ?? [];
  const sum = (figure: (pool: Status["pools"][number]) => number | null) =>
    pools.reduce((total, pool) => total + (figure(pool) ?? 0), 0);
  return {
    name: status?.name ?? "–",
    state: status?.state ?? state,
    pid: status?.pid ?? record?.pid ?? null,
    instances: status === undefined ? null : { ready: sum(({ ready }) => ready), wanted: sum(({ wanted }) => wanted) },
    rssBytes: status?.rssBytes ?? null,
    // A fleet of workers alone gets no requests.
    requestsPerSecond:
      status === undefined || !withRequests(pools) ? null : sum(({ requestsPerSecond }) => requestsPerSecond),
    listen: status?.listen ?? [],
    source: record?.source ?? runDir,
    runDir,
  };
}

async function table(fleets: readonly ListedFleet[]): Promise<string> {
  const { formatTable } = await import("../format-status.js");
  const right = (text: string) => ({ text, align: "right" as const });
  const rows = fleets.map(({ name, state, pid, instances, rssBytes, requestsPerSecond, listen, source }) => [
    name,
    state,
    right(`${pid ?? "–"}`),
    right(instances === null ? "–" : `${instances.ready}/${instances.wanted}`),
    right(rssBytes === null ? "–" : (rssBytes / MB).toFixed(1)),
    right(requestsPerSecond === null ? "–" : `${Math.round(requestsPerSecond)}`),
    listen.join(" ") || "–",
    source,
  ]);
  const head = ["NAME", "STATE", right("PID"), right("READY"), right("RSS MB"), right("REQ/S"), "LISTEN", "SOURCE"];
  return formatTable([head, ...rows]).join("\n");
}
