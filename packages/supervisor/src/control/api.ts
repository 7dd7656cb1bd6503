/**
 * The API of the control socket: the operations, and the interface of the supervisor behind them. The status document is in
 * status-document.ts.
 */

import type { DumpKind, RecordedRequest } from "@paceline/wire";
import type { Alert, AlertKind } from "../core/alerts.js";
import type { CertificateView } from "../core/certificates.js";
import type { KeyChange, ReleaseChange, VariableChange } from "../core/config-diff.js";
import type { DeathReport } from "../core/deaths.js";
import type { OnNoTraffic } from "../core/deploy.js";
import type { Caller, HistoryEntry, HistorySummary } from "../core/history.js";
import type { TextFormat } from "../metrics/exposition.js";
import type { Status } from "./status-document.js";

export type * from "./status-document.js";

/** `promote`: continue without the verdict; `hold`: wait after the verdict until `resume`. */
export type DeploySteering = "promote" | "hold" | "resume";

/** The release that is deployed. */
export interface NamedRelease {
  /** The absolute path of a release folder. Default: the fleet's own path, read again. */
  dir?: string | undefined;
  /** The absolute path of a config file, in place of the one in the folder. */
  config?: string | undefined;
  /** The absolute path of an additional env file. */
  envFile?: string | undefined;
}

/** The options of a deploy. Default: the values of `deploy` in the configuration that it loads. */
export interface DeployRequest extends NamedRelease {
  canaryPercent?: number | undefined;
  judgeMs?: number | undefined;
  onNoTraffic?: OnNoTraffic | undefined;
  keepWarmMs?: number | undefined;
}

/** An event at a moment of the history. */
export interface HistoryMark {
  /** Unix time in milliseconds. */
  at: number;
  kind: "death" | "deploy" | "reload";
  /** The subject: for example `web.3`, a pool or `all`. */
  name: string;
  /** The number of the death's report, or of the operation's entry in the history; null if there is none. */
  id: number | null;
}

/** The figures of the last minutes, or of the last day. */
export interface FigureHistory {
  /** The Unix time in milliseconds of the newest sample. */
  now: number;
  /** The time between two samples. */
  everyMs: number;
  /** The number of samples. */
  length: number;
  /**
   * By the name of an instance, balancer or pool, and `supervisor`. The oldest value comes first; null: unknown, or nothing was running.
   */
  series: Record<string, Record<HistoryFigure, (number | null)[]>>;
  marks: HistoryMark[];
}

/** Requests and 5xx responses per second, milliseconds, requests in flight, bytes, percent of one core. */
export type HistoryFigure = "requests" | "errors5xx" | "p50" | "p99" | "inFlight" | "rssBytes" | "cpuPercent";

/** A request that an instance has not finished. */
export interface OpenRequestStatus {
  /** For example `web.3`. */
  name: string;
  /** Method and path without the query, for example `GET /report`. */
  request: string;
  ageMs: number;
  /** The address of the connection's other end. */
  client: string;
}

/** A death, without the details that only its report has. */
export interface DeathSummary {
  /** The number of its report. */
  id: number;
  /** Unix time in milliseconds. */
  at: number;
  name: string;
  /** For example `web.3#7`. */
  process: string;
  /** Undefined from a supervisor of an earlier version. */
  generation?: number;
  kind: string;
  /** For example `exit 3`, `SIGSEGV` or `hung`. */
  how: string;
  uptimeMs: number;
  reason: string;
  /** The request that it was running, for example `GET /report`; null if unknown. */
  running: string | null;
  /** The number of requests that got an error, were cut off, or were sent to another instance. */
  lost: number;
  reassigned: number;
  /** The cause by its output, or the place of its running code. */
  lastLine: string;
}

/** A death with the end of its output, and the requests that were lost with it, for example `POST /cart`. */
export interface DeathDetails extends DeathSummary {
  requests: string[];
  lastLines: string[];
}

/** An entry in the event log. */
export interface FleetEvent {
  sequence: number;
  /** Unix time in milliseconds. */
  at: number;
  level: "info" | "warn" | "error";
  /** For example `web.3`, `web`, `balancer.1` or `paceline`. */
  subject: string;
  message: string;
  /** Set for events that can be alerts; see docs/alerts.md. */
  kind?: AlertKind;
}

