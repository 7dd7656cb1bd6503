/** The API of a fleet for programs: how it is started or found, and its operations. Only types. */
import type { PacelineConfig } from "../config/config-types.js";
import type { FleetEvent, LogLine, ScaleChange, Status } from "../control/api.js";

/** Selects a running fleet, as the options of the same names do on the command line. */
export interface FleetChoice {
  /** The config file from which the fleet was started, or its folder. Default: the nearest fleet from `cwd` upward. */
  config?: string | undefined;
  /** The fleet's run directory. Default: PACELINE_RUN_DIR, or the one that belongs to `config`. */
  runDir?: string | undefined;
  /** Default: the working directory of this process. */
  cwd?: string | undefined;
}

/** A fleet in a list; figures are null if it does not respond. */
export interface ListedFleet {
  name: string;
  state: "up" | "stalled" | "starting" | "upgrading" | "orphaned" | "stopped" | "killed" | Status["state"];
  pid: number | null;
  instances: { ready: number; wanted: number } | null;
  rssBytes: number | null;
  requestsPerSecond: number | null;
  listen: string[];
  /** The path of the config, or of the app or folder that was started without one. */
  source: string;
  runDir: string;
  /** The user who runs it, for root; null if it is the caller's own. */
  owner: string | null;
}

/** The origin of a fleet: exactly one of these. Paths are relative to `cwd`. */
export interface FleetOrigin {
  /** A config file, an app module, or a folder with one of them. Default: `cwd`. */
  file?: string | undefined;
  /** The configuration itself, in place of a config file. Its paths are relative to `cwd`. */
  config?: PacelineConfig | undefined;
  /** A folder of files. */
  static?: string | undefined;
  /** The URL of an upstream. */
  proxy?: string | undefined;
  /** A Python WSGI app, for example `mysite.wsgi:application`. */
  wsgi?: string | undefined;
  /** A Python ASGI app, for example `main:app`. */
  asgi?: string | undefined;
  /** A FAPWS start script. */
  fapws?: string | undefined;
  /** A program and its arguments. */
  command?: string[] | undefined;
  /** Whether `file` or `command` gets no requests, for example a queue consumer. */
  worker?: boolean | undefined;
  /** The cron pattern of a worker that runs only at certain times. */
  cron?: string | undefined;
}

/** The start of a fleet, and overrides of its configuration, which also apply to later reloads. */
export interface FleetStart extends FleetOrigin {
  /** The name of the fleet. */
  name?: string | undefined;
  /** The number of instances of the only pool. */
  instances?: number | "cpus" | undefined;
  /** The addresses to listen on, for example `127.0.0.1:8080`. */
  listen?: string[] | undefined;
  /** The port of 127.0.0.1 to listen on if neither `listen` nor the config sets an address. Default: 8080. */
  defaultPort?: number | undefined;
  /** Serve https with a certificate that Paceline creates: self-signed, or signed by an authority of the fleet. */
  tls?: "self-signed" | "internal" | undefined;
  /** The key `sticky` of the only pool: each client stays with one instance. */
  sticky?: string | undefined;
  /** The runtime of every process. */
  runtime?: "bun" | "node" | undefined;
  /** Arguments of the app, or of the script of `fapws`. */
  args?: string[] | undefined;
  /** The Python interpreter of `wsgi`, `asgi` and `fapws`. Default: `python3`. */
  python?: string | undefined;
  /** Default: the working directory of this process. */
  cwd?: string | undefined;
  /** The environment of the fleet and of its config module. Default: the environment of this process. */
  env?: Record<string, string> | undefined;
  /** The folder of sockets, lock and log. Default: outside the app's folder, as on the command line. */
  runDir?: string | undefined;
  /** Kill the processes that a killed supervisor of this fleet left behind, then start. Default: fail with `orphans`. */
  replace?: boolean | undefined;
  /** For development: reload a pool when its app changes, and all pools when the config changes. */
  watch?: boolean | undefined;
}

