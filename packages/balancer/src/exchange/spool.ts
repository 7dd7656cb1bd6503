/** Where bodies wait that are too large for memory, for clients that are slow: nameless files in one folder, with a bound for all. */
import { fs } from "@paceline/wire";
import type { BufferBudget } from "./buffer-budget.js";

/** A problem is told once in this time. */
const TELL_EVERY_MS = 60_000;

export type SpoolUse = "request" | "response";

interface SpoolOptions {
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

/** Linux, on x86-64 and arm64 alike; a flag of open(2) that neither runtime names. It includes O_DIRECTORY, which differs. */
const TMPFILE = 0o20000000;
const MODE = 0o600;

/** What files are called where there must be a name for a moment. */
const NAME = /^spool-\d+-\d+$/;

let made = 0;

/** Where O_TMPFILE does not work: some file systems, kernels before 3.11, and what is not Linux. */
const WITHOUT_TMPFILE: ReadonlySet<string | undefined> = new Set(["EOPNOTSUPP", "ENOTSUP", "EISDIR", "EINVAL"]);

/** Opens a new file without a name in that folder, to be read and written by its owner alone. */
export function openNameless(
  folder: string,
  opened: (error: NodeJS.ErrnoException | null, fd: number) => void,
  isTmpfileKnown = process.platform === "linux",
): void {
  const { open, constants } = fs();
  if (!isTmpfileKnown) return openUnlinked(folder, opened);
  open(folder, TMPFILE | constants.O_DIRECTORY | constants.O_RDWR, MODE, (error, fd) => {
    if (error !== null && WITHOUT_TMPFILE.has(error.code)) openUnlinked(folder, opened);
    else opened(error, fd);
  });
}

/** Makes a file that nobody else has, and takes its name away at once. */
function openUnlinked(folder: string, opened: (error: NodeJS.ErrnoException | null, fd: number) => void): void {
  const { open, unlink } = fs();
  const path = `${folder}/spool-${process.pid}-${++made}`;
  open(path, "wx+", MODE, (error, fd) => {
    if (error !== null) return opened(error, fd);
    // The next balancer that starts may have removed it already.
    unlink(path, () => opened(null, fd));
  });
}

/** Makes the folder, for its owner alone, and removes what a process left that was killed before it could take a name away. */
function prepareFolder(folder: string): void {
  const { mkdirSync, readdirSync, unlinkSync, openSync, closeSync, writeSync } = fs();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(folder)) {
    if (!NAME.test(name)) continue;
    try {
      unlinkSync(`${folder}/${name}`);
    } catch {
      // Another balancer was faster, or it is not ours; what cannot be written is found out below.
    }
  }
  const path = `${folder}/spool-${process.pid}-${++made}`;
  const fd = openSync(path, "wx+", MODE);
  unlinkSync(path);
  try {
    writeSync(fd, "x");
  } finally {
    closeSync(fd);
  }
}
