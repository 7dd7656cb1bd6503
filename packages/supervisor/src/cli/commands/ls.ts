/** `paceline ls`: lists the fleets of this user, one per line. */
import type { ListedFleet } from "../../fleet/api.js";
import { type DefineCommand, type JsonOption, withJson } from "../options.js";
import { EXIT, print, printJson } from "../output.js";

const MB = 1_000_000;

export const ls: DefineCommand = (program, action) => {
  const command = program.command("ls").aliases(["list"]).description("list your fleets, wherever they were started");
  command.option("-a, --all", "also list stopped and killed fleets whose logs still exist");
  withJson(command).action(
    action(async ({ json, all }: JsonOption & { all?: boolean }) => {
      const { describeFleets } = await import("../../fleet/describe-fleets.js");
      const { fleets, doubt } = await describeFleets(all);
      if (json) printJson(fleets);
      else if (fleets.length === 0) print(`you have no fleet${doubt === undefined ? "" : `; ${doubt}`}`);
      else print(await table(fleets));
      return EXIT.done;
    }),
  );
};

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
