/** Suggests what to use instead of an unknown command or option, mostly of PM2, in the error message. */
import { basename } from "node:path";
import { OF_OTHERS } from "../config/find.js";

const MODULES = "PM2's modules do not run here; logs are rotated without one (docs/operations.md)";
const CLOUD = "there is no service in the cloud; paceline top and paceline status --json have the figures";
const PROFILES = "paceline dump web.1 --cpu 10s or --heap writes a profile";

const COMMANDS: Readonly<Record<string, string>> = {
  save: "nothing to save: paceline startup, with the arguments of your start, starts a fleet on boot",
  unstartup: "run: paceline startup --remove",
  resurrect: "start the fleet's systemd unit, or run paceline start in its folder",
  flush: "not needed: `log` limits the files of the log (docs/operations.md)",
  reloadLogs: "not needed: paceline reopens and rotates its log files itself",
  describe: "run: paceline status",
  desc: "run: paceline status",
  show: "run: paceline status",
  info: "run: paceline status",
  env: "run: paceline check --json, which prints `env` of each pool",
  jlist: "run: paceline ls --json, or paceline status --json in the fleet's folder",
  prettylist: "run: paceline ls --json, or paceline status --json in the fleet's folder",
  l: "run: paceline ls",
  ps: "run: paceline ls",
  dashboard: "run: paceline top",
  imonit: "run: paceline top",
  plus: "run: paceline top",
  report: "run: paceline status --json",
  id: "run: paceline status --json",
  pid: "run: paceline status --json",
  ping: "run: paceline status --check",
  update: "restart each fleet with the new version: paceline stop, then paceline start -d",
  reset: "not needed: paceline status shows the restarts since the start",
  startOrRestart: "run: paceline start -d --or-reload",
  startOrReload: "run: paceline start -d --or-reload",
  startOrGracefulReload: "run: paceline start -d --or-reload",
  gracefulReload: "run: paceline reload",
  softReload: "run: paceline reload",
  sendSignal: "send it with kill to the pid that paceline status shows",
  trigger: "give the app a route for it",
  attach: "an instance has no stdin; give the app a route for it",
  ecosystem: "run: paceline init",
  set: "edit the config, then: paceline reload",
  multiset: "edit the config, then: paceline reload",
  unset: "edit the config, then: paceline reload",
  get: "run: paceline check --json",
  conf: "run: paceline check --json",
  config: "run: paceline check --json",
  autoinstall: MODULES,
  install: MODULES,
  uninstall: MODULES,
  package: MODULES,
  publish: MODULES,
  cleardump: "there is no dump to clear: a fleet has its config, and a systemd unit (docs/operations.md)",
  logrotate: "not needed: paceline rotates its log files itself (docs/operations.md)",
  create: "run: paceline init",
  examples: "run: paceline start --help, or see docs/cli.md",
  dash: "run: paceline top",
  del: "run: paceline stop",
  slist: "run: paceline ls --json",
  sysinfos: "run: paceline status --json",
  inspect: "start Node with --inspect in NODE_OPTIONS and one instance",
  expose: "run: paceline start --static FOLDER",
  link: CLOUD,
  unlink: CLOUD,
  login: CLOUD,
  logout: CLOUD,
  register: CLOUD,
  open: CLOUD,
  monitor: CLOUD,
  unmonitor: CLOUD,
  "profile:cpu": PROFILES,
  "profile:mem": PROFILES,
  pull: "update the folder with git, then: paceline reload (docs/deploying.md)",
  forward: "update the folder with git, then: paceline reload (docs/deploying.md)",
  backward: "update the folder with git, then: paceline reload (docs/deploying.md)",
  send: "an instance has no stdin; give the app a route for it",
  updatePM2: "restart each fleet with the new version: paceline stop, then paceline start -d",
  deepUpdate: "restart each fleet with the new version: paceline stop, then paceline start -d",
};

