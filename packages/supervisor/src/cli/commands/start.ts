/** `paceline start`: starts a fleet: with the dashboard in a terminal, in the foreground, or detached. */
import { Option } from "commander";
import { PacelineError } from "../../errors.js";
import { type DefineCommand, parseCount, type StartOptions, usualPort, withJson, withTimeout } from "../options.js";
import { type ExitStatus, failWithOutput } from "../output.js";
import { originOf, withOrigin } from "../start-arguments.js";

export const start: DefineCommand = (program, action) => {
  const command = withOrigin(
    program
      .command("start")
      .description("start a fleet from a config file, an app module, a folder with one of them, or a folder of files"),
  )
    .option("-d, --detach", "return when all instances are ready, and leave the fleet running")
    .option("--run-dir <path>", "the folder of sockets, lock and log")
    .option("--replace", "first end the processes that a killed supervisor of this fleet left behind")
    .option("--or-reload", "reload the fleet if it is already running")
    .option("--watch", "for development: reload a pool when its app changes, all pools when the config changes")
    .addOption(
      new Option("--log-format <format>", "print the log in this format (default: text)").choices([
        "text",
        "json",
        "none",
      ]),
    )
    .option("--no-dashboard", "print the log even in a terminal")
    .addOption(new Option("--stop-with-client").hideHelp())
    .addOption(new Option("--only-adopts").hideHelp())
    .addOption(new Option("--cwd <path>").hideHelp())
    .addOption(new Option("--reload-adopted").hideHelp())
    .addOption(new Option("--rehearses").hideHelp())
    .addOption(new Option("--default-port <n>").argParser(parseCount).hideHelp())
    .addOption(new Option("--notify-fd <fd>").argParser(parseCount).hideHelp())
    .addOption(new Option("--fleet-fd <fd>").argParser(parseCount).hideHelp())
    .addOption(new Option("--starter <path>").hideHelp())
    .addOption(new Option("--fleet-file <path>").hideHelp())
    .addOption(new Option("--next-supervisor").hideHelp())
    .addOption(new Option("--listen-fds <n>").argParser(parseCount).hideHelp());
  withTimeout(withJson(command)).action(
    action(async (given: string, args: string[], startOptions: StartOptions) => {
      const { target, options } = originOf(given, args, startOptions);
      // A supervisor that another command has started gets its port from that command.
      if (options.notifyFd === undefined && options.starter === undefined) options.defaultPort ??= usualPort();
      if (options.json && !options.detach) throw new PacelineError("usage", "--json needs --detach");
      if (options.detach) failWithOutput();
      if (!options.orReload) return startNew(target, options);
      const { reloadOrStart } = await import("../reload-running.js");
      return reloadOrStart(target, options, () => startNew(target, options));
    }),
  );
};

async function startNew(target: string, options: StartOptions): Promise<ExitStatus> {
  if (options.detach) {
    const { startDetached } = await import("../start-detached.js");
    return startDetached(target, options);
  }
  if (wantsDashboard(options)) {
    const { startInTerminal } = await import("../start-in-terminal.js");
    return startInTerminal(target, options);
  }
  const { startForeground } = await import("../start-foreground.js");
  return startForeground(target, options);
}

/** Shows the dashboard in an interactive terminal, unless a log format was requested. */
function wantsDashboard({ dashboard, logFormat, notifyFd }: StartOptions): boolean {
  if (!dashboard || logFormat !== undefined || notifyFd !== undefined) return false;
  const { CI, TERM } = process.env;
  return process.stdin.isTTY === true && process.stdout.isTTY === true && TERM !== "dumb" && !CI;
}
