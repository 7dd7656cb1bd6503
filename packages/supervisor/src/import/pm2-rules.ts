/** PM2's keys of an app, each with the matching key of Paceline, or with advice. Pure. */
import { readCron } from "@paceline/wire/cron";
import { isOff, isOn, isTable, type Keys, type Rule, type Rules, splitWords } from "./rules.js";

/** What the rules know of the app that has a key. */
export interface Pm2Context {
  /** The kind of its pool. */
  kind: "app" | "command" | "static" | "worker";
  /** Whether it runs at the times of `cron_restart` and exits by itself. */
  isScheduled: boolean;
  /** Whether the arguments of the interpreter are among the program's words. */
  hasInterpreterArgs: boolean;
  cpus: number;
  /** Returns the path of a file named in the app, relative to the folder of the imported file; undefined if it does not exist. */
  fileAt(path: string): string | undefined;
  /** The environment of the import, which instances inherit. */
  environment: Readonly<Record<string, string | undefined>>;
  /** Adds a note on a part of a key. */
  note(key: string, advice: string): void;
}

/** pm2.ts reads `script`, `interpreter` and similar keys together. */
const program: Rule<Pm2Context> = { to: "the pool's kind", keys: () => ({}) };
const monitoring: Rule<Pm2Context> = {
  same: isOff,
  advice: "omit it: it belongs to PM2's monitoring; `paceline top` and `status --json` show the figures",
};
const files = (what: string): Rule<Pm2Context> => ({
  same: (value) => isOff(value) || value === "/dev/null",
  advice: `omit it: ${what} goes to log/ in the run directory, limited by \`log\`; read it with \`paceline logs\``,
});
const onlyAsTrue = (advice: string): Rule<Pm2Context> => ({ same: isOn, advice });
const onlyAsFalse = (advice: string): Rule<Pm2Context> => ({ same: isOff, advice });