const OPTIONS: Readonly<Record<string, string>> = {
  "--no-daemon": "without -d, start stays in the foreground; --no-dashboard prints the log",
  "--interpreter": "--runtime bun|node, or a command: paceline start -- python3 server.py",
  "--node-args": "set NODE_OPTIONS",
  "--exec-mode": "omit it: each instance is a process of its own",
  "--max-memory-restart": "set `maxMemoryMb` in a config (docs/operations.md)",
  "--max-restarts": "set `restartBudget` in a config",
  "--restart-delay": "set `backoff` in a config",
  "--exp-backoff-restart-delay": "set `backoff` in a config",
  "--kill-timeout": "set `drainTimeoutMs` in a config",
  "--listen-timeout": "set `readyTimeoutMs` in a config",
  "--wait-ready": "set `readySignal` in a config",
  "--no-autorestart": "run a job that ends with --cron (docs/workers.md)",
  "--cron-restart": "--cron runs a job that ends; for others set `recycleSchedule` in a config",
  "--env": "list env files in `envFiles` of a config",
  "--log": "run: paceline logs",
  "--output": "run: paceline logs",
  "--error": "run: paceline logs",
  "--merge-logs": "omit it: there is one log, each line with its instance",
  "--time": "omit it: each line has its time",
  "--log-date-format": "omit it: each line has its time",
  "--nostream": "omit it: logs ends unless you add -f",
  "--raw": "run: paceline logs --json",
  "--only": "start each app from a config of its own: paceline import --only",
  "--user": "set `user` in a config, and start the fleet as root",
  "--uid": "set `user` in a config, and start the fleet as root",
  "--gid": "set `group` in a config, and start the fleet as root",
  "--cwd": "change into the folder first, or set `cwd` in a config",
  "--namespace": "omit it: each fleet has commands of its own",
  "--force": "omit it: each config is a fleet of its own",
  "--update-env": "only reload has it",
  "--attach": "without -d, start stays in the foreground; --no-dashboard prints the log",
  "--deep-monitoring": "run: paceline top",
  "--trace": "run: paceline top",
  "--v8": "run: paceline top",
  "--no-pmx": "omit it: no code of ours for monitoring runs in an app",
  "--no-automation": "omit it: no code of ours for monitoring runs in an app",
  "--no-vizion": "omit it: paceline reads no version control",
  "--no-color": "set NO_COLOR=1",
  "--disable-logs": "--log-format none prints no log; `log` in a config limits its files",
  "--silent": "--log-format none prints no log",
  "--log-type": "write --log-format json",
  "--format": "omit it: each line has its time and its instance; --json prints JSON",
  "--err": "omit it: there is one log, of stdout and stderr",
  "--out": "omit it: there is one log, of stdout and stderr",
  "--highlight": "pipe the log: paceline logs -f | grep --color WORD",
  "--timestamp": "omit it: each line has its time",
  "--source-map-support": "omit it on Bun; on Node set NODE_OPTIONS=--enable-source-maps",
  "--disable-source-map-support": "omit it: on Node source maps are off unless NODE_OPTIONS turns them on",
  "--interpreter-args": "set NODE_OPTIONS, or name the program: paceline start -- node --flag app.js",
  "--execute-command": "run: paceline start -- PROGRAM ARGUMENTS",
  "--ext": "omit it: --watch has rules of its own (docs/cli.md)",
  "--ignore-watch": "omit it: --watch has rules of its own (docs/cli.md)",
  "--watch-delay": "omit it: --watch has rules of its own (docs/cli.md)",
  "--filter-env": "start with a clean environment: env -i PATH=$PATH paceline start",
  "--no-autostart": "omit it, and start the fleet later",
  "--no-treekill": "omit it: processes that an app started end with it",
  "--parallel": "set `maxSurge` in a config",
  "--pid": "run: paceline status --json, which has all pids",
  "--service-name": "omit it: paceline startup names the unit after the fleet; --name",
  "--shutdown-with-message": "listen for SIGTERM in the app (docs/apps.md)",
  "--stop-exit-codes": "run a job that ends with --cron (docs/workers.md)",
  "--wait-ip": "omit it: the systemd unit waits for the network",
  "--sort": "run: paceline top, which sorts with s",
  "--write": "omit it: paceline writes no config for a start",
  "--mini-list": "run: paceline ls",
  "-a": "write --update-env, which only reload has",
  "-e": "omit it; run: paceline logs",
  "-f": "omit it: each config is a fleet of its own",
  "-k": "set `drainTimeoutMs` in a config",
  "-m": "run: paceline ls",
  "-n": "write --name",
  "-o": "omit it; run: paceline logs",
  "-s": "--log-format none prints no log",
  "-u": "set `user` in a config, and start the fleet as root",
  "-w": "write --watch",
  "-x": "run: paceline start -- PROGRAM ARGUMENTS",
};

