/**
 * How far the output files were read, for the next supervisor if this one is killed. The file has a row of eight bytes for each output
 * file. A write survives this process, because it is in the kernel's cache.
 */
import { closeSync, constants, openSync, readFileSync, rmSync, writeSync } from "node:fs";

const ROW_BYTES = 8;

export class ReadPositions {
  private fd: number | undefined;
  private readonly used = new Set<number>();
  private readonly row = Buffer.alloc(ROW_BYTES);

  /** @param onProblem called once if the file cannot be written, for example on a full disk */
  constructor(
    private readonly path: string,
    private readonly onProblem: (message: string) => void,
  ) {}

  /** Returns the positions that an earlier supervisor has written; undefined for an unknown row. */
  read(): (row: number) => number | undefined {
    let bytes: Buffer;
    try {
      bytes = readFileSync(this.path);
    } catch {
      return () => undefined; // It has written nothing.
    }
    return (row) => {
      const at = row * ROW_BYTES;
      return row >= 0 && at + ROW_BYTES <= bytes.length ? bytes.readDoubleLE(at) : undefined;
    };
  }

  /** Takes a free row, or the given one. */
  take(row?: number): number {
    let free = row ?? 0;
    while (row === undefined && this.used.has(free)) free++;
    this.used.add(free);
    return free;
  }

  write(row: number, position: number): void {
    try {
      const { O_WRONLY, O_CREAT, O_NOFOLLOW } = constants;
      this.fd ??= openSync(this.path, O_WRONLY | O_CREAT | O_NOFOLLOW, 0o600);
      this.row.writeDoubleLE(position);
      writeSync(this.fd, this.row, 0, ROW_BYTES, row * ROW_BYTES);
    } catch (error) {
      this.reportOnce((error as Error).message);
    }
  }

  /** Called when the file was removed: the next write creates a new one. */
  reopen(): void {
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = undefined;
  }

  free(row: number): void {
    this.used.delete(row);
  }

  /** Called when no supervisor will continue: removes the file. */
  end(): void {
    this.reopen();
    rmSync(this.path, { force: true });
  }

  private reportOnce(message: string): void {
    this.reportOnce = () => {};
    this.onProblem(`if the supervisor ends now, the next one logs some lines twice: ${message}`);
  }
}
