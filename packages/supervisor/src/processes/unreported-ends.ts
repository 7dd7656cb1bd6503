/** Detects exits of processes that nobody reports: those of a template that has exited or hangs, and those of adopted processes. */
import type { LiveProcess, Template } from "./live-process.js";
import { isRunning } from "./processes.js";

/** How often the processes of exited templates are checked. */
const LOOK_EVERY_MS = 200;
/** How long a template may take to report the exit of a process. */
const REPORT_TIMEOUT_MS = 1000;

interface UnreportedEndsOptions {
  all: ReadonlySet<Template>;
  /** Called for a process that was forked and said hello before its template reported it. */
  onForked(template: Template, id: string, pid: number): void;
  onHung(template: Template, verdict: string): void;
  /** Called when the template and all of its processes have exited. */
  onEmpty(template: Template): void;
}

/** Detects exited processes that their template does not report because it has exited or hangs. */
export class UnreportedEnds {
  /** Processes that may have exited, each with the time since when it is no longer running; null while it is running. */
  private readonly doubted = new Map<string, number | null>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: UnreportedEndsOptions) {}

  /** Marks a process that may have exited without a report: it was killed, or its control channel was lost. */
  doubt(id: string): void {
    for (const template of this.options.all) {
      if (template.hasEnded) continue;
      const request = template.waiting.get(id);
      const pid = request?.pid() ?? null;
      if (pid !== null) this.options.onForked(template, id, pid);
      if (template.living.has(id)) this.doubted.set(id, null);
    }
    if (this.doubted.has(id)) this.start();
  }

  /** Removes the mark, after a message of the process. */
  trust(id: string): void {
    this.doubted.delete(id);
  }

  /** Starts checking at an interval. */
  start(): void {
    this.timer ??= setInterval(() => this.look(), LOOK_EVERY_MS);
  }

  close(): void {
    clearInterval(this.timer);
  }

  /** Checks the marked processes, and those of exited templates. */
  private look(): void {
    this.lookAtDoubted();
    for (const template of [...this.options.all]) {
      if (!template.hasEnded) continue;
      for (const [id, { request, pid, startTime }] of [...template.living]) {
        if (isRunning(pid, startTime)) continue;
        template.living.delete(id);
        request.onExit({ code: null, signal: null });
      }
      if (template.living.size === 0) this.options.onEmpty(template);
    }
    if (this.doubted.size === 0 && [...this.options.all].every(({ hasEnded }) => !hasEnded)) {
      clearInterval(this.timer);
      this.timer = undefined;
    }
  }

  private lookAtDoubted(): void {
    for (const [id, goneSince] of [...this.doubted]) {
      const template = [...this.options.all].find(({ hasEnded, living }) => !hasEnded && living.has(id));
      const process = template?.living.get(id);
      if (template === undefined || process === undefined) {
        this.doubted.delete(id);
      } else if (!isRunning(process.pid, process.startTime)) {
        if (goneSince === null) this.doubted.set(id, performance.now());
        else if (performance.now() - goneSince >= REPORT_TIMEOUT_MS) {
          this.doubted.delete(id);
          template.living.delete(id);
          this.options.onHung(template, `hung: it did not report the exit of ${id}`);
          process.request.onExit({ code: null, signal: null });
        }
      }
    }
  }
}

/** How often processes without a control channel are checked, and how often all others are. */
const LOOK_AT_DOUBTED_EVERY_MS = 100;
const LOOK_AT_ALL_EVERY_MS = 10_000;

/**
 * Detects exits of adopted processes, which are not our children. The control channel of a process closes when the process exits, so only
 * processes without a control channel are checked often.
 */
export class AdoptedEnds {
  private readonly all = new Set<LiveProcess>();
  private timer: NodeJS.Timeout | undefined;
  private isOften = false;
  private lookedAtAllAt = 0;

  /** @param onEnd called once for each process, after it has exited */
  constructor(private readonly onEnd: (child: LiveProcess) => void) {}

  add(child: LiveProcess): void {
    this.all.add(child);
    this.soon();
  }

  /** The control channel of the process closed, so the process may have exited. */
  doubt(child: LiveProcess): void {
    if (this.all.has(child)) this.soon();
  }

  /** Returns whether the process is still running. If not, calls `onEnd`. */
  check(child: LiveProcess): boolean {
    if (!this.all.has(child)) return child.exit === null;
    if (child.pid !== null && isRunning(child.pid, child.startTime)) {
      child.lastSignAt = null;
      return true;
    }
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
    this.timer = setTimeout(() => this.look(), isOften ? LOOK_AT_DOUBTED_EVERY_MS : LOOK_AT_ALL_EVERY_MS);
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