/** Paceline's options that are valid before all commands. */
const BEFORE = ["-H", "--on", "--ssh"];

/** Commands that take no name, each with what to do instead. */
const WITHOUT_NAME: Readonly<Record<string, string>> = {
  status: "it shows all pools and instances of a fleet; -c names another fleet",
  ls: "it lists all fleets; paceline status -c NAME shows one",
  top: "it shows all pools; press / to filter, or name another fleet with -c",
  init: "it detects the app of a folder; run: paceline init",
};

/** A wrong guess of one of these commands would stop a running fleet. */
const ENDING = ["stop", "kill", "delete"];

/**
 * Returns the line of the command-line parser, with a hint or a safe guess.
 * @param args of the command line
 */
export function explainMistake(message: string, args: readonly string[]): string {
  const hint = hintFor(message, args);
  const [line = "", ...more] = message.trimEnd().split("\n");
  if (hint !== undefined) return `${line.replace(/\.$/, "")}: ${hint}`;
  return [line, ...more.flatMap((guess) => safeGuess(line, guess) ?? [])].join("\n");
}

/** Removes a command that stops a fleet from the parser's guess, unless it is one letter away. */
function safeGuess(line: string, guess: string): string | undefined {
  const word = /unknown command '(.*)'/.exec(line)?.[1];
  const names = /^\(Did you mean (?:one of )?(.*)\?\)$/.exec(guess)?.[1]?.split(", ");
  if (word === undefined || names === undefined) return guess;
  const safe = names.filter((name) => !ENDING.includes(name) || isOneLetterAway(word, name));
  if (safe.length === 0) return undefined;
  return `(Did you mean ${safe.length === 1 ? "" : "one of "}${safe.join(", ")}?)`;
}

/** Whether `a` becomes `b` by adding, removing or replacing one letter, or by exchanging two. */
function isOneLetterAway(a: string, b: string): boolean {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  const [restA, restB] = [a.slice(at), b.slice(at)];
  const isExchanged = restA[0] === restB[1] && restA[1] === restB[0] && restA.slice(2) === restB.slice(2);
  return (
    [restA.slice(1) === restB, restA === restB.slice(1), restA.slice(1) === restB.slice(1)].includes(true) ||
    isExchanged
  );
}

function hintFor(message: string, args: readonly string[]): string | undefined {
  const [, what, name = ""] = /unknown (command|option) '([^'=]+)/.exec(message) ?? [];
  if (what === "command") {
    if (name.startsWith("module:")) return `${name} is PM2's; ${MODULES}`;
    return Object.hasOwn(COMMANDS, name) ? `${name} is PM2's; ${COMMANDS[name]}` : undefined;
  }
  if (what === "option") {
    const imported = importOf(name, args);
    if (imported !== undefined) return `run: ${imported}`;
    if (BEFORE.includes(name)) return `write ${name} before the command: paceline -H HOST status`;
    return Object.hasOwn(OPTIONS, name) ? `${name} is PM2's; ${OPTIONS[name]}` : undefined;
  }
  const command = /too many arguments for '(\w+)'/.exec(message)?.[1] ?? "";
  return Object.hasOwn(WITHOUT_NAME, command) ? WITHOUT_NAME[command] : undefined;
}

/** Returns the import that replaces `start ecosystem.config.js --env production`; undefined without such a file. */
function importOf(option: string, args: readonly string[]): string | undefined {
  if (option !== "--env" && option !== "--only") return undefined;
  const file = args.find((arg) => OF_OTHERS.test(basename(arg)));
  if (file === undefined) return undefined;
  const at = args.findIndex((arg) => arg === option || arg.startsWith(`${option}=`));
  const given = args[at] ?? "";
  const value = given.includes("=") ? given.slice(option.length + 1) : (args[at + 1] ?? "NAME");
  return `paceline import ${file} ${option} ${value}`;
}
