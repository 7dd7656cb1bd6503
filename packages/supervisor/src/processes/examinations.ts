/** Reads the stacks of hung Node processes, and detects those whose event loop turns again in the meantime. */
import type { Frame } from "../core/stacks.js";
import type { LiveProcess } from "./live-process.js";
import type { readNodeStack } from "./node-inspector.js";

/** How long a process may take to show its stack before it is killed. */
const STACK_MS = 4000;
/** A process that shows its stack later than this was blocked outside JavaScript, and may not be blocked any more. */
const PROMPT_MS = 1000;
/** How long its event loop may take to turn after that. */
const TURN_MS = 1000;

type Examined = Pick<LiveProcess, "pid" | "output">;

interface Finding {
  /** Where its code was, innermost frame first. */
  frames: Frame[];
  /** When its event loop turned again, in milliseconds since the examination began; undefined if it did not. */
  ranAfterMs: number | undefined;
}

/** Imported only when needed, which is rare. */
const readStack: typeof readNodeStack = async (options) => (await import("./node-inspector.js")).readNodeStack(options);

export class Examinations {
  /** For each examined process, what to call when its event loop turns again. */
  private readonly underWay = new Map<Examined, () => void>();

  constructor(private readonly read = readStack) {}

  isUnderWay(process: Examined): boolean {
    return this.underWay.has(process);
  }

  /** Called for each message from this process. */
  heard(process: Examined): void {
    this.underWay.get(process)?.();
  }

  async examine(process: Examined): Promise<Finding> {
    const { pid, output } = process;
    if (pid === null) return { frames: [], ranAfterMs: undefined };
    const startedAt = performance.now();
    const elapsedMs = () => performance.now() - startedAt;
    let ranAfterMs: number | undefined;
    const turned = new Promise<void>((resolve) => {
      this.underWay.set(process, () => {
        ranAfterMs ??= elapsedMs();
        resolve();
      });
    });
    const frames = (await this.read({ pid, output, timeoutMs: STACK_MS, goesOn: false })) ?? [];
    if (elapsedMs() > PROMPT_MS && frames.length > 0 && ranAfterMs === undefined) {
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([turned, new Promise((resolve) => (timer = setTimeout(resolve, TURN_MS)))]);
      clearTimeout(timer);
    }
    this.underWay.delete(process);
    // Closes the inspector of the process.
    if (ranAfterMs !== undefined) void this.read({ pid, output, timeoutMs: STACK_MS, goesOn: true });
    return { frames, ranAfterMs };
  }
}
