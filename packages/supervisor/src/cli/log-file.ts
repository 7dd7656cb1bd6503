/** Writes the log as JSON lines to rotating files, whose number and total size are limited. Recreates a moved or deleted file. */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  write,
} from "node:fs";
import { join } from "node:path";
import type { LogLine, LogStatus } from "../control/api.js";
import type { LogConfig } from "../core/model.js";
import { formatLogJson } from "./format-line.js";
import { type LineTarget, LineWriter } from "./line-writer.js";

/** The current log file. */
const LOG_FILE = "paceline.log";

/** Returns the log files of `folder`, the newest first. */
export function logFilesIn(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return []; // The folder does not exist yet.
  }
  const numbered = names.flatMap((name) => {
    const [, number] = /^paceline\.log(?:\.(\d+))?$/.exec(name) ?? [];
    return name.startsWith(LOG_FILE) && (number !== undefined || name === LOG_FILE) ? [Number(number ?? 0)] : [];
  });
  return numbered.sort((a, b) => a - b).map((number) => join(folder, logFileName(number)));
}

/** Returns the name of a log file: 0 is the current file, 1 the newest of the older ones. */
function logFileName(number: number): string {
  return number === 0 ? LOG_FILE : `${LOG_FILE}.${number}`;
}

/** How often a write checks that the file is still at its path, in milliseconds. */
const LOOK_EVERY_MS = 1_000;
/** How often the path is checked if nothing is written, in milliseconds. A deleted file uses disk space as long as it is open. */
const UNWRITTEN_LOOK_MS = 10_000;
const CLOSE_TIMEOUT_MS = 5_000;
const NEWLINE = 0x0a;

interface LogFile {
  write(lines: readonly LogLine[]): void;
  /** Closes the file. The next line opens the path again. */
  reopen(): void;
  /** Applies new limits from the next line on. */
  limit(limits: LogConfig): void;
  status(): LogStatus;
  /** Whether lines arrive faster than they are written; callers that can wait should. */
  readonly isBusy: boolean;
  /** Whether nothing waits to be written, or nothing can be written. */
  readonly isSettled: boolean;
  /** Resolves when everything is written, or cannot be. */
  close(): Promise<void>;
}

export interface LogFileOptions extends LogConfig {
  folder: string;
  /** Called with the reason when the log starts to lose lines. */
  onTrouble(message: string): void;
  /** How long to wait after a failure before trying again, in milliseconds. Default: 1,000. */
  retryMs?: number;
}

/** Opens `paceline.log` in `folder`; older files are `paceline.log.1` (the newest) and up. */
export function openLogFile({ folder, onTrouble, retryMs, ...limits }: LogFileOptions): LogFile {
  const files = new RotatingFiles(folder, limits);
  const writer = new LineWriter({
    target: files,
    format: (line) => formatLogJson(line),
    onProblem: (problem) => onTrouble(`the log cannot be written, lines are lost: ${problem}`),
    ...(retryMs === undefined ? {} : { retryMs }),
  });
  const timer = setInterval(() => files.look(), UNWRITTEN_LOOK_MS);
  timer.unref();
  return {
    write: (lines) => writer.add(lines),
    reopen: () => files.reopen(),
    limit: (changed) => {
      files.limits = changed;
    },
    get isBusy() {
      return writer.isBusy;
    },
    get isSettled() {
      return writer.isSettled;
    },
    status: () => ({ path: files.path, problem: writer.problem, linesLost: writer.linesLost }),
    close: async () => {
      clearInterval(timer);
      await writer.close(CLOSE_TIMEOUT_MS);
      files.reopen();
    },
  };
}

class RotatingFiles implements LineTarget {
  readonly path: string;
  private file: { fd: number; ino: number; size: number } | undefined;
  private lookedAt = 0;
  private isWriting = false;
  private wantsReopening = false;

  constructor(
    private readonly folder: string,
    public limits: LogConfig,
  ) {
    this.path = join(folder, LOG_FILE);
  }

  write(bytes: Buffer, done: (error: NodeJS.ErrnoException | null, written: number) => void): void {
    let place: { file: { fd: number; size: number }; length: number };
    try {
      if (performance.now() - this.lookedAt >= LOOK_EVERY_MS) this.look();
      place = this.placeFor(bytes);
    } catch (error) {
      return done(error as NodeJS.ErrnoException, 0);
    }
    const { file, length } = place;
    this.isWriting = true;
    write(file.fd, bytes, 0, length, null, (error, written = 0) => {
      this.isWriting = false;
      file.size += written;
      if (this.wantsReopening) this.reopen();
      done(error, written);
    });
  }

  takeBack(bytes: number): void {
    if (this.file === undefined) return;
    try {
      this.file.size = Math.max(0, fstatSync(this.file.fd).size - bytes);
      ftruncateSync(this.file.fd, this.file.size);
    } catch {
      // The line stays incomplete and counts as lost.
    }
  }

  reopen(): void {
    this.wantsReopening = this.isWriting;
    if (this.isWriting || this.file === undefined) return;
    const { fd } = this.file;
    this.file = undefined;
    closeSync(fd);
  }

  /** Closes a file that is no longer at its path. */
  look(): void {
    this.lookedAt = performance.now();
    if (this.file !== undefined && statSync(this.path, { throwIfNoEntry: false })?.ino !== this.file.ino) this.reopen();
  }

  /** Returns the file for the first of these lines, and how many bytes of whole lines fit. A new file takes at least one line. */
  private placeFor(bytes: Buffer): { file: { fd: number; size: number }; length: number } {
    const file = this.file ?? this.open();
    const length = this.fitting(bytes, file.size);
    if (length > 0) return { file, length };
    if (file.size > 0) {
      this.reopen();
      this.rotate();
    }
    return {
      file: this.file ?? this.open(),
      length: this.fitting(bytes, 0) || bytes.indexOf(NEWLINE) + 1 || bytes.length,
    };
  }

  private fitting(bytes: Buffer, size: number): number {
    const room = this.maxFileBytes - size;
    return bytes.length <= room ? bytes.length : room <= 0 ? 0 : bytes.lastIndexOf(NEWLINE, room - 1) + 1;
  }

  private get maxFileBytes(): number {
    return Math.min(this.limits.maxFileBytes, this.limits.maxTotalBytes);
  }

  private open() {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    const fd = openSync(this.path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    const { ino, size } = fstatSync(fd);
    this.file = { fd, ino, size };
    return this.file;
  }

  /** Renames each file to the next number, and deletes those above the maximum number or the maximum total size. */
  private rotate(): void {
    const { maxFiles, maxTotalBytes } = this.limits;
    for (const path of logFilesIn(this.folder).reverse()) {
      const number = Number(path.slice(this.path.length + 1));
      if (number + 1 >= maxFiles) rmSync(path, { force: true });
      else renameSync(path, join(this.folder, logFileName(number + 1)));
    }
    // Reserves the full size of the new file.
    let total = this.maxFileBytes;
    for (const path of logFilesIn(this.folder)) {
      total += statSync(path).size;
      if (total > maxTotalBytes) rmSync(path, { force: true });
    }
  }
}