/** A webhook or a command to which alerts are sent. */
export interface AlertStatus {
  /** The host of the webhook, or the program, followed by `alerts[3]` if several are the same. */
  to: string;
  on: AlertKind[];
  /**
   * Since the supervisor started: delivered alerts, alerts whose attempts all failed, and alerts that were dropped as too many or repeated.
   */
  delivered: number;
  failed: number;
  suppressed: number;
  /** Alerts that wait for their delivery, and alerts that are held because of quiet hours. */
  waiting: number;
  held: number;
  /** The last delivery; null if there was none. `problem` is null if it succeeded. */
  last: { at: number; kind: Alert["kind"]; problem: string | null } | null;
}

/** A line in the log: output of a child, or an event. */
export interface LogLine {
  sequence: number;
  at: number;
  /** `web.3` for its output; `paceline` for the supervisor's messages. */
  name: string;
  /** The subject of a supervisor's message, for example `web.3`. */
  subject?: string;
  /** The level of an event. */
  level?: FleetEvent["level"];
  text: string;
  /** The number of lines of `name` missing at this point; `text` says so. */
  lost?: number;
}

/** A line of a recording. `began`: all balancers report their requests from now on. `lost`: this many could not be reported. */
export type RecordingLine = RecordedRequest | { began: true } | { lost: number };

/** The changes that a reload or a deploy would make: the `details` of a diff. */
export interface FleetDiff {
  /** Why it would be refused; null if it would not. */
  refused: string | null;
  config: KeyChange[];
  env: VariableChange[];
  /** Of all pools, because the caller compares the files. */
  releases: ReleaseChange[];
  /** A running process of each pool, and the program that would run the next one. */
  runtimes: { pool: string; pid: number; program: string }[];
}

/** A version of Paceline, and how to start it as the next supervisor of a fleet. */
export interface SupervisorProgram {
  version: string;
  /** The absolute path of its runtime. */
  command: string;
  /** The runtime's options and the absolute path of the program; further arguments are appended. */
  args: string[];
}

/** The result of an operation. A failed operation leaves the serving processes unchanged. */
export type OperationResult =
  | { ok: true; message: string; details?: Record<string, unknown> }
  | { ok: false; code: OperationErrorCode; message: string; lastLines?: string[] };

export type OperationErrorCode =
  /** Unknown pool or instance, or a value out of range. Exit status 2. */
  | "invalid"
  /** The reloaded config has problems. Exit status 2. */
  | "config"
  /** Another operation on that pool is running. Exit status 5. */
  | "busy"
  /** No other instance of the pool gets requests. Exit status 1. */
  | "last-available"
  /** A new instance failed to start, or the fleet is stopping. Exit status 1. */
  | "failed"
  /** A deploy failed before a canary had a request of a client. Exit status 6. */
  | "release-refused"
  /** A deploy failed after a canary had requests of clients. Exit status 7. */
  | "taken-back"
  /** A deploy was rolled back because it could not decide in time whether the release is as good. Exit status 9. */
  | "undecided"
  /** The deadline passed; the operation continues. Exit status 4. */
  | "timeout";

/** Receives the progress of a running operation. */
export type ProgressListener = (message: string) => void;

/** An operator's change of an instance's turns; `name` is for example `web.3`. */
export type TurnChange =
  /**
   * The instance gets no new requests. With `waits`, the result comes when the last request has ended. `isForced` allows this even if no
   * other instance is left.
   */
  | { do: "drain"; name: string; isForced: boolean; waits: boolean }
  /** `eject`: the instance gets new requests only if all other instances are ejected, too, until its process exits. */
  | { do: "undrain" | "eject" | "readmit"; name: string }
  | { do: "weight"; name: string; weight: number };

/** A number of instances, or a difference. */
export type ScaleChange = { instances: number } | { by: number };

/** Reports of deaths, and the history of operations, newest first. */
export interface FleetRecords {
  death(id: number): DeathReport | undefined;
  operations(): HistorySummary[];
  operation(id: number): HistoryEntry | undefined;
}

interface FleetCertificatesApi {
  /** Returns every certificate; empty without TLS. */
  views(): CertificateView[];
  /**
   * Orders automatic certificates now.
   * @param name undefined: all of them
   */
  renew(name: string | undefined, onProgress: ProgressListener): Promise<OperationResult>;
}

/** How the page is reached, and which actions it allows. */
export interface PageAccess {
  /** Its address with the token; null if there is no `admin.listen`. */
  url: string | null;
  mayWrite: boolean;
}

/**
 * The functions that the supervisor offers to the control socket, which accesses the fleet only through this interface. `by` is the caller,
 * for the history.
 */
