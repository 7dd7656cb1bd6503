/** Composes a fleet: reads its configuration, applies the command line's overrides, validates it and fills in defaults. */
import type { FleetConfig, PoolConfig, RuntimeName } from "../core/model.js";
import type { Runtimes } from "../runtime/runtimes.js";
import type { FleetSource } from "./find.js";
import { kindFields, POOL_KINDS } from "./kinds/index.js";
import { formatListenAddress, hostAndPort, parseListenAddress } from "./listen-address.js";
import { ConfigError, type Problem } from "./problems.js";
import { type ConfigDocument, readConfigFile } from "./read-file.js";
import { resolveFleet } from "./resolve.js";
import { DEFAULT_LISTEN, type FleetInput } from "./schema.js";
import { type Finding, validate, valueAt } from "./validate.js";

/** The command line's values, which override the config's. */
export interface Overrides {
  name?: string | undefined;
  instances?: number | "cpus" | undefined;
  listen?: string[] | undefined;
  /** The port of 127.0.0.1 to listen on if neither `listen` nor the config sets an address. */
  defaultPort?: number | undefined;
  /** Serve https with a certificate that Paceline creates. */
  tls?: "self-signed" | "internal" | undefined;
  /** The key `sticky` of the only pool. */
  sticky?: string | undefined;
  /** The runtime of every process, overriding the pools' settings. */
  runtime?: RuntimeName | undefined;
  /** The interpreter of a Python app started without a config. */
  python?: string | undefined;
  /** Arguments of a FAPWS script started without a config. */
  args?: string[] | undefined;
  /** Whether the fleet is only rehearsed. */
  rehearses?: boolean | undefined;
}

/** Everything that a fleet is composed from, as plain data. */
export interface LoadTask {
  /** The source, with symbolic links resolved. */
  source: FleetSource;
  /** The working directory in the form of the operator's shell. */
  cwd: string;
  /** The folder from which relative paths start. */
  release: string;
  /** The folder from which relative unix sockets start. A new release does not replace it. */
  listenDir: string;
  /** The default name of the fleet. */
  name: string;
  overrides: Overrides;
  runtimes: Runtimes;
  /** Whether the fleet watches its files, for development. */
  watches: boolean;
  /** $CREDENTIALS_DIRECTORY of the fleet's environment. */
  credentialsDir?: string | undefined;
  /** The absolute path of an env file for all pools. It is read after a pool's own env files, so it overrides them. */
  envFile?: string | undefined;
  /** Whether the fleet is only checked, and nothing is started. */
  isOnlyChecked?: boolean;
}

/**
 * Composes the fleet of `task`. A config module runs in this process.
 * @throws ConfigError with every problem found
 */
export async function composeFleet(task: LoadTask): Promise<FleetConfig> {
  const { source, runtimes } = task;
  const file = source.kind === "config" ? source.file : undefined;
  const document = await readSource(task);
  const problems: Problem[] = [];
  const given = withSticky(document.value, task.overrides.sticky, problems);
  const { input, findings, original } = validate(given);
  const unread = document.problems ?? [];
  if (unread.length > 0) {
    // If a line cannot be read, a key in it seems to be missing.
    const present = findings.filter(({ path }) => valueAt(given, path) !== undefined);
    throw new ConfigError([...unread, ...present.map((finding) => locate(finding, file, document))]);
  }
  const context = {
    // Without a config file, the app runs as if it had been started by hand in this folder.
    baseDir: task.release,
    listenDir: task.listenDir,
    defaultPort: task.overrides.defaultPort,
    defaultName: task.name,
    runtimes,
    credentialsDir: task.credentialsDir,
    isOnlyChecked: task.isOnlyChecked,
    ...{ findings, original },
  };
  const wrong = [...findings];
  const config = resolveFleet(applyOverrides(input, task, problems), context);
  // Values that are missing because they were invalid have already been reported.
  const own = findings.slice(wrong.length).filter((finding) => !wrong.some(({ path }) => follows(finding.path, path)));
  findings.splice(wrong.length, findings.length, ...own);
  const { faults = [] } = document;
  const isFaulty = ({ path }: Finding) => faults.some((fault) => fault.path.length > 0 && startsWith(path, fault.path));
  problems.push(...faults);
  problems.push(...findings.filter((each) => !isFaulty(each)).map((finding) => locate(finding, file, document)));
  if (problems.length > 0)
    throw new ConfigError(problems, task.isOnlyChecked ? { sound: soundPools(config, input, findings) } : {});
  return task.overrides.rehearses ? rehearsedConfig(config) : config;
}

