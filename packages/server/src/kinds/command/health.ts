/** Asks a command that serves, at intervals, whether it is well, where it has a healthPath. */
import { type CommandSpec, probe } from "@paceline/wire";

export class Health {
  private timer: NodeJS.Timeout | undefined;
  private failures = 0;
  private isOver = false;

  constructor(
    private readonly spec: CommandSpec,
    /** It failed too often in a row. Comes once. */
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
