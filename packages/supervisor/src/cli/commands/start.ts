/** `paceline start`: starts a fleet: with the dashboard in a terminal, in the foreground, or detached. */
import { Option } from "commander";
import { PacelineError } from "../../errors.js";
import {
  collect,
  type DefineCommand,
  parseCount,
  parseInstances,
  parsePort,
  type StartOptions,
  withJson,
  withTimeout,
} from "../options.js";
import type { ExitStatus } from "../output.js";

export const start: DefineCommand = (program, action) => {
  const command = program
    .command("start")
    .description("start a fleet from a config file, an app module, a folder with one of them, or a folder of files")
    .argument("[config|app]", "a config file, an app module or a folder", ".")
    .argument("[words...]", "after --: arguments of the app or the script, or a program to run with its arguments")
    .option("--static <folder>", "serve the files of this folder; no config, no app")
    .option("--proxy <url>", "forward requests to this upstream; no config, no app")
    .option("--wsgi <app>", "run this Python WSGI app, such as mysite.wsgi:application; no config")
    .option("--asgi <app>", "run this Python ASGI app, such as main:app; no config")
    .option("--worker", "the module, or the program after --, gets no requests, such as a queue consumer; no config")
    .option("--cron <pattern>", 'such a worker, run at the times of this cron pattern, such as "*/5 * * * *"')
    .option("--fapws <script>", "run this FAPWS start script; no config")
    .option("--python <path>", "the Python interpreter for these (default: python3)")
    .option("-d, --detach", "return when all instances are ready, and leave the fleet running")
    .option("--name <name>", "the name of the fleet (default: that of its folder)")
    .option("-i, --instances <n>", 'the number of instances, or "cpus"', parseInstances)
    .option("-p, --port <n>", "listen on this port of 127.0.0.1", parsePort)
    .option("-l, --listen <address>", "where to listen, such as 127.0.0.1:8080; may be repeated", collect)
    .addOption(new Option("--runtime <name>", "the runtime of every process").choices(["bun", "node"]))
    .option("--run-dir <path>", "the folder of sockets, lock and log")
    .option("--replace", "end the processes that a killed supervisor of this fleet left behind, then start")
    .option("--or-reload", "reload the fleet if it is already running")
    .option("--watch", "for development: reload a pool when its app changes, all on a config change")
    .addOption(
      new Option("--log-format <format>", "print the log in this format (default: text)").choices([
        "text",
        "json",
        "none",
      ]),
    )
    .option("--no-dashboard", "print the log even in a terminal")
    .addOption(new Option("--stop-with-client").hideHelp())
    .addOption(new Option("--notify-fd <fd>").argParser(parseCount).hideHelp())
    .addOption(new Option("--fleet-fd <fd>").argParser(parseCount).hideHelp());
  withTimeout(withJson(command)).action(
    action(async (given: string, args: string[], startOptions: StartOptions) => {
      const { target, options } = withWords(given, args, startOptions);
      if (options.port !== undefined) options.listen = [...(options.listen ?? []), `127.0.0.1:${options.port}`];
      if (options.json && !options.detach) throw new PacelineError("usage", "--json needs --detach");
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

/** Takes the words after `--`: arguments of the app before them or of the script of --fapws, or else a command. */
function withWords(given: string, args: string[], options: StartOptions): { target: string; options: StartOptions } {
  const dashes = process.argv.indexOf("--");
  const words = dashes < 0 ? [] : process.argv.slice(dashes + 1);
  if (words.length === 0 && args.length === 0) return { target: given, options };
  const hasTarget = words.length === args.length;
  if (!hasTarget && words.length !== args.length + 1) {
    throw new PacelineError(
      "usage",
      `too many arguments: ${args.slice(0, args.length - words.length || args.length).join(" ")}`,
    );
  }
  if (hasTarget) return { target: given, options: { ...options, scriptArgs: words } };
  if (options.fapws !== undefined) return { target: ".", options: { ...options, scriptArgs: words } };
  // `--` may also stand before a target, to end the options.
  if (words.length === 1 && isTarget(given)) return { target: given, options };
  return { target: ".", options: { ...options, command: words } };
}

/** Whether a word names a config, an app or a folder, not a program. */
function isTarget(word: string): boolean {
  return /\.([cm]?[jt]sx?|json|toml|py)$/.test(word) || word === "." || word.endsWith("/");
}

/** Shows the dashboard in an interactive terminal, unless a log format was requested. */
function wantsDashboard({ dashboard, logFormat, notifyFd }: StartOptions): boolean {
  if (!dashboard || logFormat !== undefined || notifyFd !== undefined) return false;
  const { CI, TERM } = process.env;
  return process.stdin.isTTY === true && process.stdout.isTTY === true && TERM !== "dumb" && !CI;
}
