/** Finds out that processes have ended whose template does not say so, since it has ended itself or hangs. */
import { isRunning } from "./processes.js";
import type { Template } from "./template.js";

/** How often the processes are looked at whose template has ended: nobody tells of their end. */
const LOOK_EVERY_MS = 200;
/** A template says within this that a process has ended. */
const REPORT_TIMEOUT_MS = 1000;
export interface UnreportedEndsOptions {
  all: ReadonlySet<Template>;
  /** It was forked, and has said so before its template did. */
  onForked(template: Template, id: string, pid: number): void;
  onHung(template: Template, verdict: string): void;
  /** The template has ended, and so has the last of its processes. */
  onEmpty(template: Template): void;
}

export class UnreportedEnds {
  /** Processes that may have ended, each with when it was first seen to have. */
  private readonly doubted = new Map<string, number | null>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: UnreportedEndsOptions) {}

  /** The process may have ended, though its template has not said so: it was killed, or its control channel was lost. */
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

  /** It has spoken. */
  trust(id: string): void {
    this.doubted.delete(id);
  }

  /** Looks at what is to be looked at from now on. */
  start(): void {
    this.timer ??= setInterval(() => this.look(), LOOK_EVERY_MS);
  }

  close(): void {
    clearInterval(this.timer);
  }

  /** Looks for processes that have ended without their template saying so, which may be gone or hang. */
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
