/** The arguments that say what a fleet runs: of `paceline start`, and of `paceline export`. */
import { type Command, Option } from "commander";
import { PacelineError } from "../errors.js";
import { collect, parseInstances, parsePort, type StartOptions } from "./options.js";

/** Adds the arguments and options. */
export function withOrigin(command: Command): Command {
  return command
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
    .option("--name <name>", "the name of the fleet (default: that of its folder)")
    .option("-i, --instances <n>", 'the number of instances, or "cpus"', parseInstances)
    .option("-p, --port <n>", "listen on this port of 127.0.0.1", parsePort)
    .option("-l, --listen <address>", "where to listen, such as 127.0.0.1:8080; may be repeated", collect)
    .addOption(new Option("--runtime <name>", "the runtime of every process").choices(["bun", "node"]));
}

interface Origin {
  target: string;
  options: StartOptions;
}

/** Returns what is to be started. @throws PacelineError `usage` */
export function originOf(given: string, args: string[], startOptions: StartOptions): Origin {
  const { target, options } = withWords(given, args, startOptions);
  const { port, listen = [] } = options;
  return { target, options: port === undefined ? options : { ...options, listen: [...listen, `127.0.0.1:${port}`] } };
}

/** Takes the words after `--`: arguments of the app before them or of the script of --fapws, or else a command. */
function withWords(given: string, args: string[], options: StartOptions): Origin {
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
