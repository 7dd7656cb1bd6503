/** Prints the log of a fleet on standard output, without ever waiting for its reader. */
import { closeSync, fstatSync, statSync, write } from "node:fs";
import { openStdout } from "@paceline/wire";
import type { LogLine } from "../control/api.js";
import { formatLogJson, formatLogLine } from "./format-line.js";
import { LineWriter } from "./line-writer.js";

const CLOSE_TIMEOUT_MS = 2_000;

export interface LogPrinter {
  print(lines: readonly LogLine[]): void;
  /** Resolves when everything is printed, or cannot be. */
  close(): Promise<void>;
}

export function openLogPrinter(format: "text" | "json" | "none"): LogPrinter {
  if (format === "none" || isDiscarded()) return { print: () => {}, close: async () => {} };
  const fd = openStdout();
  const isTerminal = process.stdout.isTTY === true;
  const writer = new LineWriter({
    target: {
      write: (bytes, done) => write(fd, bytes, 0, bytes.length, null, (error, written = 0) => done(error, written)),
    },
    format: (line) => (format === "json" ? formatLogJson(line) : formatLogLine(line, isTerminal)),
  });
  return {
    print: (lines) => writer.add(lines),
    close: async () => {
      await writer.close(CLOSE_TIMEOUT_MS);
      if (fd !== 1) closeSync(fd);
    },
  };
}

/** Whether stdout is /dev/null: lines are then not formatted, to save CPU time. */
function isDiscarded(): boolean {
  try {
    const { rdev, dev, ino } = fstatSync(1, { bigint: true });
    const none = statSync("/dev/null", { bigint: true });
    return rdev !== 0n && rdev === none.rdev && dev === none.dev && ino === none.ino;
  } catch {
    return false;
  }
}
