/** Where bodies wait that are too large for memory, for clients that are slow: nameless files in one folder, with a bound for all. */
import type { BufferBudget } from "../buffer-budget.js";
import { openNameless, prepareFolder } from "./nameless-file.js";

/** A problem is told once in this time. */
const TELL_EVERY_MS = 60_000;

export type SpoolUse = "request" | "response";

export interface SpoolOptions {
  /** Absolute. Undefined: nothing is spooled. */
  folder: string | undefined;
  /** What all files together may take of the disk; 0: nothing is spooled. */
  maxBytes: number;
  /** The memory of what is on its way to a file. */
  budget: BufferBudget;
  /** One line for whoever runs the fleet. */
  onProblem(message: string): void;
}

export class Spool {
  usedBytes = 0;
  private responseBytes = 0;
  private state: "new" | "on" | "off";
  private toldAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: SpoolOptions) {
    this.state = options.folder === undefined || options.maxBytes === 0 ? "off" : "new";
  }

  get isOn(): boolean {
    return this.state === "on";
  }

  get budget(): BufferBudget {
    return this.options.budget;
  }

  get maxBytes(): number {
    return this.options.maxBytes;
  }

  /** Makes the folder; called once there are pools that use it, so that the others need none. */
  prepare(): void {
    if (this.state !== "new") return;
    const { folder = "" } = this.options;
    try {
      prepareFolder(folder);
      this.state = "on";
    } catch (error) {
      this.state = "off";
      this.options.onProblem(
        `cannot use the spool folder ${folder}: ${(error as Error).message}; large bodies of slow clients go at their client's pace and occupy an instance each: make the folder writable or set balancer.spoolDir, and restart`,
      );
    }
  }

  /** Whether so many bytes more could be taken for a request. */
  hasRoom(bytes: number): boolean {
    return this.usedBytes + bytes <= this.options.maxBytes;
  }

  /** False: it is full. Responses have half of it at the most, since they can wait in their instances, and requests cannot. */
  take(bytes: number, use: SpoolUse): boolean {
    if (!this.hasRoom(bytes)) return false;
    if (use === "response") {
      if (this.responseBytes + bytes > this.options.maxBytes / 2) return false;
      this.responseBytes += bytes;
    }
    this.usedBytes += bytes;
    return true;
  }

  give(bytes: number, use: SpoolUse): void {
    if (use === "response") this.responseBytes -= bytes;
    this.usedBytes -= bytes;
  }

  open(opened: (error: NodeJS.ErrnoException | null, fd: number) => void): void {
    openNameless(this.options.folder as string, opened);
  }

  /** The disk did not do what was asked. */
  failed(error: Error): void {
    const now = performance.now();
    if (now - this.toldAt < TELL_EVERY_MS) return;
    this.toldAt = now;
    this.options.onProblem(
      `the spool in ${this.options.folder} fails: ${error.message}; large request bodies of slow clients get 503, and their responses occupy an instance each, until it works again`,
    );
  }
}
