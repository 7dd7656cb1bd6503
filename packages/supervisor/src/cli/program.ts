/** The whole command line: its commands, and what an exit status comes from. */
import { Command, CommanderError } from "commander";
import { PacelineError } from "../errors.js";
import "../hangup.js";
import { version } from "../package.js";
import { commands } from "./commands/index.js";
import { EXIT } from "./exit-status.js";
import type { Action } from "./options.js";
import { printForeign, reportError, surviveClosedOutput } from "./output.js";

/** Runs the command line `args` (without runtime and script) and sets the exit status of this process. */
export async function run(args: string[]): Promise<void> {
  surviveClosedOutput();
  // Looked for in the arguments: when the command line is wrong, no options have been parsed.
  const wantsJson = args.slice(0, args.includes("--") ? args.indexOf("--") : args.length).includes("--json");
  const program = new Command("paceline")
    .description("Runs N single-process web servers behind a round-robin balancer, supervised.")
    .version(version())
    .showHelpAfterError("(paceline --help lists all commands)")
    .configureOutput({ writeErr: wantsJson ? () => {} : printForeign })
    .exitOverride();
  for (const define of commands) define(program, settle);
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Asked-for help and version are no mistakes.
    if (error.exitCode === 0) process.exitCode = EXIT.done;
    else if (wantsJson) process.exitCode = reportError(new PacelineError("usage", mistakeOf(error)), true);
    // Commander has written what was wrong.
    else process.exitCode = EXIT.usage;
  }
}

/** What is wrong with the command line, in one line. */
function mistakeOf({ code, message }: CommanderError): string {
  if (code === "commander.help") return "no command was given";
  return message.replace(/^error: /, "").replaceAll("\n", " ");
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
