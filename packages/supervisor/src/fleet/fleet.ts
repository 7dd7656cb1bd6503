/** A running fleet, as programs and commands operate it over its control socket. */
import type { DumpKind } from "@paceline/wire";
import { copyOfConfig } from "../config/problems.js";
import type {
  DeployRequest,
  FleetEvent,
  LogLine,
  NamedRelease,
  OperationResult,
  PageAccess,
  ScaleChange,
  Status,
  SupervisorProgram,
  TurnChange,
} from "../control/api.js";
import { ControlClient } from "../control/client.js";
import { PacelineError } from "../errors.js";
import { readFleetFile } from "../run-dir/fleet-file.js";
import { handOverIn } from "../run-dir/hand-over.js";
import { isStopped, lockHolder, silentText } from "../run-dir/lock.js";
import { findOrphans } from "../run-dir/orphans.js";
import type { Fleet, FleetChoice, LinesOptions, OperationDone, OperationOptions, ReloadOptions } from "./api.js";
import { findRunningFleet } from "./find-fleet.js";
import type { FoundFleet } from "./known-fleets.js";
import { isLoss, stopRest, supervisorGone, untilEnded } from "./stop-fleet.js";

/** How long a supervisor may take to return its status or stored lines, in milliseconds. */
const DOCUMENT_TIMEOUT_MS = 10_000;

/** How long a supervisor that no longer serves its socket may take to exit, in milliseconds. */
const ABSENT_MS = 500;

/**
 * Returns the running fleet that the options select. The fleet does not depend on this program.
 * @throws PacelineError `not-running`, `orphaned`, `denied` or `usage`
 */
export async function connectFleet(choice: FleetChoice = {}): Promise<FleetClient> {
  return new FleetClient(await findRunningFleet(choice));
}

/** The place of a fleet; `owner` is another user whose fleet root operates. */
type FleetPlace = Pick<FoundFleet, "runDir" | "controlSocket" | "owner"> & { pid: number | undefined };

export class FleetClient implements Fleet {
  readonly runDir: string;
  readonly pid: number | undefined;
  private readonly owner: string | undefined;
  private readonly closing = new AbortController();

  constructor(private readonly place: FleetPlace | FoundFleet) {
    this.runDir = place.runDir;
    this.owner = place.owner;
    this.pid = "record" in place ? place.record?.pid : place.pid;
  }

  get controlSocket(): string {
    return this.place.controlSocket;
  }

  /** Returns undefined for the fleet's own name, unless a pool has the same name: users of PM2 name the app. */
  async unlessOwn(name: string | undefined): Promise<string | undefined> {
    if (name === undefined || !("record" in this.place) || this.place.record?.name !== name) return name;
    const { pools } = await this.status();
    return pools.some((pool) => pool.name === name) ? name : undefined;
  }

  status({ timeoutMs = DOCUMENT_TIMEOUT_MS }: { timeoutMs?: number | undefined } = {}): Promise<Status> {
    const status = this.client(timeoutMs).status();
    return status.catch((error: unknown) => this.explainAbsence(error));
  }

  /** Returns how the page is reached, with its token. */
  page(): Promise<PageAccess> {
    return this.client(DOCUMENT_TIMEOUT_MS).page();
  }

  /**
   * Returns a document of the control socket.
   * @param path for example `/v1/alerts`
   */
  document<Document extends object>(path: string, timeoutMs = DOCUMENT_TIMEOUT_MS): Promise<Document> {
    return this.client(timeoutMs).document<Document>(path);
  }

  /**
   * Sends a test to each destination of alerts.
   * @throws PacelineError `failed` if one does not get it
   */
  testAlerts(options: OperationOptions = {}): Promise<OperationDone> {
    return this.operate("POST", "/v1/alerts/test", undefined, options);
  }

  /**
   * Orders automatic certificates now.
   * @param name undefined: all of them
   */
  renewCertificates(name: string | undefined, options: OperationOptions = {}): Promise<OperationDone> {
    return this.operate("POST", "/v1/certificates/renew", { name }, options);
  }

  ready(options: Pick<OperationOptions, "timeoutMs"> = {}): Promise<OperationDone> {
    return this.operate("GET", "/v1/ready", undefined, options);
  }

  scale(pool: string, change: number | ScaleChange, options: OperationOptions = {}): Promise<OperationDone> {
    const body = typeof change === "number" ? { instances: change } : change;
    return this.operate("POST", `/v1/pools/${encodeURIComponent(pool)}/scale`, body, options);
  }