/** The keys without which the app of a pool cannot be loaded as it would be by a start. */
const LOADING_KEYS: ReadonlySet<unknown> = new Set([
  ...Object.keys(kindFields),
  ...["runtime", "cwd", "env", "envFiles", "bunfig", "pools"],
]);

/** Returns the pools whose app can be loaded in spite of these problems. */
function soundPools({ pools }: FleetConfig, input: FleetInput, findings: readonly Finding[]): PoolConfig[] {
  const concerns = ({ path }: Finding, pool: string) => {
    const isNamed = input.pools !== undefined && path[0] === "pools" && path.length > 1;
    if (isNamed) return path[1] === pool && (path.length === 2 || LOADING_KEYS.has(path[2]));
    return path.length === 0 || LOADING_KEYS.has(path[0]);
  };
  return pools.filter(({ name }) => !findings.some((finding) => concerns(finding, name)));
}

/**
 * Whether a problem at `path` is a consequence of a problem at `wrong`: both are at the same key, or `path` is a table within a pool that
 * contains the key `wrong`.
 */
function follows(path: Finding["path"], wrong: Finding["path"]): boolean {
  const isPool = path.length === 0 || (path.length === 2 && path[0] === "pools");
  return !isPool && path.every((part, at) => part === wrong[at]);
}

function startsWith(path: Finding["path"], start: Finding["path"]): boolean {
  return start.every((part, at) => part === path[at]);
}

async function readSource({ source, watches }: LoadTask): Promise<ConfigDocument> {
  if (source.kind !== "config") return { value: keysOf(source), lineOf: () => undefined };
  const { NODE_ENV } = process.env;
  const mode = NODE_ENV || (watches ? "development" : "production");
  return readConfigFile(source.file, { mode, env: process.env });
}

/** Returns the configuration of a fleet without a config file, unvalidated. */
function keysOf(source: Exclude<FleetSource, { kind: "config" }>): object {
  switch (source.kind) {
    case "app":
      return { app: source.app };
    case "static":
      return { static: source.folder };
    case "fapws":
      return { fapws: source.script };
    case "wsgi":
    case "asgi":
      return { [source.kind]: source.app };
    case "command":
      return { command: source.command };
    case "worker":
      return { worker: source.worker, ...(source.cron !== undefined && { cron: source.cron }) };
    case "proxy":
      return { proxy: source.url };
    case "object":
      return source.config;
    default:
      return source satisfies never;
  }
}

/** Added before the check, which knows the kinds of pool in which the key is valid. */
function withSticky(value: unknown, sticky: string | undefined, problems: Problem[]): unknown {
  if (sticky === undefined || typeof value !== "object" || value === null) return value;
  const { pools } = value as { pools?: Record<string, object> };
  if (typeof pools !== "object" || pools === null) return { ...value, sticky };
  const [[name, pool] = [], ...others] = Object.entries(pools);
  if (name !== undefined && others.length === 0) return { ...value, pools: { [name]: { ...pool, sticky } } };
  problems.push({ path: [], message: `--sticky: there are several pools (${Object.keys(pools).join(", ")})` });
  return value;
}