export interface SupervisorApi {
  status(): Status;
  /** Calls all listeners with the same status once a second. Returns a function that ends the subscription. */
  onStatus(listener: (status: Status) => void): () => void;
  /** Returns the figures of the last five minutes, or of the last day; with `since`, a Unix time in milliseconds, only later ones. */
  history(zoom: "seconds" | "minutes", since?: number): FigureHistory;
  /** Returns the requests that instances have not finished, oldest first; only a limited number for each instance, or for the named one. */
  openRequests(name?: string): Promise<{ requests: OpenRequestStatus[] }>;
  /** Returns the last deaths, the newest first. */
  deaths(): { deaths: DeathDetails[] };
  readonly records: FleetRecords;
  page(): PageAccess;
  /** Returns the metrics of the fleet as text. After a supervisor was killed, first waits for the counts, so that no counter decreases. */
  metrics(format: TextFormat): Promise<string>;
  scale(pool: string, change: ScaleChange, onProgress: ProgressListener, by?: Caller): Promise<OperationResult>;
  /** Reads config, env files and code again, for all pools if none is named. `environment` is set with --update-env. */
  reload(
    pool: string | undefined,
    environment: Record<string, string> | undefined,
    onProgress: ProgressListener,
    by?: Caller,
  ): Promise<OperationResult>;
  /** Compares the version in service with the one that such a reload, or a deploy of `release`, would load. `details` is a FleetDiff. */
  diff(
    pool: string | undefined,
    environment: Record<string, string> | undefined,
    release: NamedRelease | undefined,
  ): Promise<OperationResult>;
  /** Makes reloads read `config` from now on. Returns the reason if that is not possible because the fleet was started from a file. */
  replaceConfig(config: object): string | undefined;
  /** Changes an instance's share of its pool's requests. */
  turn(change: TurnChange, onProgress: ProgressListener, by?: Caller): Promise<OperationResult>;
  /** Restarts a pool, an instance, `balancer` or one balancer; without a target, all pools. */
  restart(target: string | undefined, onProgress: ProgressListener, by?: Caller): Promise<OperationResult>;
  /** Tries a release beside the one in service, then puts it into service or rolls it back. */
  deploy(request: DeployRequest, onProgress: ProgressListener, by?: Caller): Promise<OperationResult>;
  /**
   * Returns to the version before the last deploy, or rolls back the deploy in progress.
   * @param release only if the deploy was of this folder or config file
   */
  rollback(release: string | undefined, onProgress: ProgressListener, by?: Caller): Promise<OperationResult>;
  /** Changes what happens after the verdict of the deploy in progress. A worse release is rolled back in any case. */
  steerDeploy(what: DeploySteering): OperationResult;
  /** Returns the destinations of alerts, and their deliveries. */
  alerts(): { alerts: AlertStatus[] };
  /** Sends a test to each destination. Fails if one does not get it. */
  testAlerts(onProgress: ProgressListener): Promise<OperationResult>;
  readonly certificates: FleetCertificatesApi;
  /** While the fleet is locked, operations that would change it are refused with code `busy`. */
  lock(reason: string, by?: Caller): OperationResult;
  unlock(by?: Caller): OperationResult;
  /** Hands the fleet over. Resolves before the next supervisor is started; the caller sees in the status whether it has taken over. */
  handOver(next: SupervisorProgram, by?: Caller): Promise<OperationResult>;
  /** Writes a dump of a process into a file of the run directory (`details.path`), or its stack into the message. */
  dump(target: string, what: DumpKind, durationMs: number): Promise<OperationResult>;
  /** Resolves when the whole fleet has stopped; the process exits soon after. */
  stop(by?: Caller): Promise<OperationResult>;
  /** Resolves when every instance is ready, or as soon as a slot has failed. */
  waitReady(): Promise<OperationResult>;
  /** The names by which events and lines can be selected: pools, instances, balancers. */
  names(): string[];
  recentEvents(): FleetEvent[];
  recentLog(name: string | undefined): LogLine[];
  /** Returns a function that ends the subscription. */
  onEvent(listener: (event: FleetEvent) => void): () => void;
  /** While there is a listener, the balancers report their requests, without secrets. */
  onRecorded(listener: (lines: readonly RecordingLine[]) => void): () => void;
  /** Lines that arrive together are passed together. */
  onLog(listener: (lines: readonly LogLine[]) => void): () => void;
}
