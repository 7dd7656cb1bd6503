/** The arguments that describe a fleet, for `paceline start` and `paceline export`. */
import { existsSync } from "node:fs";
import { type Command, Option } from "commander";
import { PacelineError } from "../errors.js";
import { collect, parseInstances, parsePorts, type StartOptions } from "./options.js";

/** Adds the arguments and options. */
export function withOrigin(command: Command): Command {
  return command
    .argument("[config|app]", "a config file, an app module or a folder", ".")
    .argument("[words...]", "after --: arguments of the app or the script, or a program to run with its arguments")
    .option("-c, --config <path>", "the config file, in place of the argument")
    .option("--static <folder>", "serve the files of this folder; no config, no app")
    .option("--proxy <url>", "forward requests to this upstream; no config, no app")
    .option("--wsgi <app>", "run this Python WSGI app, such as mysite.wsgi:application; no config")
    .option("--asgi <app>", "run this Python ASGI app, such as main:app; no config")
    .option("--worker", "the module, or the program after --, is a worker, which gets no requests; no config")
    .option("--cron <pattern>", 'run a worker at the times of this cron pattern, such as "*/5 * * * *"')
    .option("--fapws <script>", "run this FAPWS start script; no config")
    .option("--python <path>", "the Python interpreter for these (default: python3)")
    .option("--name <name>", "the name of the fleet (default: that of its folder)")
    .option("-i, --instances <n>", 'the number of instances, or "cpus"', parseInstances)
    .option("-p, --port <n>", "listen on this port of 127.0.0.1; may be repeated", parsePorts)
    .option("-l, --listen <address>", "where to listen, such as 127.0.0.1:8080; may be repeated", collect)
    .addOption(
      new Option(
        "--tls <kind>",
        "serve https, with a certificate that is signed by itself or by an authority of this fleet",
      ).choices(["self-signed", "internal"]),
    )
    .option("--sticky <how>", "keep each client at one instance, recognized by cookie, address or header:NAME")
    .addOption(new Option("--runtime <name>", "the runtime of every process").choices(["bun", "node"]));
}

interface Origin {
  target: string;
  options: StartOptions;
}

/**
 * Returns what should be started.
 * @throws PacelineError `usage`
 */
export function originOf(given: string, args: string[], startOptions: StartOptions): Origin {
  const { target, options } = withWords(given, args, startOptions);
  const { port: ports = [], listen = [] } = options;
  // A supervisor starts with arguments that its starter has already checked.
  const mistake = options.notifyFd === undefined ? mistakeIn(target, options) : undefined;
  if (mistake !== undefined) throw new PacelineError("usage", mistake);
  if (ports.length === 0) return { target, options };
  return { target, options: { ...options, listen: [...listen, ...ports.map((port) => `127.0.0.1:${port}`)] } };
}

/**
 * Assigns the words after `--`: with an app or a config before them, or with --fapws, they are arguments of the app or script; otherwise
 * they are a command.
 * @throws PacelineError `usage`
 */
function withWords(given: string, args: string[], options: StartOptions): Origin {
  const dashes = process.argv.indexOf("--");
  const words = dashes < 0 ? [] : process.argv.slice(dashes + 1);
  const { config } = options;
  const isAlone = words.length === 0 && args.length === 0;
  const hasTarget = isAlone ? given !== "." : words.length === args.length;
  if (config !== undefined && hasTarget)
    throw new PacelineError("usage", `-c ${config}: use either -c or an argument (${given}), not both`);
  const target = config ?? given;
  if (isAlone) return { target, options };
  if (!hasTarget && words.length !== args.length + 1) {
    const surplus = args.slice(0, args.length - words.length || args.length).join(" ");
    throw new PacelineError("usage", programOf([given, ...args]) ?? `too many arguments: ${surplus}`);
  }
  if (hasTarget || config !== undefined) return { target, options: { ...options, scriptArgs: words } };
  if (options.fapws !== undefined) return { target: ".", options: { ...options, scriptArgs: words } };
  // `--` may also precede a target, to end the options.
  if (words.length === 1 && isTarget(given)) return { target: given, options };
  return { target: ".", options: { ...options, command: words } };
}

/** Programs that users of PM2 name in place of a script. */
const PROGRAMS = /^(?:npm|npx|pnpm|yarn|bunx?|node|deno|tsx|python[\d.]*|uvicorn|gunicorn|php|ruby|java|sh|bash)$/;

/** Returns a hint if the words are a program and its arguments; undefined for others. */
function programOf(words: readonly string[]): string | undefined {
  const [first = ""] = words;
  if (existsSync(first) || !(first.trim().includes(" ") || PROGRAMS.test(first))) return undefined;
  return `${first}: there is no such file; a program follows after --: paceline start -- ${words.join(" ").trim()}`;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are refused
const NAME = /^[^/\x00-\x1f\x7f-\x9f]{1,64}$/u;

/** Returns what is wrong with the words of the command line, and what to write instead; undefined if they are valid. */
function mistakeIn(target: string, options: StartOptions): string | undefined {
  const { config, command, worker, cron, scriptArgs = [], name, listen, port } = options;
  if (config !== undefined && /^\S+ \S+ \S/.test(config) && !existsSync(config))
    return `-c names the config; the times of a worker follow after --cron: --cron "${config}"`;
  if (name !== undefined && !NAME.test(name))
    return `--name: must be 1 to 64 characters without "/" and control characters, not ${JSON.stringify(name)}`;
  if ((worker || cron !== undefined) && (listen ?? port) !== undefined)
    return `--${cron === undefined ? "worker" : "cron"}: a worker gets no requests and does not listen; omit ${port === undefined ? "--listen" : "--port"}`;
  if (command === undefined) return programOf([target, ...scriptArgs]);
  return command.length === 1 && command[0]?.includes(" ") ? programOf(command) : undefined;
}

/** Whether a word names a config, an app or a folder, as opposed to a program. */
function isTarget(word: string): boolean {
  return (
    /^\S*\.([cm]?[jt]sx?|json|toml|py)$/.test(word) ||
    (word.includes(" ") && existsSync(word)) ||
    word === "." ||
    word.endsWith("/")
  );
}
