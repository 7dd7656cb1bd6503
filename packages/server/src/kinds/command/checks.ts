/** Checks whether a command is ready, and then at intervals whether it is healthy. */
import { type CommandSpec, probe } from "@paceline/wire";

const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 250;
/** The maximum time of one try, in milliseconds. */
const TRY_TIMEOUT_MS = 5_000;
/** Reports the problem this long before the supervisor's timeout, which started earlier than ours, in milliseconds. */
const WORD_BEFORE_END_MS = 3_000;

interface ReadinessOptions {
  onReady(): void;
  /** The supervisor is about to give up; `problem` says why the command is not ready. */
  onLate(problem: string): void;
}

export class Readiness {
  private pause: NodeJS.Timeout | undefined;
  private lateTimer: NodeJS.Timeout | undefined;
  private isOver = false;
  private problem = "it was not asked yet";

  constructor(
    private readonly spec: CommandSpec,
    private readonly options: ReadinessOptions,
  ) {}

  start(): void {
    const { readyTimeoutMs } = this.spec;
    const lateMs = Math.max(readyTimeoutMs - WORD_BEFORE_END_MS, readyTimeoutMs / 2);
    this.lateTimer = setTimeout(() => this.options.onLate(this.problem), lateMs);
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
    const { address, readyPath, checkHost } = this.spec;
    const problem = await probe({ address, path: readyPath, host: checkHost, timeoutMs: TRY_TIMEOUT_MS });
    if (this.isOver) return;
    if (problem !== undefined) {
      this.problem = problem;
      return this.tryAfter(Math.min(pauseMs * 1.5, MAX_PAUSE_MS));
    }
    this.stop();
    this.options.onReady();
  }
}

/** Checks at intervals whether a serving command is healthy, if it has a healthPath. */
export class Health {
  private timer: NodeJS.Timeout | undefined;
  private failures = 0;
  private isOver = false;

  constructor(
    private readonly spec: CommandSpec,
    /** Called once, after too many failures in a row. */
    private readonly onSick: (problem: string) => void,
  ) {}

  start(): void {
    if (this.spec.healthPath !== undefined) this.askLater();
  }

  stop(): void {
    this.isOver = true;
    clearTimeout(this.timer);
  }

  private askLater(): void {
    this.timer = setTimeout(() => void this.ask(), this.spec.healthIntervalMs);
  }

  private async ask(): Promise<void> {
    const { address, healthPath, checkHost, healthTimeoutMs, healthFailures } = this.spec;
    const problem = await probe({ address, path: healthPath, host: checkHost, timeoutMs: healthTimeoutMs });
    if (this.isOver) return;
    this.failures = problem === undefined ? 0 : this.failures + 1;
    if (this.failures < healthFailures) return this.askLater();
    this.stop();
    this.onSick(`${problem}${healthFailures === 1 ? "" : `, ${healthFailures} times in a row`}`);
  }
}
