/** `paceline deaths`: lists the reports of processes that died, or shows one of them; also for a fleet that has stopped. */
import { join } from "node:path";
import { Argument } from "commander";
import { PacelineError } from "../../errors.js";
import type { FleetChoice } from "../../fleet/api.js";
import { type DefineCommand, type JsonOption, parseCount, withFleet, withJson } from "../options.js";
import { EXIT, print, printJson } from "../output.js";

/** The width of a list if stdout is not a terminal. */
const USUAL_COLUMNS = 80;
/** A single report is not cut if stdout is not a terminal. */
const NO_SCREEN = { columns: Number.POSITIVE_INFINITY, rows: Number.POSITIVE_INFINITY };

export const deaths: DefineCommand = (program, action) => {
  const command = program
    .command("deaths")
    .description("show which processes died or were killed, and why")
    .addArgument(new Argument("[show]", "show one report").choices(["show"]))
    .argument("[id]", "the number of the report", parseCount);
  withJson(withFleet(command)).action(
    action(async (show: "show" | undefined, id: number | undefined, options: FleetChoice & JsonOption) => {
      const [{ findFleet }, { readReports, summaryOf }, { formatDeath, formatDeaths }] = await Promise.all([
        import("../../fleet/find-fleet.js"),
        import("../../run-dir/report-files.js"),
        import("../format-reports.js"),
      ]);
      if (show !== undefined && id === undefined)
        throw new PacelineError("usage", "name a report: paceline deaths show 17; paceline deaths lists them");
      const fleet = await findFleet(options);
      const { lstatSync } = await import("node:fs");
      const uid = lstatSync(fleet.runDir, { throwIfNoEntry: false })?.uid;
      const reports = readReports(fleet.record?.deathsFolder ?? join(fleet.runDir, "deaths"), uid);
      const screen = process.stdout.isTTY ? process.stdout : undefined;
      if (id === undefined) {
        if (options.json) printJson({ deaths: reports.map(summaryOf) });
        else print(formatDeaths(reports, Date.now(), screen?.columns ?? USUAL_COLUMNS));
        return EXIT.done;
      }
      const found = reports.find((report) => report.id === id);
      if (found === undefined) {
        const kept = reports.length === 0 ? "no process has died" : `kept: ${reports.at(-1)?.id} to ${reports[0]?.id}`;
        throw new PacelineError("invalid", `there is no report ${id} (${kept})`);
      }
      if (options.json) printJson(found);
      else print(formatDeath(found, screen ?? NO_SCREEN));
      return EXIT.done;
    }),
  );
};
