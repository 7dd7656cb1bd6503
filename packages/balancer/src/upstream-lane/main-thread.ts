/**
 * Whether an instance's event loop is running now, by proc_pid_stat(5). While a handler computes, the instance itself cannot report that.
 */
import { fs } from "@paceline/wire";

/** Room for the pid, the name of at most 64 bytes, and the state. */
const scratch = Buffer.alloc(128);
const UNREADABLE = -1;

export class MainThread {
  /** The open file; undefined until it is needed. */
  private file: number | undefined;

  constructor(private readonly pid: number) {}

  /** Whether the thread runs, or waits for a CPU or a disk. False if that is unknown. */
  isRunning(): boolean {
    if (this.file === UNREADABLE) return false;
    try {
      this.file ??= fs().openSync(`/proc/${this.pid}/task/${this.pid}/stat`, "r");
      return isRunningIn(scratch, fs().readSync(this.file, scratch, 0, scratch.length, 0));
    } catch {
      // The process has exited, or there is no /proc. The balancer works without this file.
      this.close();
      return false;
    }
  }

  close(): void {
    const { file } = this;
    this.file = UNREADABLE;
    if (file !== undefined && file !== UNREADABLE) fs().closeSync(file);
  }
}

const [CLOSING_PARENTHESIS, RUNNING, DISK_SLEEP] = [41, 82, 68];

/** Parses the beginning of a stat file. The name, in parentheses, may contain any byte. After the state, there are only numbers. */
export function isRunningIn(stat: Uint8Array, length: number): boolean {
  if (length === 0) return false;
  const state = stat[stat.lastIndexOf(CLOSING_PARENTHESIS, length - 1) + 2];
  return state === RUNNING || state === DISK_SLEEP;
}