export const PM2_RULES: Rules<Pm2Context> = {
  name: { to: "the pool's name, or `name`", keys: () => ({}) },
  script: { ...program, aliases: ["exec", "cmd"] },
  args: program,
  cwd: { to: "cwd", keys: (value) => (isOff(value) || value === "." || value === "./" ? {} : { cwd: `${value}` }) },
  exec_interpreter: { ...program, aliases: ["interpreter"] },
  node_args: {
    aliases: ["interpreterArgs", "interpreter_args"],
    to: "env.NODE_OPTIONS, or words of the command",
    same: (value) => isOff(value) || (Array.isArray(value) && value.length === 0),
    keys: nodeOptions,
  },
  exec_mode: { to: "each instance is a process of its own behind the balancer", keys: () => ({}) },
  instances: { to: "instances", keys: (value, { cpus }) => instances(value, cpus) },
  env: { to: "env", keys: (value, context) => variables(value, context) },
  env_file: { to: "envFiles", keys: envFiles },
  "env_*": {
    to: "env",
    advice: "import it with --env, or write it into a file of NAME=value lines and name that in `envFiles`",
  },
  filter_env: onlyAsFalse(
    "start the fleet with a clean environment: `env -i PATH=$PATH paceline start`, or a systemd unit",
  ),
  port: { to: "listen, env.PORT", keys: (value) => ({ env: { PORT: `${value}` } }) },

  watch: onlyAsFalse("for development, start with `paceline start --watch`"),
  ignore_watch: {
    aliases: ["watch_ignore"],
    advice: "--watch ignores node_modules, dot files, logs and databases; keep what the app writes outside its folder",
  },
  watch_delay: { advice: "omit it: --watch gathers a burst of changes into one reload" },
  watch_options: { advice: "omit it: --watch uses the kernel's own notices, not chokidar" },

  max_memory_restart: { to: "maxMemoryMb", same: isOff, keys: memory },
  min_uptime: { to: "stableAfterMs", keys: (value) => duration(value, (ms) => ({ stableAfterMs: ms })) },
  max_restarts: {
    to: "restartBudget",
    keys: (value) =>
      Number(value) >= 1
        ? { restartBudget: { maxFailures: Math.min(Math.floor(Number(value)), 1000) } }
        : "omit it: an app that has served is always restarted, after at most `backoff.maxMs`",
  },
  restart_delay: {
    to: "backoff",
    same: (value) => isOff(value) || Number(value) === 0,
    keys: (value) => duration(value, (ms) => ({ backoff: { initialMs: ms, maxMs: Math.max(ms, 1), factor: 1 } })),
  },
  exp_backoff_restart_delay: {
    to: "backoff",
    same: (value) => isOff(value) || Number(value) === 0,
    // PM2 multiplies by 1.5, up to 15 s.
    keys: (value) =>
      duration(value, (ms) => ({ backoff: { initialMs: ms, maxMs: Math.max(ms, 15_000), factor: 1.5 } })),
  },
  autorestart: {
    to: "always so, except for a worker with `cron`",
    keys: (value, { isScheduled }) => (isOn(value) || isScheduled ? {} : "Paceline restarts every process that exits"),
  },
  stop_exit_codes: {
    advice: "Paceline restarts a process whatever its exit status: stop an instance with `paceline scale`",
  },
  cron_restart: {
    aliases: ["cron"],
    to: "cron of a worker, or recycleSchedule",
    same: (value) => isOff(value) || value === 0 || value === "0",
    keys: (value, { isScheduled }) => {
      const times = readCron(`${value}`, undefined);
      if ("problem" in times) return times.problem;
      return { [isScheduled ? "cron" : "recycleSchedule"]: `${value}` };
    },
  },
  wait_ready: {
    to: "readySignal",
    same: isOff,
    keys: (_, { kind, isScheduled }) => {
      if (kind === "command") return "set `readyPath` to a path that responds when the program is ready";
      return isScheduled || kind === "static" ? "omit it: nothing waits for it" : { readySignal: true };
    },
  },
  listen_timeout: { to: "readyTimeoutMs", keys: (value) => duration(value, (ms) => ({ readyTimeoutMs: ms })) },
  kill_timeout: {
    to: "drainTimeoutMs, or termTimeoutMs of a command",
    keys: (value, { kind }) =>
      duration(value, (ms) => (kind === "command" ? { termTimeoutMs: ms } : { drainTimeoutMs: ms })),
  },
  kill_retry_time: { advice: "omit it: `killTimeoutMs` is the time to a repeated warning" },
  shutdown_with_message: onlyAsFalse("no message is sent: export `stop()`, or listen for SIGTERM"),
  treekill: onlyAsTrue(
    "the processes that an app started end with it; one that must live on runs in a unit of its own",
  ),

  log_file: { ...files("the log of all instances"), aliases: ["log"] },
  out_file: { ...files("stdout"), aliases: ["out", "output", "out_log"] },
  error_file: { ...files("stderr"), aliases: ["error", "err", "err_file", "err_log"] },
  merge_logs: { aliases: ["combine_logs"], to: "one log, each line with its instance", same: () => true },
  time: { to: "each line of the log has its time", same: () => true },
  log_date_format: {
    same: isOff,
    advice: "each line has its time in one format; `--log-format json` has milliseconds since 1970",
  },
  log_type: { same: isOff, advice: "start with `paceline start --log-format json`" },
  disable_logs: onlyAsFalse("start with `--log-format none`; the files in log/ are limited by `log`"),
  pid_file: { aliases: ["pid"], same: isOff, advice: "omit it: `paceline status --json` has the pids" },

  source_map_support: {
    same: (value) => isOn(value),
    advice: 'Bun always reads source maps; Node only with `NODE_OPTIONS: "--enable-source-maps"` in `env`',
  },
  disable_source_map_support: { to: "nothing to write", same: () => true },
  instance_var: {
    to: "NODE_APP_INSTANCE",
    same: (value) => isOff(value) || value === "NODE_APP_INSTANCE",
    advice: "the app's number is NODE_APP_INSTANCE (from 0) or PACELINE_INDEX (from 1)",
  },
  increment_var: {
    same: isOff,
    advice: (value) =>
      value === "PORT"
        ? "omit it: each instance listens where Paceline says, and all are reached at `listen`"
        : `compute ${value} in the app from PACELINE_INDEX (from 1)`,
  },
  namespace: {
    same: (value) => isOff(value) || value === "default",
    advice: "one config is one fleet: stop, reload and logs apply to it",
  },
  name_prefix: { same: isOff, advice: "omit it: commands name a fleet by its folder or its config" },
  append_env_to_name: onlyAsFalse("set `name`"),
  uid: {
    aliases: ["user", "username"],
    same: isOff,
    advice: "start the fleet as that user: User= of a systemd unit, or `sudo -u USER paceline start`",
  },
  gid: { same: isOff, advice: "start the fleet with that group: Group= of a systemd unit" },
  force: onlyAsFalse("omit it: each config is a fleet of its own"),
  vizion: { to: "nothing to write", same: () => true },
  post_update: { advice: "run these commands in your deploy script, before `paceline reload` (docs/deploying.md)" },
  pmx: { to: "nothing to write", same: () => true },
  automation: { to: "nothing to write", same: () => true },
  trace: monitoring,
  disable_trace: { to: "nothing to write", same: () => true },
  v8: monitoring,
  event_loop_inspector: monitoring,
  deep_monitoring: monitoring,
  io: { advice: monitoring.advice as string },
  windowsHide: { to: "nothing to write", same: () => true },
  execute_command: { to: "nothing to write", same: () => true },
  write: { to: "nothing to write", same: () => true },
  install_url: { same: isOff, advice: "install the program yourself" },
};

