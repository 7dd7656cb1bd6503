/** `paceline history`: lists who did what with the fleet, or shows one entry with its steps; also for a fleet that has stopped. */
import { dirname, join } from "node:path";
import { Argument } from "commander";
import { PacelineError } from "../../errors.js";
import type { FleetChoice } from "../../fleet/api.js";
import { type DefineCommand, type JsonOption, parseCount, parseLines, withFleet, withJson } from "../options.js";
import { EXIT, print, printError, printJson } from "../output.js";

/** The width of a list if stdout is not a terminal. */
const USUAL_COLUMNS = 120;

export const history: DefineCommand = (program, action) => {
  const command = program
    .command("history")
    .description("show who started, reloaded, deployed, scaled or stopped the fleet, when, and with which result")
    .addArgument(new Argument("[show]", "show one entry with its steps").choices(["show"]))
    .argument("[id]", "the number of the entry", parseCount)
    .option("-n, --lines <count>", "at most this many entries", parseLines, 20);
  withJson(withFleet(command)).action(
    action(
      async (
        show: "show" | undefined,
        id: number | undefined,
        options: FleetChoice & JsonOption & { lines: number },
      ) => {
        const [{ findFleet }, { readHistory }, { formatEntry, formatHistory }] = await Promise.all([
          import("../../fleet/find-fleet.js"),
          import("../../run-dir/report-files.js"),
          import("../format-reports.js"),
        ]);
        if (show !== undefined && id === undefined)
          throw new PacelineError("usage", "name an entry: paceline history show 17; paceline history lists them");
        const { record, runDir } = await findFleet(options);
        const lasting = dirname(record?.deathsFolder ?? join(runDir, "deaths"));
        const { entries, unusable } = readHistory(join(lasting, "history"), runDir);
        const [damaged] = unusable;
        if (damaged !== undefined) printError(`${countText(unusable.length)} left out: ${damaged}`);
        if (id === undefined) {
          const shown = entries.slice(0, options.lines);
          if (options.json) printJson({ history: shown });
          else if (shown.length > 0 || entries.length === 0)
            print(formatHistory(shown, Date.now(), process.stdout.columns ?? USUAL_COLUMNS));
          return EXIT.done;
        }
        const found = entries.find((entry) => entry.id === id);
        if (found === undefined) {
          const kept = entries.length === 0 ? "it is empty" : `kept: ${entries.at(-1)?.id} to ${entries[0]?.id}`;
          throw new PacelineError("invalid", `the history has no entry ${id} (${kept})`);
        }
        if (options.json) printJson(found);
        else print(formatEntry(found));
        return EXIT.done;
      },
    ),
  );
};

function countText(count: number): string {
  return count === 1
    ? "1 entry of the history cannot be read and is"
    : `${count} entries of the history cannot be read and are`;
}
