/** Detects ended processes that their template does not report because it has ended or hangs. */

import type { Template } from "./live-process.js";
import { isRunning } from "./processes.js";

/** How often to check the processes of ended templates, whose ends nobody reports. */
const LOOK_EVERY_MS = 200;
/** How long a template may take to report the end of a process. */
const REPORT_TIMEOUT_MS = 1000;
interface UnreportedEndsOptions {
  all: ReadonlySet<Template>;
  /** The process was forked, and said so before its template did. */
  onForked(template: Template, id: string, pid: number): void;
  onHung(template: Template, verdict: string): void;
  /** The template and all of its processes have ended. */
  onEmpty(template: Template): void;
}

export class UnreportedEnds {
  /** Processes that may have ended, each with the time since when it seems so. */
  private readonly doubted = new Map<string, number | null>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: UnreportedEndsOptions) {}

  /** Marks a process that may have ended without a report: it was killed, or its control channel was lost. */
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

  /** Clears the mark after a message of the process. */
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

  /** Checks the marked processes, and those of ended templates. */
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