/** The keys of the file, except `apps`. */
export const PM2_FILE_RULES: Rules<unknown> = {
  deploy: { advice: "deploy with a script of your own; docs/deploying.md has a tested one" },
  apps: { to: "pools", aliases: ["pm2", "static"], keys: () => ({}) },
};

function instances(value: unknown, cpus: number): Keys | string {
  const count = Number(value);
  if (value === "max" || count === 0) return { instances: "cpus" };
  if (Number.isInteger(count) && count < 0) return { instances: Math.max(1, cpus + count) };
  return Number.isInteger(count) && count <= 1024
    ? { instances: count }
    : `must be a number, not ${JSON.stringify(value)}`;
}

/** Parses PM2's sizes: bytes, or text such as `300M`, in units of 1024. */
function memory(value: unknown, { isScheduled }: Pm2Context): Keys | string {
  if (isScheduled) return "omit it: a run ends by itself, at the latest after `runTimeoutMs`";
  const [, digits, unit = ""] = /^\s*(\d+)\s*([KMG]?)B?\s*$/i.exec(`${value}`) ?? [];
  if (digits === undefined) return `must be a size, not ${JSON.stringify(value)}`;
  const bytes = Number(digits) * 1024 ** " KMG".indexOf(unit.toUpperCase() || " ");
  return { maxMemoryMb: Math.max(1, Math.round(bytes / 1e6)) };
}

/** Parses PM2's durations: milliseconds, or text such as `10s`, `5m`, `1h`. */
function duration(value: unknown, keys: (ms: number) => Keys): Keys | string {
  const [, digits, unit = ""] = /^\s*(\d+)\s*(ms|s|m|h)?\s*$/.exec(`${value}`) ?? [];
  if (digits === undefined) return `must be a duration, not ${JSON.stringify(value)}`;
  const factor = { "": 1, ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit] ?? 1;
  const ms = Number(digits) * factor;
  return ms === 0 ? "omit it: 0 is no duration here" : keys(Math.min(ms, 86_400_000));
}

/** The usual flags that Node accepts in NODE_OPTIONS; it does not accept many others. */
const IN_NODE_OPTIONS =
  /^(-r|--(max-old-space-size|max-semi-space-size|require|import|enable-source-maps|no-deprecation|no-warnings|trace-(warnings|deprecation|uncaught)|unhandled-rejections|dns-result-order|conditions|stack-trace-limit|max-http-header-size|use-openssl-ca|use-bundled-ca|loader|experimental-[\w-]+|openssl-legacy-provider|heapsnapshot-signal|tls-\w[\w.-]*))(=|$)/;

function nodeOptions(value: unknown, { kind, hasInterpreterArgs }: Pm2Context): Keys | string {
  if (hasInterpreterArgs) return {};
  const words = Array.isArray(value) ? value.map(String) : (splitWords(`${value}`) ?? [`${value}`]);
  const refused = words.filter((word) => word.startsWith("-") && !IN_NODE_OPTIONS.test(word));
  if (refused.length > 0 || (kind !== "app" && kind !== "worker"))
    return `run it as a command that listens on PORT: paceline start -- node ${words.join(" ")} SCRIPT`;
  return { runtime: "node", env: { NODE_OPTIONS: words.join(" ") } };
}

function envFiles(value: unknown, { fileAt }: Pm2Context): Keys | string {
  const given = (Array.isArray(value) ? value : [value]).filter((each) => !isOff(each)).map(String);
  const found = given.map(fileAt).filter((path) => path !== undefined);
  if (found.length < given.length) return "there is no such file: name it in `envFiles` when it is there";
  return found.length === 0 ? {} : { envFiles: found };
}

/** Variables that instances inherit anyway and whose names suggest a secret. The values in the importing shell must not get into a file. */
const SECRET = /SECRET|TOKEN|PASS|KEY|CREDENTIAL|AUTH|DSN|UR[IL]$/i;

function variables(value: unknown, { environment, note }: Pm2Context): Keys | string {
  if (!isTable(value)) return "write it into a file of NAME=value lines, and name that in `envFiles`";
  const env: Record<string, string> = {};
  for (const [name, given] of Object.entries(value)) {
    if (given === undefined || name.startsWith("PM2_SERVE_")) continue;
    if (given === null) {
      note(`env.${name}`, "has no value and was left out");
      continue;
    }
    const text = typeof given === "object" ? JSON.stringify(given) : `${given}`;
    if (name.startsWith("PACELINE_")) note(`env.${name}`, "names that begin with PACELINE_ are Paceline's own");
    else if (SECRET.test(name) && environment[name] === text)
      note(
        `env.${name}`,
        "not written: instances inherit it from the shell that starts the fleet, or list an env file in `envFiles`",
      );
    else env[name] = text;
  }
  return Object.keys(env).length === 0 ? {} : { env };
}
