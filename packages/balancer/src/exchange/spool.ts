/** Stores bodies of slow clients that are too large for memory: unnamed files in one folder, with a total limit. */
import { fs } from "@paceline/wire";
import type { BufferBudget } from "./buffer-budget.js";

/** The minimum time between two reports of a problem, in milliseconds. */
const REPORT_EVERY_MS = 60_000;

export type SpoolUse = "request" | "response";

interface SpoolOptions {
  /** An absolute path. Undefined: nothing is spooled. */
  folder: string | undefined;
  /** The maximum size of all files together, in bytes; 0: nothing is spooled. */
  maxBytes: number;
  /** The memory budget for bytes that are being written to a file. */
  budget: BufferBudget;
  /** Receives a line for the operator. */
  onProblem(message: string): void;
}

export class Spool {
  usedBytes = 0;
  private responseBytes = 0;
  private state: "new" | "on" | "off";
  private reportedAt = Number.NEGATIVE_INFINITY;

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

  /** Creates the folder; called when there are pools that use it. */
  prepare(): void {
    if (this.state !== "new") return;
    const { folder = "" } = this.options;
    try {
      prepareFolder(folder);
      this.state = "on";
    } catch (error) {
      this.state = "off";
      this.options.onProblem(
        `cannot use the spool folder ${folder}: ${(error as Error).message}; each large body of a slow client occupies an instance: make the folder writable or set balancer.spoolDir, and restart`,
      );
    }
  }

  /** Whether a request may store this many more bytes. */
  hasRoom(bytes: number): boolean {
    return this.usedBytes + bytes <= this.options.maxBytes;
  }

  /** Returns false if the spool is full. Responses may use half of it: unlike requests, they can wait in their instances. */
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

  /** Handles a failed disk operation. */
  failed(error: Error): void {
    const now = performance.now();
    if (now - this.reportedAt < REPORT_EVERY_MS) return;
    this.reportedAt = now;
    this.options.onProblem(
      `the spool in ${this.options.folder} fails: ${error.message}; large request bodies of slow clients get 503, and their responses occupy an instance each, until it works again`,
    );
  }
}

/** A flag of open(2) on Linux (x86-64 and arm64) that neither runtime defines. It includes O_DIRECTORY, which differs. */
const TMPFILE = 0o20000000;
const MODE = 0o600;

/** The names of files that briefly need one. */
const NAME = /^spool-\d+-\d+$/;

let made = 0;

/** The errors if O_TMPFILE is not supported: by some file systems, kernels before 3.11, or systems other than Linux. */
const WITHOUT_TMPFILE: ReadonlySet<string | undefined> = new Set(["EOPNOTSUPP", "ENOTSUP", "EISDIR", "EINVAL"]);

/** Opens a new unnamed file in that folder, which only its owner can access. */
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

/** Creates a new file and unlinks it at once. */
function openUnlinked(folder: string, opened: (error: NodeJS.ErrnoException | null, fd: number) => void): void {
  const { open, unlink } = fs();
  const path = `${folder}/spool-${process.pid}-${++made}`;
  open(path, "wx+", MODE, (error, fd) => {
    if (error !== null) return opened(error, fd);
    // A starting balancer may have removed it already.
    unlink(path, () => opened(null, fd));
  });
}

/** Creates the folder for its owner only, and removes files that a killed process could not unlink. */
function prepareFolder(folder: string): void {
  const { mkdirSync, readdirSync, unlinkSync, openSync, closeSync, rmSync, writeSync } = fs();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(folder)) {
    if (!NAME.test(name)) continue;
    try {
      unlinkSync(`${folder}/${name}`);
    } catch {
      // Another balancer has created the folder, or it belongs to another user. The check below detects the second case.
    }
  }
  // The file of another balancer that is starting may be removed here.
  const path = `${folder}/spool-${process.pid}-${++made}`;
  const fd = openSync(path, "wx+", MODE);
  try {
    rmSync(path, { force: true });
    writeSync(fd, "x");
  } finally {
    closeSync(fd);
  }
}
