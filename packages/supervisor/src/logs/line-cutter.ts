/** Cuts what a process writes into lines, and counts the lines that have to be left out. Pure. */

/** A longer line is printed in pieces of this size, in bytes. */
export const MAX_LINE_BYTES = 256 << 10;

const NEWLINE = 0x0a;
const NOTHING = Buffer.alloc(0);

export class LineCutter {
  private lost = 0;
  private partial: Buffer = NOTHING;
  /** A piece of the line at hand was printed: its end makes no line that is lost. */
  private isContinued = false;
  /** The rest of the line at hand is left out. */
  private isLosing = false;

  /** Adds the whole lines in `bytes`, which are MAX_LINE_BYTES at most, to `lines`. */
  take(bytes: Buffer, lines: string[]): void {
    const first = bytes.indexOf(NEWLINE);
    if (first === -1) return this.keep(bytes, lines);
    this.endLine(bytes.subarray(0, first), lines);
    const last = bytes.lastIndexOf(NEWLINE);
    // Decoded at once: a newline is never a part of another character.
    if (last > first)
      for (const line of bytes.toString("utf8", first + 1, last).split("\n")) lines.push(withoutCr(line));
    this.keep(bytes.subarray(last + 1), lines);
  }

  /** Leaves out all that `bytes` has, and what the line at hand has had and will have. */
  skip(bytes: Buffer): void {
    this.partial = NOTHING;
    this.isLosing = bytes[bytes.length - 1] !== NEWLINE;
    for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) {
      if (!this.isContinued) this.lost++;
      this.isContinued = false;
    }
  }

  /** Nothing more comes: what there is of a line is one. */
  end(lines: string[]): void {
    if (this.isLosing || this.partial.length > 0) this.endLine(NOTHING, lines);
  }

  /** How many lines were left out since the last call. */
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
      // The end of a line that was printed in pieces may have nothing left.
      if (this.partial.length > 0 || !this.isContinued) this.print(this.partial.length, lines);
    }
    this.isLosing = false;
    this.isContinued = false;
  }

  private keep(bytes: Buffer, lines: string[]): void {
    if (this.isLosing || bytes.length === 0) return;
    // A copy: the bytes are those of a buffer that is read into again.
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

/** `at`, or where the UTF-8 character begins that would be cut there. */
function startOfCharacter(bytes: Buffer, at: number): number {
  for (let start = at; start > at - 4; start--) if (((bytes[start] as number) & 0xc0) !== 0x80) return start;
  return at;
}