  async reload({ pool, env, config, ...options }: ReloadOptions = {}): Promise<OperationDone> {
    if (this.owner !== undefined && env !== undefined) {
      const message = `the fleet is ${this.owner}'s: --update-env would hand over this shell's environment; run it as that user`;
      throw new PacelineError("denied", message);
    }
    const body = { pool, environment: env, config: config === undefined ? undefined : copyOfConfig(config) };
    return this.operate("POST", "/v1/reload", body, options);
  }

  /**
   * Compares without changing anything. `details` of the result is a FleetDiff.
   * @param release what would be deployed; undefined: what would be reloaded
   */
  diff({ pool, env, ...options }: Omit<ReloadOptions, "config">, release?: NamedRelease): Promise<OperationDone> {
    return this.operate("POST", "/v1/diff", { pool, environment: env, ...release }, options);
  }

  restart(target?: string, options: OperationOptions = {}): Promise<OperationDone> {
    return this.operate("POST", "/v1/restart", { target }, options);
  }

  /**
   * Drains an instance, puts it back, ejects or readmits it, or sets its weight.
   * @param body of the request: `force` and `wait` of a drain, or the `weight`
   */
  turn(what: TurnChange["do"], name: string, body: object, options: OperationOptions = {}): Promise<OperationDone> {
    return this.operate("POST", `/v1/instances/${encodeURIComponent(name)}/${what}`, body, options);
  }

  /** Tries a release beside the one in service, then puts it into service or rolls it back. */
  deploy(request: DeployRequest, options: OperationOptions = {}): Promise<OperationDone> {
    return this.operate("POST", "/v1/deploy", request, options);
  }

  /** Returns to the version before the last deploy, or rolls back the deploy in progress. */
  rollback(options: OperationOptions = {}, release?: string): Promise<OperationDone> {
    return this.operate("POST", "/v1/rollback", { release }, options);
  }

  /** Changes what the deploy in progress waits for. */
  steerDeploy(what: "promote" | "hold" | "resume", options: OperationOptions = {}): Promise<OperationDone> {
    if (what === "promote") return this.operate("POST", "/v1/deploy/promote", undefined, options);
    return this.operate("POST", "/v1/deploy/hold", { hold: what === "hold" }, options);
  }

  /** Until it is unlocked, the fleet refuses operations that would change it, with code `busy`. */
  lock(reason: string, options: OperationOptions = {}): Promise<OperationDone> {
    return this.operate("POST", "/v1/lock", { reason }, options);
  }

  unlock(options: OperationOptions = {}): Promise<OperationDone> {
    return this.operate("POST", "/v1/unlock", undefined, options);
  }

  /** Hands the fleet over to the supervisor of another version, which the status then shows. */
  handOver(next: SupervisorProgram, options: OperationOptions = {}): Promise<OperationDone> {
    if (this.owner !== undefined) {
      const message = `the fleet is ${this.owner}'s: run paceline upgrade as that user`;
      throw new PacelineError("denied", message);
    }
    return this.operate("POST", "/v1/hand-over", next, options);
  }

  /**
   * The result contains the file in the run directory, or the stack as its message.
   * @param seconds how long the CPU is profiled
   */
  dump(target: string, what: DumpKind, seconds: number, options: OperationOptions = {}): Promise<OperationDone> {
    return this.operate("POST", "/v1/dump", { target, what, durationMs: Math.round(seconds * 1000) }, options);
  }

  /**
   * Stops the fleet, and resolves when its supervisor has exited, too, or does not exit in time. If the supervisor is killed meanwhile,
   * stops the remaining processes.
   */
  async stop({ pool, ...options }: OperationOptions & { pool?: string | undefined } = {}): Promise<OperationDone> {
    if (pool !== undefined) return this.scale(pool, 0, options);
    const { timeoutMs } = options;
    const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
    try {
      return await untilEnded(this.runDir, () => this.askToStop(this.controlSocket, options));
    } catch (error) {
      if (!isLoss(error)) throw error;
      await supervisorGone(this.runDir);
      return this.stopRest({ ...options, timeoutMs: deadline && Math.max(1, deadline - performance.now()) });
    }
  }

  /** Stops the fleet although its supervisor was killed, even if another supervisor takes over meanwhile. */
  stopRest({ timeoutMs, ...options }: OperationOptions): Promise<OperationDone> {
    const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
    const ask = (socket: string, leftMs: number | undefined) =>
      this.askToStop(socket, { ...options, timeoutMs: leftMs });
    return stopRest(this.runDir, ask, deadline);
  }

  private async askToStop(socketPath: string, { timeoutMs, onProgress }: OperationOptions): Promise<OperationDone> {
    return doneOf(await this.client(timeoutMs, socketPath).operate("POST", "/v1/stop", {}, onProgress));
  }

  events(options: LinesOptions = {}): AsyncGenerator<FleetEvent, void, void> {
    return this.lines<FleetEvent>("events", options);
  }

