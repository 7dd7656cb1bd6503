/** What a supervisor is given, and what the process that starts it sees of it. */
import type { ReadFiles } from "./certificates/watched-files.js";
import type {
  DeployRequest,
  LogStatus,
  OperationResult,
  Status,
  SupervisorApi,
  SupervisorProgram,
} from "./control/api.js";
import type { Caller } from "./core/history.js";
import type { FleetConfig } from "./core/model.js";
import type { DeployLoad } from "./operations/deploy-trials.js";
import type { ConfigLoader } from "./operations/reload.js";
import type { SpawnSettings } from "./processes/spawn-plan.js";
import type { Deployed } from "./run-dir/fleet-state.js";
import type { Adoption } from "./run-dir/run-dir.js";
import type { RunDirPaths } from "./run-dir/run-dir-files.js";
import type { InheritedSockets } from "./sockets/inherited-sockets.js";
import type { ListeningSocket } from "./sockets/listening-sockets.js";

/** The options that its parts need. */
export interface PartsOptions {
  config: FleetConfig;
  runDir: RunDirPaths;
  /** The caller's environment, which the child processes inherit. */
  environment: Record<string, string>;
  /** Loads the config again; must not keep the loaded code in this process. */
  loadConfig: ConfigLoader;
  /** Loads releases for deploys. */
  deploySource: DeploySource;
  /** The absolute paths of the runtimes. */
  runtimes: { bun?: string; node: string };
  /** The programs that child processes run. Default: those in `dist/programs`. */
  entries?: SpawnSettings["entries"];
  /** Starts the supervisor of a detached fleet again after a kill. */
  restart?: SpawnSettings["restart"];
  /** Whether the log is behind; the output of processes is only read when the log has caught up. */
  isLogBusy?: () => boolean;
  /** Whether the log has written all lines. */
  isLogSettled?: () => boolean;
  /** The fleet of a killed supervisor to continue with; `config` and `environment` are those of this start. */
  adoption?: Adoption | undefined;
  /** Reload pools when their files change; `configFile` is the file that the config was read from, if any. */
  watch?: { configFile: string | undefined };
}

export interface DeploySource {
  /** Whether `loadConfig` reads what a deploy has put in service. */
  readonly isDeployed: boolean;
  /** Loads the release that a deploy names, in the same way as `loadConfig`. */
  load(request: DeployRequest, name: string, wanted?: AbortSignal): Promise<DeployLoad>;
  /** Loads the same release only for comparison. */
  peekRelease(request: DeployRequest, name: string): ReturnType<ConfigLoader>;
  /**
   * From now on `loadConfig` reads this deploy, until the fleet's own path leads to another folder.
   * @returns the deploy, with the folder that the fleet's own path leads to
   */
  set(deployed: Deployed | undefined): Deployed | undefined;
}

export interface SocketOptions extends Pick<PartsOptions, "adoption"> {
  /** The sockets of `listen`, if root has bound them already. */
  boundSockets?: ListeningSocket[] | undefined;
  /** Sockets that systemd has opened for `listen`. */
  inheritedSockets?: InheritedSockets;
}

export interface CertificateOptions {
  /** Certificate files that root has read before this process switched to another user. */
  certificatesAsRoot?: ReadFiles | undefined;
}

export interface SupervisorOptions extends PartsOptions, SocketOptions, CertificateOptions {
  /** Paceline's version. */
  version: string;
  /** How this supervisor was started, without our arguments. */
  program?: Omit<SupervisorProgram, "version">;
  /** Called when all pools run the config that was read last; must not throw. */
  onReloaded?(): void;
  /**
   * Makes `loadConfig` return this configuration.
   * @returns why that is not possible, if `loadConfig` reads a file
   */
  replaceConfig?: (config: object) => string | undefined;
  /** Gets notified about what the fleet does as a whole; must not throw. */
  observer?: FleetObserver;
  /** Returns a problem outside the fleet that affects it; null if there is none. */
  problem?: () => string | null;
  /** Returns the state of the fleet's log files. */
  logStatus?: () => LogStatus;
  /** Why this start could not load its configuration: it can only continue with the configuration of a killed supervisor's fleet. */
  configProblem?: string | undefined;
  /** Whether the fleet of a killed supervisor is reloaded even if the configuration is the same, because its code may have changed. */
  reloadsAdopted?: boolean;
  /** The last upgrade, if it was rolled back. */
  rolledBack?: Status["rolledBack"];
  /** Loads the config only for comparison. Default: `loadConfig`. */
  peekConfig?: PartsOptions["loadConfig"];
  /** Who started this supervisor, for the history; undefined if an upgrade did. */
  startedBy?: Caller | undefined;
}

/** The events that a service manager needs. */
export interface FleetObserver {
  reloading(): void;
  reloaded(result: OperationResult): void;
  stopping(): void;
}

export interface Supervisor extends SupervisorApi {
  /**
   * Binds the addresses and starts the fleet. Resolves when the start of all processes has begun, before they are ready.
   * @throws PacelineError with the system's code if an address cannot be bound, for example `EADDRINUSE`
   */
  start(): Promise<void>;
  /** Returns the descriptors of the listening sockets, except those that systemd has opened. */
  ownSockets(): number[];
  /**
   * Creates the socket of the control channel again after somebody removed it, and replaces all processes, whose sockets were in the same
   * folder.
   */
  replaceSockets(): Promise<void>;
  /** Makes the balancers open the file of the access log again, after it was moved. */
  reopenAccessLogs(): void;
  /** Reports a problem outside the fleet in the events and the log. */
  warn(message: string): void;
  /**
   * Resolves when the fleet has stopped, with `failed` if a process could not be stopped; or when the next supervisor continues with the
   * fleet.
   */
  readonly ended: Promise<FleetOutcome>;
}

export type FleetOutcome = { failed: boolean } | HandOver;

/** The fleet continues without this supervisor. The sockets stay open. */
export interface HandOver {
  next: SupervisorProgram;
  sockets: readonly ListeningSocket[];
  /** Whether a stop was requested in the meantime. */
  readonly wantsStop: boolean;
  /** Makes this supervisor ignore signals. */
  forget(): void;
}