export interface CreateFleetOptions extends FleetStart {
  /** Leave the fleet running when this program exits. Default: the fleet stops gracefully when this program exits or dies. */
  detached?: boolean | undefined;
  /** The time within which all instances must be ready, in milliseconds; otherwise the start is undone (`timeout`). Default: no limit. */
  timeoutMs?: number | undefined;
  /** Aborting it undoes the start (`interrupted`). */
  signal?: AbortSignal | undefined;
}

export interface OperationOptions {
  /** The time limit in milliseconds; after it the call fails with `timeout`, and the operation continues. Default: none. */
  timeoutMs?: number | undefined;
  /** Called with each step, for example `web.1 was replaced`. */
  onProgress?: ((message: string) => void) | undefined;
}

export interface ReloadOptions extends OperationOptions {
  /** Only this pool. Default: all pools, and the balancers. */
  pool?: string | undefined;
  /** The new configuration of a fleet that was created from one. Default: the last one. */
  config?: PacelineConfig | undefined;
  /** A new environment for the processes. Default: the one of the start. */
  env?: Record<string, string> | undefined;
}

/** The result of a successful operation. */
export interface OperationDone {
  ok: true;
  /** One line for display. */
  message: string;
  details?: Record<string, unknown>;
}

export interface LinesOptions {
  /** Only this instance, pool or balancer. */
  name?: string | undefined;
  /** Start with at most this many stored lines. Default: all that the supervisor has stored. */
  lines?: number | undefined;
  /** Whether to continue with new lines until the fleet stops. Default: true. */
  follow?: boolean | undefined;
  /** Ends the iteration. */
  signal?: AbortSignal | undefined;
}

/**
 * A running fleet. Every method fails with a PacelineError: `not-running` if the fleet is not running, `lost` if it exits meanwhile,
 * `timeout` after the call's deadline, `invalid` for unknown names and values out of range, `busy` if another operation is running there,
 * `config` if a reload finds problems, otherwise `failed`.
 */
export interface Fleet extends AsyncDisposable {
  /** The folder of its sockets, lock and log. */
  readonly runDir: string;
  /** The pid of the supervisor; undefined if its record cannot be read. */
  readonly pid: number | undefined;
  /** What `paceline status --json` prints. */
  status(options?: { timeoutMs?: number | undefined }): Promise<Status>;
  /** Resolves when every instance is ready; fails as soon as one has failed to start. */
  ready(options?: Pick<OperationOptions, "timeoutMs">): Promise<OperationDone>;
  /** Sets the number of instances of a pool, or adds some with `{ by: 2 }`. */
  scale(pool: string, change: number | ScaleChange, options?: OperationOptions): Promise<OperationDone>;
  /** Loads new config, env files and code, and replaces the instances without losing a request. */
  reload(options?: ReloadOptions): Promise<OperationDone>;
  /**
   * Replaces an instance, a pool, a balancer or all balancers (`balancer`), one process at a time. Without a target, replaces all pools.
   */
  restart(target?: string, options?: OperationOptions): Promise<OperationDone>;
  /** Finishes the requests in flight and stops the fleet; with `pool`, only the instances of that pool. */
  stop(options?: OperationOptions & { pool?: string | undefined }): Promise<OperationDone>;
  /** Yields the stored events, then new ones until the fleet stops. */
  events(options?: LinesOptions): AsyncGenerator<FleetEvent, void, void>;
  /** Yields the output of the instances, and the events. */
  logs(options?: LinesOptions): AsyncGenerator<LogLine, void, void>;
  /** Ends the iterations of this object. Stops the fleet if this program has created it and not detached it. */
  close(): Promise<void>;
}

/** A fleet that this program has started. */
export interface CreatedFleet extends Fleet {
  /** Resolves when the supervisor has exited; never rejects. */
  readonly ended: Promise<FleetEnd>;
  /** From now on, the fleet keeps running when this program exits. */
  detach(): Promise<void>;
}

/** How a supervisor exited: with status 0 after a graceful stop. */
export interface FleetEnd {
  code: number | null;
  signal: string | null;
}