  logs(options: LinesOptions = {}): AsyncGenerator<LogLine, void, void> {
    return this.lines<LogLine>("logs", options);
  }

  async close(): Promise<void> {
    this.closing.abort();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Calls `onLines` with lines that arrive together, and waits for its promise before it continues to read. */
  async read<Line>(
    what: "events" | "logs" | "requests",
    { name, lines, follow = true, signal, timeoutMs }: LinesOptions & { timeoutMs?: number | undefined },
    onLines: (lines: Line[]) => Promise<void> | void,
  ): Promise<void> {
    const query = new URLSearchParams();
    if (name !== undefined) query.set("name", name);
    if (lines !== undefined) query.set("lines", String(lines));
    if (follow) query.set("follow", "1");
    const client = this.client(timeoutMs ?? (follow ? undefined : DOCUMENT_TIMEOUT_MS));
    await client.read(`/v1/${what}?${query}`, onLines as (lines: object[]) => Promise<void> | void, signal);
  }

  private async *lines<Line>(what: "events" | "logs", options: LinesOptions): AsyncGenerator<Line, void, void> {
    const left = new AbortController();
    const signal = AbortSignal.any([left.signal, this.closing.signal, ...(options.signal ? [options.signal] : [])]);
    if (signal.aborted) return;
    let batch: Line[] = [];
    let isOver = false;
    let failure: unknown;
    let wake = () => {};
    let readOn = () => {};
    const end = (error?: unknown) => {
      isOver = true;
      failure = error;
      wake();
    };
    const take = (lines: Line[]) => {
      batch = lines;
      wake();
      // Pauses reading until these lines are taken.
      return new Promise<void>((resolve) => {
        readOn = resolve;
      });
    };
    signal.addEventListener("abort", () => end());
    const reading = this.read(what, { ...options, signal }, take).then(
      () => end(),
      (error) => end(signal.aborted ? undefined : error),
    );
    try {
      for (;;) {
        if (batch.length === 0 && !isOver) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        if (signal.aborted) return;
        const lines = batch;
        batch = [];
        yield* lines;
        readOn();
        if (isOver && batch.length === 0) break;
      }
      if (failure !== undefined) throw failure;
    } finally {
      left.abort();
      readOn();
      await reading;
    }
  }

  private async operate(
    method: "GET" | "POST",
    path: string,
    body: object | undefined,
    { timeoutMs, onProgress }: OperationOptions,
  ): Promise<OperationDone> {
    const result = this.client(timeoutMs).operate(method, path, body, onProgress);
    return doneOf(await result.catch((error: unknown) => this.explainLoss(error)));
  }

  /**
   * Reports which part of the fleet is still running.
   * @throws the error
   */
  private async explainLoss(error: unknown): Promise<never> {
    if (!(error instanceof PacelineError) || error.code !== "lost") return this.explainAbsence(error);
    const holder = await supervisorGone(this.runDir);
    const channelSocket = readFleetFile(this.runDir)?.channelSocket;
    const left = channelSocket === undefined || holder !== undefined ? 0 : findOrphans(channelSocket).length;
    const processes = left === 1 ? "1 process of the fleet keeps" : `${left} processes of the fleet keep`;
    const after =
      holder !== undefined
        ? `a supervisor runs (pid ${holder.pid}): paceline status shows the fleet`
        : left === 0
          ? "nothing of the fleet runs"
          : `the supervisor was killed; ${processes} serving: paceline start -d takes them over`;
    throw new PacelineError("lost", `${error.message}; ${after}`, { cause: error });
  }

  /**
   * If the supervisor was killed after it had been found, reports the same error as if it had been killed earlier.
   * @throws the error
   */
  private async explainAbsence(error: unknown): Promise<never> {
    if (!(error instanceof PacelineError) || error.code !== "not-running") throw error;
    // Between two supervisors, nobody serves the socket for a moment.
    if (handOverIn(this.runDir) !== undefined) throw error;
    const holder = await supervisorGone(this.runDir, ABSENT_MS);
    if (holder === undefined) await findRunningFleet({ runDir: this.runDir });
    throw new PacelineError(
      "not-running",
      "the supervisor was killed and the next one is starting: try again in a moment",
    );
  }

  private client(timeoutMs: number | undefined, socketPath = this.controlSocket): ControlClient {
    const pid = () => lockHolder(this.runDir)?.pid;
    const supervisor = { isStopped: () => isStopped(pid()), silentText: () => silentText(pid()) };
    return new ControlClient({ socketPath, timeoutMs, supervisor });
  }
}

/** @throws PacelineError with the code of a failed operation */
function doneOf(result: OperationResult): OperationDone {
  if (result.ok) return result;
  const { code, message, lastLines } = result;
  throw new PacelineError(code, message, { lastLines });
}
