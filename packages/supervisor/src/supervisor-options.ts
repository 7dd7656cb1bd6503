/** What a supervisor is given, and what its starter sees of it. */
import type { ReadFiles } from "./certificates/watched-files.js";
import type { DeployRequest, Heir, LogStatus, OperationResult, Status, SupervisorApi } from "./control/api.js";
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

/** What its parts need. */
export interface PartsOptions {
  config: FleetConfig;
  runDir: RunDirPaths;
  /** The caller's environment, passed to the children. */
  environment: Record<string, string>;
  /** Loads the config again; must not keep what it loads in this process. */
  loadConfig: ConfigLoader;
  /** What deploys load. */
  deploySource: DeploySource;
  /** The absolute paths of the runtimes. */
  runtimes: { bun?: string; node: string };
  /** The programs that children run. Default: those in `dist/programs`. */
  entries?: SpawnSettings["entries"];
  /** Starts the supervisor of a detached fleet again after it was killed. */
  restart?: SpawnSettings["restart"];
  /** Whether the log is behind; the output of processes is read when it has caught up. */
  isLogBusy?: () => boolean;
  /** Whether the log has all lines. */
  isLogSettled?: () => boolean;
  /** The fleet of a supervisor that was killed, to go on with; `config` and `environment` are those of this start. */
  adoption?: Adoption | undefined;
  /** Reload pools when their files change; `configFile` is the file the config was read from, if any. */
  watch?: { configFile: string | undefined };
}

export interface DeploySource {
  /** Whether `loadConfig` reads what a deploy has put in service. */
  readonly isDeployed: boolean;
  /** Loads what a deploy names, in the same way as `loadConfig`. */
  load(request: DeployRequest, name: string, wanted?: AbortSignal): Promise<DeployLoad>;
  /** The same, only to compare it. */
  peekRelease(request: DeployRequest, name: string): ReturnType<ConfigLoader>;
  /** `loadConfig` reads this from now on, until the fleet's own path leads elsewhere. Returns it with where that leads. */
  set(deployed: Deployed | undefined): Deployed | undefined;
}

export interface SocketOptions extends Pick<PartsOptions, "adoption"> {
  /** The sockets of `listen`, if they are bound already, by root. */
  boundSockets?: ListeningSocket[] | undefined;
  /** Sockets that systemd has opened for `listen`. */
  inheritedSockets?: InheritedSockets;
}

export interface CertificateOptions {
  /** Certificate files that root has read, before this process became another user. */
  certificatesAsRoot?: ReadFiles | undefined;
}

export interface SupervisorOptions extends PartsOptions, SocketOptions, CertificateOptions {
  /** Paceline's version. */
  version: string;
  /** How this supervisor was started, without our arguments. */
  program?: Omit<Heir, "version">;
  /** Called when all pools run the config that was read last; must not throw. */
  onReloaded?(): void;
  /** Makes `loadConfig` load this configuration; returns why not, if it loads a file. */
  replaceConfig?: (config: object) => string | undefined;
  /** Is told what the fleet does as a whole; must not throw. */
  observer?: FleetObserver;
  /** Returns a problem with the fleet's surroundings; null if there is none. */
  problem?: () => string | null;
  /** Returns the state of the fleet's log files. */
  logStatus?: () => LogStatus;
  /** Why this start could not load its configuration: it can only go on with that of the fleet of a killed supervisor. */
  configProblem?: string | undefined;
  /** The fleet of a killed supervisor is reloaded, also with the same configuration: its code may have changed. */
  reloadsAdopted?: boolean;
  /** The last upgrade, if it was rolled back. */
  rolledBack?: Status["rolledBack"];
  /** Loads the config only to compare it. Default: `loadConfig`. */
  peekConfig?: PartsOptions["loadConfig"];
  /** Who started this supervisor, for the history; undefined if an upgrade did. */
  startedBy?: Caller | undefined;
}

/** What a service manager wants to know. */
export interface FleetObserver {
  reloading(): void;
  reloaded(result: OperationResult): void;
  stopping(): void;
}

export interface Supervisor extends SupervisorApi {
  /**
   * Binds the addresses and starts the fleet. Resolves when all processes are being started, before they are ready.
   * @throws PacelineError with the system's code if an address cannot be bound, such as `EADDRINUSE`
   */
  start(): Promise<void>;
  /** Returns the descriptors of the listening sockets that systemd has not opened. */
  ownSockets(): number[];
  /** Creates the control channel's socket again after it was removed, and replaces all processes, whose sockets were beside it. */
  replaceSockets(): Promise<void>;
  /** Lets the balancers open the file of the access log anew, after it was moved. */
  reopenAccessLogs(): void;
  /** Reports a problem with the fleet's surroundings in the events and the log. */
  warn(message: string): void;
  /** Resolves when the fleet has ended; `failed` if something could not be ended. Or it goes on with the next supervisor. */
  readonly ended: Promise<FleetOutcome>;
}

export type FleetOutcome = { failed: boolean } | HandOver;

/** The fleet goes on without this supervisor. The sockets stay open. */
export interface HandOver {
  heir: Heir;
  sockets: readonly ListeningSocket[];
  /** Whether a stop was requested meanwhile. */
  readonly wantsStop: boolean;
  /** Signals have no effect on this supervisor any more. */
  forget(): void;
}
