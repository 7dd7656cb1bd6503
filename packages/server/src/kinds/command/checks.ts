/** Checks whether a command is ready, and then at intervals whether it is healthy. */
import {
  type CommandSpec,
  HEALTH_JITTER,
  lateAfterMs,
  probe,
  type SocketAddress,
  type WorkerSpec,
} from "@paceline/wire";
import { MAX_TIMER_MS } from "@paceline/wire/limits";

const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 250;
/** The maximum time of one try, in milliseconds. */
const TRY_TIMEOUT_MS = 5_000;

interface ReadinessOptions {
  onReady(): void;
  /** Called when the supervisor is about to give up. `problem` explains why the command is not ready. */
  onLate(problem: string): void;
}

/** Waits until the command is ready, in the way of its kind. */
export function createReadiness(spec: CommandSpec, options: ReadinessOptions): Readiness {
  const { address, worker } = spec;
  if (worker !== undefined) return new WorkerReadiness(spec, worker, options);
  return new ServerReadiness(spec, address as SocketAddress, options);
}

interface Readiness {
  start(): void;
  stop(): void;
  /** Receives the messages that the command sends by `process.send`; absent if it has no such channel. */
  message?(message: unknown): void;
}

/** A worker is ready after a certain time, or when it reports that it is. */
class WorkerReadiness implements Readiness {
  private timer: NodeJS.Timeout | undefined;
  readonly message?: (message: unknown) => void;

  constructor(
    private readonly spec: CommandSpec,
    private readonly worker: WorkerSpec,
    private readonly options: ReadinessOptions,
  ) {
    if (worker.readySignal) this.message = (message) => message === "ready" && this.ready();
  }

  start(): void {
    const { readySignal, readyAfterMs } = this.worker;
    this.timer = readySignal
      ? setTimeout(
          () => this.options.onLate('it has not called process.send("ready")'),
          lateAfterMs(this.spec.readyTimeoutMs),
        )
      : setTimeout(() => this.ready(), Math.min(readyAfterMs, MAX_TIMER_MS));
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private ready(): void {
    if (this.timer === undefined) return;
    this.stop();
    this.options.onReady();
  }
}

/** A command is ready when it responds on its address. */
class ServerReadiness implements Readiness {
  private pause: NodeJS.Timeout | undefined;
  private lateTimer: NodeJS.Timeout | undefined;
  private isOver = false;
  private problem = "it was not checked yet";

  constructor(
    private readonly spec: CommandSpec,
    private readonly address: SocketAddress,
    private readonly options: ReadinessOptions,
  ) {}

  start(): void {
    this.lateTimer = setTimeout(() => this.options.onLate(this.problem), lateAfterMs(this.spec.readyTimeoutMs));
    this.tryAfter(FIRST_PAUSE_MS);
  }

  stop(): void {
    this.isOver = true;
    clearTimeout(this.pause);
    clearTimeout(this.lateTimer);
  }

  private tryAfter(pauseMs: number): void {
    this.pause = setTimeout(() => void this.try(pauseMs), pauseMs);
  }

  private async try(pauseMs: number): Promise<void> {
    const { address } = this;
    const { readyPath: path, checkHost: host, sendProxy } = this.spec;
    const problem = await probe({ address, path, host, timeoutMs: TRY_TIMEOUT_MS, sendProxy });
    if (this.isOver) return;
    if (problem !== undefined) {
      this.problem = problem;
      return this.tryAfter(Math.min(pauseMs * 1.5, MAX_PAUSE_MS));
    }
    this.stop();
    this.options.onReady();
  }
}

/** Checks at intervals whether a serving command is healthy, if it has a healthPath, or whether it still accepts connections. */
export class Health {
  private timer: NodeJS.Timeout | undefined;
  private failures = 0;
  private isOver = false;

  constructor(
    private readonly spec: CommandSpec,
    private readonly events: {
      /** Called after each check; `problem` is undefined if the command is healthy. */
      onChecked(problem: string | undefined): void;
      /** Called once, after too many failures in a row. */
      onSick(problem: string): void;
    },
  ) {}

  start(): void {
    const { healthPath, healthConnects, address } = this.spec;
    if ((healthPath !== undefined || healthConnects) && address !== undefined) this.askLater(address);
  }

  stop(): void {
    this.isOver = true;
    clearTimeout(this.timer);
  }

  private askLater(address: SocketAddress): void {
    // A random part, so that many instances are not checked at the same time.
    const jitter = 1 + HEALTH_JITTER * (2 * Math.random() - 1);
    this.timer = setTimeout(() => void this.ask(address), jitter * this.spec.healthIntervalMs);
  }

  private async ask(address: SocketAddress): Promise<void> {
    const { healthPath: path, checkHost: host, healthTimeoutMs: timeoutMs, healthFailures, sendProxy } = this.spec;
    const problem = await probe({ address, path, host, timeoutMs, sendProxy });
    if (this.isOver) return;
    this.failures = problem === undefined ? 0 : this.failures + 1;
    this.events.onChecked(problem);
    if (healthFailures === 0 || this.failures < healthFailures) return this.askLater(address);
    this.stop();
    this.events.onSick(`${problem}${healthFailures === 1 ? "" : `, ${healthFailures} times in a row`}`);
  }
}
