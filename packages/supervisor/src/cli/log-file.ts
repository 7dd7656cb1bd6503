/** Keeps the log as JSON lines in files that rotate within a bound; a disk that is full costs lines, never the fleet. */
import { createStream, type RotatingFileStream } from "rotating-file-stream";
import type { LogLine } from "../control/api.js";
import { formatLogJson } from "./format-line.js";

const FILE_SIZE = "10M";
const MAX_FILES = 4;
/** Lines beyond this many unwritten bytes are dropped. */
const MAX_PENDING_BYTES = 1 << 20;

export interface LogFile {
  write(line: LogLine): void;
  /** Resolves when all is written, or cannot be. */
  close(): Promise<void>;
}

export interface LogFileOptions {
  folder: string;
  /** Told each time the log could not be written. */
  onTrouble(message: string): void;
  /** How long a log that failed is left alone before it is opened again. Default: 10,000. */
  retryMs?: number;
}

/** `paceline.log` in `folder`, with `paceline.log.1` … behind it: 50 MB at most. */
export function openLogFile({ folder, onTrouble, retryMs = 10_000 }: LogFileOptions): LogFile {
  let stream: RotatingFileStream | undefined;
  let retryAt = 0;
  let dropped = 0;

  const open = () => {
    const opened = createStream("paceline.log", { path: folder, size: FILE_SIZE, maxFiles: MAX_FILES, mode: 0o600 });
    const fail = (error: Error) => {
      if (stream !== opened) return;
      stream = undefined;
      retryAt = Date.now() + retryMs;
      onTrouble(`the log cannot be written: ${error.message}; trying again every ${retryMs / 1000} s`);
      opened.destroy();
    };
    opened.on("error", fail);
    opened.on("warning", fail);
    stream = opened;
  };

  open();
  return {
    write(line) {
      if (stream === undefined && Date.now() >= retryAt) open();
      if (stream === undefined || stream.writableLength > MAX_PENDING_BYTES) {
        dropped += 1;
        return;
      }
      if (dropped > 0) {
        const lost = { at: line.at, name: "paceline", text: `${dropped} lines were dropped` };
        stream.write(`${formatLogJson(lost, "warn")}\n`);
      }
      dropped = 0;
      stream.write(`${formatLogJson(line)}\n`);
    },
    close: () =>
      new Promise((resolve) => {
        if (stream === undefined) return resolve();
        stream.on("error", () => resolve());
        stream.end(() => resolve());
      }),
  };
}
