/**
 * Notices the ends of adopted processes, which are not our children. A process that ends closes its control channel, so only
 * processes without one are looked at often.
 */
import type { LiveProcess } from "./live-process.js";
import { isRunning } from "./processes.js";

/** How often processes without a control channel are looked at, and all others. */
const LOOK_EVERY_MS = 100;
const LOOK_AT_ALL_EVERY_MS = 10_000;

export class AdoptedEnds {
  private readonly all = new Set<LiveProcess>();
  private timer: NodeJS.Timeout | undefined;
  private isOften = false;
  private lookedAtAllAt = 0;

  /** @param onEnd called once for each process, when it has ended */
  constructor(private readonly onEnd: (child: LiveProcess) => void) {}

  add(child: LiveProcess): void {
    this.all.add(child);
    this.soon();
  }

  /** Its control channel closed, so it may have ended. */
  doubt(child: LiveProcess): void {
    if (this.all.has(child)) this.soon();
  }

  /** Whether it still runs. Notices its end. */
  check(child: LiveProcess): boolean {
    if (!this.all.has(child)) return child.exit === null;
    if (child.pid !== null && isRunning(child.pid, child.startTime)) return true;
    this.all.delete(child);
    this.onEnd(child);
    return false;
  }

  close(): void {
    clearTimeout(this.timer);
    this.all.clear();
  }

  private soon(): void {
    if (!this.isOften) this.arm(true);
  }

  private arm(isOften: boolean): void {
    clearTimeout(this.timer);
    this.isOften = isOften;
    this.timer = setTimeout(() => this.look(), isOften ? LOOK_EVERY_MS : LOOK_AT_ALL_EVERY_MS);
    this.timer.unref();
  }

  private look(): void {
    const isTime = performance.now() - this.lookedAtAllAt >= LOOK_AT_ALL_EVERY_MS;
    if (isTime) this.lookedAtAllAt = performance.now();
    for (const child of [...this.all]) if (isTime || child.connection === null) this.check(child);
    this.isOften = false;
    this.timer = undefined;
    if (this.all.size > 0) this.arm([...this.all].some(({ connection }) => connection === null));
  }
}
