/** `paceline rehearse`: starts a copy of the fleet, exercises it with typical operations and failures, and reports what fails. */
import { readRegularFile } from "@paceline/wire";
import { InvalidArgumentError, Option } from "commander";
import { PacelineError } from "../../errors.js";
import type { PhaseName } from "../../rehearse/phases.js";
import {
  collect,
  type DefineCommand,
  type JsonOption,
  parseCount,
  parseSpan,
  type StartOptions,
  startOf,
  withJson,
} from "../options.js";
import { EXIT, type ExitStatus, print, printError, printJson } from "../output.js";
import { originOf, withOrigin } from "../start-arguments.js";

type RehearseOptions = StartOptions &
  JsonOption & { for: number; rate?: number; path?: string[]; only?: string; replay?: string };

const DEFAULT_SECONDS = 60;
const MAX_RATE = 5_000;
const MAX_RECORDING_BYTES = 256 << 20;

export const rehearse: DefineCommand = (program, action) => {
  const command = withOrigin(
    program
      .command("rehearse")
      .description(
        "start this fleet on a port of its own, reload, kill, stop and scale it under load, and report problems; the arguments are those of start",
      ),
  )
    .addOption(new Option("--for <seconds>", "the duration of the load").argParser(parseSpan).default(DEFAULT_SECONDS))
    .option("--rate <n>", "requests per second (default: 50, or fewer if the app is slow)", parseRate)
    .option("--path <pathname>", "request this path, in place of those of the configuration; may be repeated", collect)
    .option("--replay <file>", "send the requests of this recording (paceline record) at their recorded times")
    .option("--only <phases>", "only the steady phase and these, such as reload,kill");
  withJson(command).action(
    action(async (given: string, args: string[], rehearseOptions: RehearseOptions) => {
      if ((rehearseOptions.listen ?? rehearseOptions.port) !== undefined)
        throw new PacelineError("usage", "a rehearsal chooses its port itself; omit --listen and --port");
      const { target, options } = originOf(given, args, rehearseOptions);
      return run(target, options as RehearseOptions);
    }),
  );
};

async function run(target: string, options: RehearseOptions): Promise<ExitStatus> {
  const { json = false, path: paths = [] } = options;
  const [{ rehearse: play }, { formatRehearsal }, { PHASE_NAMES }] = await Promise.all([
    import("../../rehearse/rehearsal.js"),
    import("../format-rehearsal.js"),
    import("../../rehearse/phases.js"),
  ]);
  const wrong = paths.find((path) => !/^\/[!-~]*$/.test(path));
  if (wrong !== undefined)
    throw new PacelineError("usage", `--path must begin with / and have no spaces, not ${JSON.stringify(wrong)}`);
  const only = phasesOf(options.only, PHASE_NAMES);
  const replayed = options.replay === undefined ? undefined : await readReplayed(options.replay);
  const interruption = new AbortController();
  const interrupt = () => interruption.abort();
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt).once("SIGHUP", interrupt);
  try {
    const rehearsal = await play({
      ...{ start: startOf(target, options), forMs: options.for * 1000, rate: options.rate, paths, replayed, only },
      signal: interruption.signal,
      onProgress: json ? () => {} : printError,
    });
    if (json) printJson(rehearsal);
    else print(formatRehearsal(rehearsal));
    return rehearsal.ok ? EXIT.done : EXIT.doesNotHold;
  } finally {
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt).off("SIGHUP", interrupt);
  }
}

function phasesOf(text: string | undefined, all: readonly PhaseName[]): PhaseName[] {
  if (text === undefined) return [...all];
  return text.split(",").map((word) => {
    const found = all.find((name) => name === word.trim());
    if (found === undefined)
      throw new PacelineError("usage", `--only: there is no phase ${JSON.stringify(word)} (phases: ${all.join(", ")})`);
    return found;
  });
}

/** @throws PacelineError `usage` */
async function readReplayed(file: string) {
  const { readRecording } = await import("../../rehearse/recording.js");
  let text: string;
  try {
    text = readRegularFile(file, { maxBytes: MAX_RECORDING_BYTES }).toString();
  } catch (error) {
    throw new PacelineError("usage", `--replay: ${(error as Error).message}`, { cause: error });
  }
  const read = readRecording(text, "localhost");
  if ("problem" in read) throw new PacelineError("usage", `--replay: ${file} ${read.problem}`);
  return read;
}

function parseRate(text: string): number {
  const rate = parseCount(text);
  if (rate < 1 || rate > MAX_RATE) throw new InvalidArgumentError(`It must be from 1 to ${MAX_RATE}.`);
  return rate;
}
