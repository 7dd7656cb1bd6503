/** Starts a fleet: its supervisor in a process of its own, which stops with this process unless it is detached. */
import type { Status } from "../control/api.js";
import type { FleetConfig } from "../core/model.js";
import { PacelineError, StartError } from "../errors.js";
import { readFleetFile } from "../run-dir/fleet-file.js";
import { lockHolder, runningIn } from "../run-dir/lock.js";
import { describeOrphans, findOrphans } from "../run-dir/orphans.js";
import { controlSocketIn } from "../run-dir/run-dir.js";
import type { CreatedFleet, CreateFleetOptions, FleetEnd, OperationDone, OperationOptions } from "./api.js";
import { FleetClient } from "./fleet.js";
import { lateMessage, type OwnStart, type PreparedStart, prepareStart, waitingMessage } from "./prepare-start.js";
import { launchSupervisor, type SupervisorProcess } from "./supervisor-process.js";

/**
 * Starts a fleet, and resolves when all its instances are ready. If one fails to start, nothing is left running.
 * @throws StartError (a PacelineError) with the code of the failure: `config`, `running` if the fleet is already running, `orphans`, the
 * system's code if an address cannot be bound, `timeout`, `interrupted`, otherwise `failed`
 */
export async function createFleet({
  timeoutMs,
  signal,
  onWaiting,
  ...options
}: CreateFleetOptions & LaunchOptions & WaitOptions = {}): Promise<StartedFleet> {
  const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  const left = () => (deadline === undefined ? undefined : Math.max(1, deadline - performance.now()));
  const waiting = new Waiting(onWaiting);
  let abort = () => {};
  const interrupted = new Promise<"interrupted">((resolve) => {
    abort = () => resolve("interrupted");
  });
  try {
    const fleet = await launchFleet(options, waiting);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    const started = fleet.untilReady(left, timeoutMs);
    // The failure of an interrupted start is already known.
    started.catch(() => {});
    if ((await Promise.race([started, interrupted])) === "interrupted") {
      await fleet.supervisor.stop();
      throw new StartError("interrupted", "interrupted; nothing was left running");
    }
    return fleet;
  } finally {
    waiting.end();
    signal?.removeEventListener("abort", abort);
  }
}

interface WaitOptions {
  /** Receives a line about what the start is waiting for, if it takes longer than usual. */
  onWaiting?: ((line: string) => void) | undefined;
}

/** Most fleets are ready within this time, in milliseconds. */
const SAY_AFTER_MS = 2_000;

/** Reports once what a start is waiting for. */
class Waiting {
  private readonly timer: NodeJS.Timeout | undefined;
  private isOver = false;
  private describe: () => string | Promise<string> = () => "waiting for the configuration, which is being loaded";

  constructor(say: WaitOptions["onWaiting"]) {
    if (say === undefined) return;
    this.timer = setTimeout(async () => {
      const line = await this.describe();
      if (!this.isOver) say(line);
    }, SAY_AFTER_MS);
  }

  for(describe: () => string | Promise<string>): void {
    this.describe = describe;
  }

  end(): void {
    this.isOver = true;
    clearTimeout(this.timer);
  }
}

interface LaunchOptions extends OwnStart {
  detached?: boolean | undefined;
  /** Whether this process exits soon, so that it may parse a JSON or TOML config itself. */
  endsSoon?: boolean | undefined;
}

/** Starts the supervisor of a fleet without waiting until it is ready. */
export async function launchFleet(
  { detached = false, endsSoon, ...start }: LaunchOptions,
  waiting?: Waiting,
): Promise<StartedFleet> {
  const prepared = await prepareStart(start, { endsSoon });
  const launchedAt = Date.now();
  waiting?.for(() => "waiting for a balancer of the killed supervisor to start the next supervisor");
  const fleet = new StartedFleet(prepared, await launchSupervisor(start, prepared, !detached), detached, launchedAt);
  waiting?.for(() => fleet.whatItWaitsFor());
  return fleet;
}

export class StartedFleet extends FleetClient implements CreatedFleet {
  readonly ended: Promise<FleetEnd>;
  /** The result of the start, once it is known. */
  outcome = "";
  private readonly launchedAt: number;
  private isDetached: boolean;

  constructor(
    readonly prepared: PreparedStart,
    readonly supervisor: SupervisorProcess,
    isDetached: boolean,
    launchedAt = Date.now(),
  ) {
    const { runDirPath: runDir } = prepared;
    super({ runDir, controlSocket: "", owner: undefined, pid: supervisor.pid });
    this.ended = supervisor.exited;
    this.isDetached = isDetached;
    this.launchedAt = launchedAt;
  }

  /** The socket's path may differ from the path at the last start. The record that the supervisor writes has the path. */
  override get controlSocket(): string {
    return controlSocketIn(this.runDir);
  }