function applyOverrides(input: FleetInput, { overrides, cwd, envFile }: LoadTask, problems: Problem[]): FleetInput {
  const result: FleetInput = { ...input };
  if (envFile !== undefined) addEnvFile(result, envFile);
  if (overrides.name !== undefined) result.name = overrides.name;
  if (overrides.runtime !== undefined) overrideRuntime(result, overrides.runtime);
  if (overrides.listen !== undefined) {
    result.listen = overrides.listen.flatMap((text) => {
      const address = parseListenAddress(text, cwd);
      if (!("problem" in address)) return [formatListenAddress(address).replace(/^http:\/\//, "")];
      problems.push({ path: [], message: `--listen: ${address.problem}` });
      return [];
    });
    // The empty list is already reported as a problem.
    if (result.listen.length === 0) delete result.listen;
  }
  if (overrides.tls !== undefined) addTls(result, overrides.tls, overrides.defaultPort);
  if (overrides.python !== undefined) result.python = overrides.python;
  if (overrides.args !== undefined) result.args = overrides.args;
  if (overrides.instances !== undefined) {
    const names = Object.keys(input.pools ?? {});
    const [only] = names;
    if (input.pools === undefined) result.instances = overrides.instances;
    else if (names.length === 1 && only !== undefined) {
      result.pools = { [only]: { ...input.pools[only], instances: overrides.instances } };
    } else problems.push({ path: [], message: `--instances: there are several pools (${names.join(", ")})` });
  }
  return result;
}

/** If there is no https address, the TCP addresses become https. */
function addTls(input: FleetInput, kind: "self-signed" | "internal", defaultPort: number | undefined): void {
  const listen = input.listen ?? [`${defaultPort ?? DEFAULT_LISTEN}`];
  const isHttps = (text: string) => /^https:/i.test(text);
  const secured = (text: string) => {
    const address = parseListenAddress(text, "/");
    return "problem" in address || address.kind === "unix" ? text : `https://${hostAndPort(address)}`;
  };
  input.listen = listen.some(isHttps) ? listen : listen.map(secured);
  input.tls = { ...input.tls, selfSigned: kind === "self-signed", internal: kind === "internal" };
}

/** The file overrides all others, because a pool's own files come after the common ones. */
function addEnvFile(input: FleetInput, file: string): void {
  if (input.pools === undefined) {
    input.envFiles = [...(input.envFiles ?? []), file];
    return;
  }
  const pools = Object.entries(input.pools).map(([name, pool]) => {
    const envFiles: string[] = [...(pool.envFiles ?? []), file];
    return [name, { ...pool, envFiles }] as const;
  });
  input.pools = Object.fromEntries(pools);
}

function overrideRuntime(input: FleetInput, runtime: RuntimeName): void {
  input.runtime = runtime;
  if (input.balancer !== undefined) input.balancer = { ...input.balancer, runtime };
  if (input.pools === undefined) return;
  const pools = Object.entries(input.pools).map(([name, pool]) => {
    const needsAnother = POOL_KINDS.some((kind) => kind.runtime !== undefined && kind.name in pool);
    return [name, needsAnother ? pool : { ...pool, runtime }] as const;
  });
  input.pools = Object.fromEntries(pools);
}

function locate({ path, message, place }: Finding, file: string | undefined, document: ConfigDocument): Problem {
  if (place !== undefined) return { ...place, path: [], message };
  const line = document.lineOf(path);
  return { ...(file === undefined ? {} : { file }), path, ...(line === undefined ? {} : { line }), message };
}

/**
 * How long, in milliseconds, the processes of a rehearsal remain if everything that watches them was killed, and how long they wait for
 * their supervisor when they start.
 */
const ORPHAN_GRACE_MS = 20_000;

/**
 * Returns the configuration of a fleet that is only rehearsed, in which only the app itself acts on the outside world.
 *
 * Omits the pools that get no requests, because queue consumers and schedules would do the work of the real fleet a second time. For the
 * same reason it omits hooks. The addresses of the agent-check and of the metrics belong to the real fleet. Everything that a rehearsed
 * fleet writes goes into its run directory.
 */
export function rehearsedConfig({ hooks: _hooks, ...config }: FleetConfig & { hooks?: unknown }): FleetConfig {
  return {
    ...config,
    agentCheck: null,
    admin: null,
    orphanGraceMs: Math.min(config.orphanGraceMs, ORPHAN_GRACE_MS),
    restartSupervisor: false,
    balancer: { ...config.balancer, spoolDir: null, accessLog: false },
    pools: config.pools.filter(({ serves }) => serves),
  };
}
