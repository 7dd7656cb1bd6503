/** Splits a process's output into lines and counts skipped ones. Pure. */

/** A longer line is split into pieces of this size, in bytes. */
export const MAX_LINE_BYTES = 256 << 10;

const NEWLINE = 0x0a;
const NOTHING = Buffer.alloc(0);

export class LineCutter {
  private lost = 0;
  private partial: Buffer = NOTHING;
  /** Whether a piece of the current line was already printed. If so, its end does not count as a lost line. */
  private isContinued = false;
  /** Whether the rest of the current line is skipped. */
  private isLosing = false;

  /** The length of the part of the current line that is neither passed on nor skipped. */
  get partialBytes(): number {
    return this.partial.length;
  }

  /** Appends the complete lines in `bytes` (at most MAX_LINE_BYTES long) to `lines`. */
  take(bytes: Buffer, lines: string[]): void {
    const first = bytes.indexOf(NEWLINE);
    if (first === -1) return this.keep(bytes, lines);
    this.endLine(bytes.subarray(0, first), lines);
    const last = bytes.lastIndexOf(NEWLINE);
    // The bytes can be decoded at once, because a newline byte is never part of another character.
    if (last > first)
      for (const line of bytes.toString("utf8", first + 1, last).split("\n")) lines.push(withoutCr(line));
    this.keep(bytes.subarray(last + 1), lines);
  }

  /** Skips `bytes` and the whole current line. */
  skip(bytes: Buffer): void {
    this.partial = NOTHING;
    this.isLosing = bytes[bytes.length - 1] !== NEWLINE;
    for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) {
      if (!this.isContinued) this.lost++;
      this.isContinued = false;
    }
  }

  /** Ends the input; an incomplete line counts as a line. */
  end(lines: string[]): void {
    if (this.isLosing || this.partial.length > 0) this.endLine(NOTHING, lines);
  }

  /** Returns the number of lines skipped since the last call. */
  takeLost(): number {
    const { lost } = this;
    this.lost = 0;
    return lost;
  }

  private endLine(bytes: Buffer, lines: string[]): void {
    if (this.isLosing) {
      if (!this.isContinued) this.lost++;
    } else {
      this.keep(bytes, lines);
      // A line that was printed in pieces may end without further text.
      if (this.partial.length > 0 || !this.isContinued) this.print(this.partial.length, lines);
    }
    this.isLosing = false;
    this.isContinued = false;
  }

  private keep(bytes: Buffer, lines: string[]): void {
    if (this.isLosing || bytes.length === 0) return;
    // Copies the bytes, because their buffer is reused.
    this.partial = Buffer.concat([this.partial, bytes]);
    while (this.partial.length > MAX_LINE_BYTES) {
      this.print(startOfCharacter(this.partial, MAX_LINE_BYTES), lines);
      this.isContinued = true;
    }
  }

  private print(length: number, lines: string[]): void {
    lines.push(withoutCr(this.partial.toString("utf8", 0, length)));
    this.partial = this.partial.subarray(length);
  }
}

function withoutCr(line: string): string {
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}

/** Returns `at`, or the start of the UTF-8 character that would be split there. */
function startOfCharacter(bytes: Buffer, at: number): number {
  for (let start = at; start > at - 4; start--) if (((bytes[start] as number) & 0xc0) !== 0x80) return start;
  return at;
}
