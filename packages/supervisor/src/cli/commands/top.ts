/** `paceline top`: shows the dashboard of a running fleet. */
import { constants } from "node:os";
import { Option } from "commander";
import type { Glyphs } from "../../dashboard/chart.js";
import type { FleetChoice } from "../../fleet/api.js";
import { type DefineCommand, type JsonOption, withFleet } from "../options.js";
import { EXIT, type ExitStatus, print, printError, wantsColour } from "../output.js";

interface TopOptions extends FleetChoice, JsonOption {
  plain?: boolean;
  once?: boolean;
  glyphs?: Glyphs;
}

export const top: DefineCommand = (program, action) => {
  const command = program
    .command("top")
    .aliases(["monit"])
    .description("open the dashboard of a running fleet, which also scales, reloads and restarts it")
    .option("--plain", "print the dashboard as text once per second")
    .option("--json", "print the status once per second, one JSON document per line")
    .addOption(
      new Option("--glyphs <kind>", "the characters for charts; use ascii if the terminal shows no others").choices([
        "braille",
        "block",
        "ascii",
      ]),
    )
    .option("--once", "print the status once; with --plain or --json");
  withFleet(command).action(
    action(async (options: TopOptions): Promise<ExitStatus> => {
      const { connectFleet } = await import("../../fleet/fleet.js");
      const plain = options.plain === true || options.json === true;
      if (options.once && !plain) {
        printError("--once needs --plain or --json");
        return EXIT.usage;
      }
      if (!plain && !(process.stdin.isTTY && process.stdout.isTTY)) {
        printError("the dashboard needs a terminal; paceline top --plain prints the same as text");
        return EXIT.usage;
      }
      const { controlSocket: socketPath } = await connectFleet(options);
      if (!plain) {
        const { runDashboard } = await import("../../dashboard/dashboard.js");
        const { glyphsFor } = await import("../../dashboard/chart.js");
        const { takeDump } = await import("../save-dump.js");
        const leaving = await runDashboard({
          ...{ socketPath, ownership: "attached", colour: wantsColour() },
          saveDump: (target, details) => takeDump(target, details).message,
          glyphs: options.glyphs ?? glyphsFor(process.env),
        });
        return leaving.by === "signal" ? ((128 + constants.signals[leaving.signal]) as ExitStatus) : EXIT.done;
      }
      const { runPlain } = await import("../../dashboard/plain.js");
      const controller = new AbortController();
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => controller.abort());
      // The reader of stdout is gone.
      process.stdout.on("error", () => controller.abort());
      // A terminal without a size reports 0 columns.
      const columns = Number(process.env.COLUMNS) || process.stdout.columns || undefined;
      await runPlain({
        ...{ socketPath, print, width: columns, signal: controller.signal },
        json: options.json === true,
        once: options.once === true,
      });
      return EXIT.done;
    }),
  );
};
