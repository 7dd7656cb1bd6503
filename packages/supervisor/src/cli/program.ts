/** The whole command line: its commands and their exit statuses. */
import "../hangup.js";
import { Command, CommanderError } from "commander";
import { exitStatusOfCode, PacelineError } from "../errors.js";
import { version } from "../package.js";
import { commands, HEADINGS } from "./commands/index.js";
import type { Action, DefineCommand } from "./options.js";
import { EXIT, failureOf, failWithOutput, print, printForeign, reportError, surviveClosedOutput } from "./output.js";
import { explainMistake } from "./pm2-hints.js";

/** Runs the command line `args` (without runtime and script) and sets this process's exit status. */
export async function run(args: string[]): Promise<void> {
  surviveClosedOutput();
  // A fleet outlives its output.
  if (args[0] !== "start" && args[0] !== "serve") failWithOutput();
  // Searches the raw arguments, because an invalid command line has no parsed options.
  const wantsJson = args.slice(0, args.includes("--") ? args.indexOf("--") : args.length).includes("--json");
  const hosts = await onHosts(args, wantsJson);
  if (hosts !== undefined) {
    process.exitCode = hosts;
    return;
  }
  const prepare = (all: Command) => {
    all
      .showHelpAfterError("(paceline --help lists all commands)")
      .configureOutput({
        writeErr: wantsJson ? () => {} : printForeign,
        outputError: (text, write) => write(`${explainMistake(text, args)}\n`),
      })
      .exitOverride()
      .hook("preAction", (_, command) => refuseEmpty(command));
  };
  // Completion needs all commands.
  const only = args[0] === "complete" ? undefined : args[0];
  const program = commandLine(settle, prepare, only);
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof PacelineError) {
      process.exitCode = report(error, wantsJson, args[0]);
      return;
    }
    if (!(error instanceof CommanderError)) throw error;
    // The user asked for help or the version.
    if (error.exitCode === 0) process.exitCode = EXIT.done;
    else if (wantsJson) process.exitCode = report(new PacelineError("usage", mistakeOf(error, args)), true, args[0]);
    // Commander has printed the error.
    else process.exitCode = EXIT.usage;
  }
}

/** Runs a command line that begins with `-H` on other machines, and returns its exit status. */
async function onHosts(args: readonly string[], wantsJson: boolean): Promise<number | undefined> {
  if (!/^(-H|--on|--ssh|--parallel)(=|$)/.test(args[0] ?? "")) return undefined;
  try {
    const { readHosts, runOnHosts } = await import("./on-hosts.js");
    const command = readHosts(args, process.env);
    return command === undefined ? undefined : await runOnHosts(command, process.env);
  } catch (error) {
    return reportError(error, wantsJson);
  }
}

/**
 * Returns the definitions of all commands. Help, completion and the man page are generated from them.
 * @param prepare sets the properties that all commands inherit
 * @param only the only command that is needed, because defining all of them takes milliseconds; if no command has that name, all are
 * defined
 */
export function commandLine(
  action: Parameters<DefineCommand>[1],
  prepare: (program: Command) => void = () => {},
  only = "",
): Command {
  const program = new Command("paceline")
    .description("Runs N single-process web servers behind a round-robin balancer, supervised.")
    .version(version(), "-v, --version")
    .option("-H, --on <host>", "before the command: run the command on this machine, over ssh; may be repeated")
    .option("--ssh <program>", "the ssh that -H uses; default: PACELINE_SSH, or ssh")
    .option("--parallel", "ask all machines of -H at once; only for commands that change nothing")
    // Arguments and aliases would leave little room for the descriptions in 80 columns.
    .configureHelp({ subcommandTerm: (command) => command.name() })
    // An option after the command belongs to the command.
    .enablePositionalOptions();
  prepare(program);
  const needed = Object.hasOwn(commands, only)
    ? [[only, commands[only] as DefineCommand] as const]
    : Object.entries(commands);
  for (const [name, define] of needed) {
    const heading = HEADINGS[name];
    if (heading !== undefined) program.commandsGroup(heading);
    define(program, action);
  }
  return program.helpCommand("help [command]", "show the help of a command");
}

/** Describes the command-line error in one line. */
function mistakeOf({ code, message }: CommanderError, args: readonly string[]): string {
  if (code === "commander.help") return "no command was given";
  return explainMistake(message, args)
    .replace(/^error: /, "")
    .replaceAll("\n", " ");
}

/** `deploy --json` prints lines, and the last one is the result. */
function report(error: unknown, json: boolean, command: string | undefined): number {
  if (command !== "deploy" || !json) return reportError(error, json);
  print(JSON.stringify({ at: Date.now(), result: failureOf(error) }));
  return error instanceof PacelineError ? error.exitStatus : exitStatusOfCode("internal");
}

/**
 * Refuses empty words: an unset variable in a script becomes one, and would silently select the default.
 * @throws PacelineError `usage`
 */
function refuseEmpty(command: Command): void {
  const refuse = (what: string, remedy = "name it, or omit it") => {
    throw new PacelineError("usage", `${command.name()}: ${what} is empty: ${remedy}`);
  };
  command.registeredArguments.forEach((argument, at) => {
    if (argument.variadic || command.args[at] !== "") return;
    refuse(argument.name(), argument.required ? "it is needed" : undefined);
  });
  for (const option of command.options) {
    const value: unknown = command.getOptionValue(option.attributeName());
    const isEmpty = value === "" || (Array.isArray(value) && !option.variadic && value.includes(""));
    if (isEmpty && command.getOptionValueSource(option.attributeName()) === "cli") refuse(option.long ?? option.flags);
  }
}

function settle(run: Action) {
  return async (...args: unknown[]): Promise<void> => {
    // Commander passes the arguments, then the options, then the command.
    const options = args.at(-2);
    const command = (args.at(-1) as Command | undefined)?.name();
    try {
      process.exitCode = await run(...(args as never[]));
    } catch (error) {
      process.exitCode = report(error, (options as { json?: boolean } | undefined)?.json === true, command);
    }
  };
}
