/** Keeps the fleet's record up to date: when it cannot be written, nothing fails, the old one stays, and it is tried again. */
const RETRY_EVERY_MS = 1_000;

export class RecordKeeper {
  /** Why the record is out of date; null when it is not. */
  problem: string | null = null;
  private timer: NodeJS.Timeout | undefined;

  /** @param onProblem called once for each time that it becomes impossible to write */
  constructor(
    private readonly write: () => void,
    private readonly onProblem: (problem: string) => void,
  ) {}

  update(): void {
    clearTimeout(this.timer);
    const before = this.problem;
    try {
      this.write();
      this.problem = null;
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
      this.timer = setTimeout(() => this.update(), RETRY_EVERY_MS);
      this.timer.unref();
      if (before === null) this.onProblem(this.problem);
    }
  }

  close(): void {
    clearTimeout(this.timer);
  }
}
