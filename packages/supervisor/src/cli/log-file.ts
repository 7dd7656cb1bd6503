/** Keeps the log as JSON lines in files that rotate within a bound; a disk that is full costs lines, never the fleet. */
import { join } from "node:path";
import pino, { type Logger } from "pino";
import { createStream, type RotatingFileStream } from "rotating-file-stream";
import type { LogLine } from "../control/api.js";

const FILE_SIZE = "10M";
const MAX_FILES = 4;
/** Lines beyond this many unwritten bytes are dropped. */
const MAX_PENDING_BYTES = 1 << 20;
/** How long a log that failed is left alone before it is opened again. */
const RETRY_MS = 10_000;

export interface LogFile {
  write(line: LogLine): void;
  /** Resolves when all is written, or cannot be. */
  close(): Promise<void>;
}

export interface LogFileOptions {
  folder: string;
  /** Told once for each trouble, and when it is over. */
  onTrouble(message: string): void;
}

/** `paceline.log` in `folder`, with `paceline.log.1` … behind it: 50 MB at most. */
export function openLogFile({ folder, onTrouble }: LogFileOptions): LogFile {
  let stream: RotatingFileStream | undefined;
  let logger: Logger | undefined;
  let retryAt = 0;
  let dropped = 0;

  const open = () => {
    const opened = createStream("paceline.log", { path: folder, size: FILE_SIZE, maxFiles: MAX_FILES, mode: 0o600 });
    const fail = (error: Error) => {
      if (stream !== opened) return;
      stream = undefined;
      retryAt = Date.now() + RETRY_MS;
      onTrouble(`the log cannot be written: ${error.message}; trying again every ${RETRY_MS / 1000} s`);
      opened.destroy();
    };
    opened.on("error", fail);
    opened.on("warning", fail);
    stream = opened;
    logger = pino({ base: null, timestamp: false }, opened);
  };

  open();
  return {
    write(line) {
      if (stream === undefined && Date.now() >= retryAt) open();
      if (stream === undefined || stream.writableLength > MAX_PENDING_BYTES) {
        dropped += 1;
        return;
      }
      if (dropped > 0) logger?.warn({ time: line.at, name: "paceline" }, `${dropped} lines were dropped`);
      dropped = 0;
      logger?.info({ time: line.at, name: line.name }, line.text);
    },
    close: () =>
      new Promise((resolve) => {
        if (stream === undefined) return resolve();
        stream.on("error", () => resolve());
        stream.end(() => resolve());
      }),
  };
}

/** Where the log of the run directory's log folder is. */
export function logFilePath(folder: string): string {
  return join(folder, "paceline.log");
}
