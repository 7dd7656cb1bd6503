/** The whole command line: its commands, and what an exit status comes from. */
import { Command, CommanderError } from "commander";
import "../hangup.js";
import { commands } from "./commands/index.js";
import { EXIT, type ExitStatus } from "./exit-status.js";
import { reportError, surviveClosedOutput } from "./output.js";
import { version } from "./version.js";

/** A command's action: gives the exit status. */
export type Action = (...args: never[]) => Promise<ExitStatus>;

/** Registers one command; `action` wraps what it does, so that errors are told and the exit status is set. */
export type DefineCommand = (program: Command, action: (run: Action) => (...args: unknown[]) => Promise<void>) => void;

/** Runs the command line `args` (without runtime and script) and sets the exit status of this process. */
export async function run(args: string[]): Promise<void> {
  surviveClosedOutput();
  const program = new Command("paceline")
    .description("Runs N single-process web servers behind a round-robin balancer, supervised.")
    .version(version())
    .showHelpAfterError("(paceline --help tells all commands)")
    .exitOverride();
  for (const define of commands) define(program, settle);
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Commander has told what was wrong; asked-for help and version are no mistakes.
    process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
  }
}

function settle(run: Action) {
  return async (...args: unknown[]): Promise<void> => {
    // Commander gives the arguments, then the options, then the command.
    const options = args.at(-2);
    try {
      process.exitCode = await run(...(args as never[]));
    } catch (error) {
      process.exitCode = reportError(error, (options as { json?: boolean } | undefined)?.json === true);
    }
  };
}
