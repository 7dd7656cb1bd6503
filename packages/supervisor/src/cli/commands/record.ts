/** `paceline record`: records the requests of the running fleet, for `paceline rehearse --replay`. */
import { Option } from "commander";
import type { FleetChoice } from "../../fleet/api.js";
import { type DefineCommand, type JsonOption, parseSpan, withFleet, withJson } from "../options.js";
import { EXIT, print, printJson } from "../output.js";

type RecordOptions = FleetChoice & JsonOption & { for: number; to?: string };

const DEFAULT_SECONDS = 60;

export const record: DefineCommand = (program, action) => {
  const command = program
    .command("record")
    .description("record method, path and time of the fleet's requests; no bodies, fields or values of queries")
    .addOption(new Option("--for <seconds>", "how long to record").argParser(parseSpan).default(DEFAULT_SECONDS))
    .option("--to <file>", "the new file (default: named after the time, in this folder)");
  withJson(withFleet(command)).action(
    action(async (options: RecordOptions) => {
      const [{ connectFleet }, recording] = await Promise.all([
        import("../../fleet/fleet.js"),
        import("../../rehearse/recording.js"),
      ]);
      const fleet = await connectFleet(options);
      const file = options.to ?? `requests-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.jsonl`;
      const interruption = new AbortController();
      const end = () => interruption.abort();
      process.once("SIGINT", end).once("SIGTERM", end);
      const { signal } = interruption;
      const result = await recording.record({
        ...{ fleet, file, forMs: options.for * 1000, signal },
        onBegin: () => {
          if (!options.json) print(`recording for ${options.for} s; Ctrl-C ends it`);
        },
      });
      const { requests, lost, isFull } = result;
      process.off("SIGINT", end).off("SIGTERM", end);
      if (options.json) printJson({ ok: true, file, ...result });
      else {
        const notes = [
          ...(lost > 0 ? [`${lost} more came faster than they could be recorded`] : []),
          ...(isFull ? ["it is full"] : []),
          `paceline rehearse --replay ${file} sends them again`,
        ];
        print([`${file} has ${requests} ${requests === 1 ? "request" : "requests"}`, ...notes].join("; "));
      }
      return EXIT.done;
    }),
  );
};