  /**
   * Resolves when all instances are ready.
   * @throws StartError after the fleet was stopped
   */
  async untilReady(left: () => number | undefined, timeoutMs: number | undefined): Promise<void> {
    await this.untilUp(left(), timeoutMs);
    try {
      await this.waitReady(left(), timeoutMs);
    } catch (error) {
      if (!this.isTakenOver()) throw await this.undone(error as PacelineError);
      const { code, message, lastLines } = error as PacelineError;
      // The program that called this gets the fleet.
      if (!this.isDetached) this.outcome = message;
      else throw new StartError(code, message, { lastLines });
    }
  }

  /** Whether it continues the processes of a killed supervisor, which a failed start must not stop. */
  isTakenOver(): boolean {
    const record = readFleetFile(this.runDir);
    return record !== undefined && record.endedAt === null && record.startedAt < this.launchedAt;
  }

  /** Returns its configuration. For an adopted fleet, with the sizes and releases that commands have set for its pools meanwhile. */
  async presentConfig(): Promise<FleetConfig> {
    const { config } = this.prepared.fleet;
    if (!this.isTakenOver()) return config;
    const status = await this.status({ timeoutMs: PRESENT_MS }).catch(() => undefined);
    const pools = config.pools.map((pool) => {
      const found = status?.pools.find(({ name }) => name === pool.name);
      if (found === undefined) return pool;
      const source = found.release === pool.release ? pool.source : found.release;
      return { ...pool, instances: found.wanted, source };
    });
    return { ...config, pools };
  }

  async whatItWaitsFor(): Promise<string> {
    return waitingMessage(this.pid, await this.status({ timeoutMs: LATE_STATUS_MS }).catch(() => undefined));
  }

  /**
   * Resolves when the control socket is served.
   * @throws StartError
   */
  async untilUp(leftMs: number | undefined, timeoutMs = leftMs): Promise<void> {
    const { supervisor } = this;
    const notice = await supervisor.notice(leftMs);
    if (notice === "up") {
      if (this.isDetached) supervisor.unref();
      return;
    }
    if (notice === "late") throw await this.undone(late(timeoutMs));
    const { code, signal } = await this.ended;
    if (typeof notice === "object") {
      const { code: reason, message, lastLines, problems } = notice;
      throw Object.assign(new StartError(reason, message, { lastLines }), problems === undefined ? {} : { problems });
    }
    const how = signal === null ? `ended with exit status ${code}` : `was killed by ${signal}`;
    const output = supervisor.output();
    const lastLines = output.trimEnd().split("\n").slice(-20);
    if (lastLines.at(-1) === "") lastLines.pop();
    // If two supervisors were started at once, the one that did not get the lock prints nothing.
    const winner = lastLines.length > 0 ? undefined : lockHolder(this.runDir);
    if (winner !== undefined) {
      const { code: reason, message } = runningIn(this.runDir, winner.pid);
      throw new StartError(reason, message);
    }
    throw new StartError("failed", `the supervisor ${how}`, { lastLines, output, exitStatus: code ?? undefined });
  }

  /**
   * Resolves when all instances are ready.
   * @throws PacelineError `failed` or `timeout`; the fleet is not stopped
   */
  async waitReady(leftMs: number | undefined, timeoutMs = leftMs): Promise<void> {
    try {
      this.outcome = (await this.ready({ timeoutMs: leftMs })).message;
    } catch (error) {
      const { code, message, lastLines } = error as PacelineError;
      if (code === "timeout")
        throw late(timeoutMs, await this.status({ timeoutMs: LATE_STATUS_MS }).catch(() => undefined));
      throw new PacelineError("failed", message, { lastLines });
    }
  }

  /** Stops a fleet that failed to start, and returns the error. */
  async undone({ code, message, lastLines }: PacelineError): Promise<StartError> {
    await this.supervisor.stop();
    const output = this.supervisor.output();
    // A supervisor that was killed has stopped nothing.
    const record = readFleetFile(this.runDir);
    const left = record === undefined ? 0 : findOrphans(record.channelSocket).length;
    if (record === undefined || left === 0) return new StartError(code, message, { lastLines, output, isUndone: true });
    const loss = describeOrphans(this.runDir, record, record.channelSocket, left);
    return new StartError(code, `${message}\n${loss}`, { lastLines, output });
  }

  /** Stops the fleet, and resolves when no part of it is left. */
  override async stop(options: OperationOptions & { pool?: string | undefined } = {}): Promise<OperationDone> {
    const done = await super.stop(options);
    if (options.pool === undefined) await this.ended;
    return done;
  }

  async detach(): Promise<void> {
    if (this.isDetached) return;
    this.isDetached = true;
    await this.supervisor.detach();
    this.supervisor.unref();
  }

  override async close(): Promise<void> {
    if (!this.isDetached) await this.supervisor.stop();
    await super.close();
  }
}

/** The deadline for reading the status with the current sizes, in milliseconds. */
const PRESENT_MS = 5_000;
/** The deadline for reading the status with the late processes, in milliseconds. */
const LATE_STATUS_MS = 1_000;

function late(timeoutMs = 0, status?: Status): PacelineError {
  const { message, lastLines } = lateMessage(timeoutMs, status);
  return new PacelineError("timeout", message, { lastLines });
}
