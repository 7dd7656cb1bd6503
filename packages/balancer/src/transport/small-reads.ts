/**
 * Reads responses in small pieces while memory for unread responses is scarce. A runtime reads up to 0.2 MB at once, and what the client
 * does not take waits in this process. The runtimes cannot limit a read, so its connection is paused, and read by a system call. There is
 * no event for a paused connection, so it is asked again and again.
 */

/** The size of a read. */
export const PIECE_BYTES = 4096;
/** How many pieces of one response are read in one turn of the event loop. */
const MAX_PIECES = 16;
/** After a read of this size, reads of the runtime have to end while memory is scarce. */
const LARGE_BYTES = 16_384;
/** How many bytes a read of the runtime may add. */
const MOST_BYTES = 1 << 18;
/** An upstream that sends nothing is asked again after this part of the time that has passed so far. */
const ASK_AGAIN_AFTER = 1 / 4;
/** The limits of that time, in milliseconds. */
const MIN_WAIT_MS = 1;
const MAX_WAIT_MS = 64;
/** If it sends nothing for this long, the runtime reads it again: it may be an idle WebSocket, or wait for its app. In milliseconds. */
const MAX_SILENT_MS = 1000;

/**
 * Returns after how many milliseconds an upstream that has sent nothing for so many is asked again; undefined if the runtime should read it.
 */
export function askAgainMs(silentMs: number): number | undefined {
  if (silentMs >= MAX_SILENT_MS) return undefined;
  return Math.min(MAX_WAIT_MS, Math.max(MIN_WAIT_MS, silentMs * ASK_AGAIN_AFTER));
}

export interface SmallReader {
  /** Whether there is a reason not to read it now. */
  readonly isPaused: boolean;
  /** Set by SmallReads: since when it has sent nothing, and when it is asked again, in milliseconds. */
  silentSince: number;
  askAt: number;
  /** Called when it is read in small pieces from now on. */
  onSmall(): void;
  /** Called when the runtime reads it again. */
  onUsual(): void;
  /** Reads up to this many bytes now. Returns their number; 0 if the runtime has to continue, for example at the end; -1 if there are none yet. */
  readPiece(mostBytes: number): number;
}

export class SmallReads {
  /** Those that the runtime reads, of whose responses a part has arrived. */
  private readonly usual = new Set<SmallReader>();
  /** Those that are read in small pieces; paused ones leave, and join again. */
  private readonly asked = new Set<SmallReader>();
  private immediate: NodeJS.Immediate | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly memory: { readonly spareBytes: number },
    private readonly clock: { now(): number } = performance,
  ) {}

  get isScarce(): boolean {
    return this.memory.spareBytes === 0;
  }

  /** Called after a read by the runtime, if more of the response follows. */
  noteRead(reader: SmallReader, bytes: number): void {
    this.usual.add(reader);
    if (bytes < LARGE_BYTES || !this.isScarce) return;
    for (const each of this.usual) this.begin(each);
    this.usual.clear();
  }

  /** Begins or continues to read it in small pieces. */
  begin(reader: SmallReader): void {
    reader.onSmall();
    reader.silentSince = reader.askAt = this.clock.now();
    this.asked.add(reader);
    this.immediate ??= setImmediate(this.turn);
  }

  leave(reader: SmallReader): void {
    this.usual.delete(reader);
    this.asked.delete(reader);
  }

  private readonly turn = (): void => {
    clearImmediate(this.immediate);
    clearTimeout(this.timer);
    this.immediate = this.timer = undefined;
    const now = this.clock.now();
    const { spareBytes } = this.memory;
    let left = spareBytes === 0 ? 0 : Math.max(1, Math.floor(spareBytes / MOST_BYTES));
    let nextAt = Number.POSITIVE_INFINITY;
    for (const reader of [...this.asked]) {
      // An earlier one may have ended it.
      if (!this.asked.has(reader)) continue;
      if (reader.isPaused) this.asked.delete(reader);
      else if (left > 0) {
        left--;
        this.finish(reader);
      } else {
        if (reader.askAt <= now) this.read(reader, now);
        if (this.asked.has(reader)) nextAt = Math.min(nextAt, reader.askAt);
      }
    }
    if (nextAt <= now) this.immediate ??= setImmediate(this.turn);
    else if (nextAt !== Number.POSITIVE_INFINITY) this.timer = setTimeout(this.turn, nextAt - now).unref();
  };

  private read(reader: SmallReader, now: number): void {
    for (let n = 0; n < MAX_PIECES; n++) {
      const bytes = reader.readPiece(PIECE_BYTES);
      // It was the last piece.
      if (!this.asked.has(reader)) return;
      if (reader.isPaused) return void this.asked.delete(reader);
      if (bytes === 0) return this.finish(reader);
      if (bytes < 0) {
        const waitMs = askAgainMs(now - reader.silentSince);
        if (waitMs === undefined) return this.finish(reader);
        reader.askAt = now + waitMs;
        return;
      }
      reader.silentSince = now;
    }
  }

  private finish(reader: SmallReader): void {
    this.asked.delete(reader);
    reader.onUsual();
  }
}
