/** A child's output: a file to which the child appends. It is read line by line, and the space of the read part is freed. */

import { spawn } from "node:child_process";
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, unlinkSync } from "node:fs";
import type { Frame } from "../core/stacks.js";
import { LineCutter, MAX_LINE_BYTES } from "./line-cutter.js";

const LAST_LINES = 20;
/**
 * How many of the last lines are kept, enough for a long Python traceback, whose innermost frames come first. faulthandler writes the
 * tracebacks of at most 100 threads.
 */
const LAST_TRACEBACK_LINES = 1000;
/** How many of them a report keeps. */
export const REPORTED_LINES = 120;
/** Only the beginning of a longer line is kept, in characters. */
const LAST_LINE_CHARACTERS = 4096;
const CHUNK_BYTES = MAX_LINE_BYTES;
/** How many bytes of one file are read before other files and other work get their turn. */
const PASS_BYTES = 256 << 10;
/** How many read bytes are freed at once. */
const RELEASE_BYTES = 1 << 20;

/**
 * After this many bytes from all files, Bun's garbage is collected. Otherwise hundreds of megabytes of text accumulate. Half of this number
 * would cost twice the CPU time per line. Twice this number would save a tenth and take 10 MB more memory.
 */
const BYTES_BETWEEN_COLLECTIONS = 2 << 20;
let readSinceCollection = 0;

const chunk = Buffer.allocUnsafe(CHUNK_BYTES);

export interface OutputSink {
  /** Receives lines in the order in which they were written. */
  lines(texts: string[]): void;
  /** Reports that `count` lines before the next ones were not read in time. */
  lost(count: number): void;
}

/** The position from which a supervisor continues that takes over from a killed one. */
interface SavedPosition {
  from: number;
  save(position: number): void;
}

const NOT_SAVED: SavedPosition = { from: 0, save: () => {} };

/**
 * The output file of one process. It grows without limit, but the disk space of the read part is freed. Truncating a file that is being
 * written would lose the output between the last read and the truncation.
 */
export class OutputFile {
  /** For the child's stdout and stderr. Every write appends to the end. */
  readonly fd: number;
  /** Returns whether a line is hidden, because it is not the program's own. */
  hides: ((line: string) => boolean) | undefined;
  /** The last lines, newest last. */
  readonly lastLines: string[] = [];
  /** When each of them was read, by performance.now(). */
  private readonly lastTimes: number[] = [];
  private readonly cutter = new LineCutter();
  private offset = 0;
  /** Content before this offset is skipped. */
  private skipTo = 0;
  /** Content before this offset is freed. */
  private released = 0;
  private saved = -1;
  private closed = false;

  /**
   * Creates or opens the file, readable only by its owner.
   * @param maxBytes how much may be unread; beyond it, the oldest lines are skipped and counted
   */
  constructor(
    private readonly path: string,
    readonly maxBytes: number,
    private readonly sink: OutputSink,
    private readonly position: SavedPosition = NOT_SAVED,
  ) {
    this.offset = this.skipTo = this.released = position.from;
    // O_NOFOLLOW: never opens a file that a symbolic link points to.
    this.fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW, 0o600);
  }

  /** Returns those of the last lines that were read at this time, by performance.now(), or later. */
  linesSince(time: number): string[] {
    // Lines that a template has reported about the process have no time.
    const from = this.lastTimes.findIndex((at) => at >= time);
    return this.lastLines.slice(from < 0 ? this.lastTimes.length : from);
  }

  /** The number of bytes whose lines were passed on. */
  get printedBytes(): number {
    return this.offset - this.cutter.partialBytes;
  }

  /** The number of bytes read. */
  get readBytes(): number {
    return this.offset;
  }

  /** Records that the lines passed on are in the log and need not be read again. */
  savePosition(): void {
    if (this.closed || this.saved === this.printedBytes) return;
    this.saved = this.printedBytes;
    this.position.save(this.saved);
  }

  /** Reads new content, up to a limit. Returns whether there is more. */
  read(): boolean {
    if (this.closed) return false;
    const { size } = fstatSync(this.fd);
    // Another program has truncated it.
    if (size < this.offset) this.offset = this.skipTo = this.released = 0;
    if (size - Math.max(this.offset, this.skipTo) > this.maxBytes) this.skipTo = size - (this.maxBytes >> 1);
    const lines: string[] = [];
    const end = Math.min(size, this.offset + PASS_BYTES);
    while (this.offset < end) {
      const isSkipped = this.offset < this.skipTo;
      const length = Math.min(CHUNK_BYTES, (isSkipped ? this.skipTo : size) - this.offset);
      const count = readSync(this.fd, chunk, 0, length, this.offset);
      if (count === 0) break;
      this.offset += count;
      const bytes = chunk.subarray(0, count);
      if (isSkipped) this.cutter.skip(bytes);
      else {
        this.cutter.take(bytes, lines);
        // Skipped bytes leave no garbage, and have to be skipped faster than they are written.
        readSinceCollection += count;
      }
    }
    this.passOn(lines);
    this.release();
    if (readSinceCollection >= BYTES_BETWEEN_COLLECTIONS) {
      readSinceCollection = 0;
      if (process.versions.bun !== undefined) Bun.gc(true);
    }
    return this.offset < size;
  }

  /** Reads the rest and deletes the file. */
  close(): void {
    if (this.closed) return;
    // Processes that the child started may still be writing, so only the current content is read.
    for (const { size } = fstatSync(this.fd); this.offset < size && this.read(); );
    const lines: string[] = [];
    this.cutter.end(lines);
    this.passOn(lines);
    this.closed = true;
    closeSync(this.fd);
    try {
      unlinkSync(this.path);
    } catch (error) {
      // The file is already deleted.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  private release(): void {
    const { released } = this;
    this.released = releaseRead(this.fd, this.released, this.offset, Math.min(this.maxBytes >> 1, RELEASE_BYTES));
    // Freed content cannot be read again.
    if (this.released !== released) this.savePosition();
    // Without hole punching, the file is truncated when it was just read to its end. Output written in between is lost.
    if (canRelease() || this.offset <= this.maxBytes || fstatSync(this.fd).size !== this.offset) return;
    ftruncateSync(this.fd, 0);
    this.offset = this.skipTo = this.released = 0;
    this.savePosition();
  }

  private passOn(read: string[]): void {
    const { hides } = this;
    const lines = hides === undefined ? read : read.filter((line) => !hides(line));
    const lost = this.cutter.takeLost();
    if (lost > 0) this.sink.lost(lost);
    if (lines.length === 0) return;
    const said = lines.slice(-LAST_TRACEBACK_LINES).filter((line) => line !== "");
    const hasTraceback = [this.lastLines, said].some((some) => some.some((line) => line.startsWith(FATAL_LINE)));
    const most = hasTraceback ? LAST_TRACEBACK_LINES : LAST_LINES;
    const now = performance.now();
    for (const line of said.slice(-most)) {
      this.lastLines.push(beginOf(line));
      this.lastTimes.push(now);
    }
    const excess = Math.max(0, this.lastLines.length - most);
    this.lastLines.splice(0, excess);
    this.lastTimes.splice(0, excess);
    // If many lines were read at once, each of them would keep the text of all in memory.
    if (lines.length > LAST_LINES)
      for (const [at, line] of this.lastLines.entries()) this.lastLines[at] = Buffer.from(line).toString();
    this.sink.lines(lines);
  }
}

/** Returns a copy, because a slice would keep the whole line in memory. */
function beginOf(line: string): string {
  return line.length <= LAST_LINE_CHARACTERS ? line : Buffer.from(line.slice(0, LAST_LINE_CHARACTERS)).toString();
}

/** A hole smaller than this, in bytes, is not worth a call. Holes cover whole blocks. */
const LEAST_BYTES = 64 << 10;
const BLOCK_BYTES = 4096;

type Punch = (fd: number, from: number, length: number) => void;

let punch: Punch | undefined;
let isPossible = process.platform === "linux";
const giveUp = () => {
  isPossible = false;
};
if (process.versions.bun === undefined) punch = punchByProgram;
else if (isPossible) import("./punch-bun.js").then(({ punchHole }) => (punch = punchHole), giveUp).catch(giveUp);

/**
 * Whether holes can be punched here, as far as known (FALLOC_FL_PUNCH_HOLE of fallocate(2), called directly on Bun, through util-linux's
 * program on Node). ext4, xfs, btrfs, tmpfs and overlays on these support it. Elsewhere a file can only be truncated.
 */
export function canRelease(): boolean {
  return isPossible;
}

/** Frees the disk space of the bytes between `from` and `to`. Returns the offset up to which they are freed or being freed. */
function releaseRead(fd: number, from: number, to: number, leastBytes: number): number {
  const length = Math.floor((to - from) / BLOCK_BYTES) * BLOCK_BYTES;
  if (punch === undefined || !isPossible || length < Math.max(LEAST_BYTES, leastBytes)) return from;
  try {
    punch(fd, from, length);
  } catch {
    giveUp();
    return from;
  }
  return from + length;
}

function punchByProgram(fd: number, from: number, length: number): void {
  const args = ["--punch-hole", "--offset", String(from), "--length", String(length), "/proc/self/fd/3"];
  const child = spawn("fallocate", args, { stdio: ["ignore", "ignore", "ignore", fd] });
  child.on("error", giveUp);
  child.on("exit", (code) => code !== 0 && giveUp());
}

/** The start of the first line that faulthandler writes when a signal such as SIGABRT ends a process. */
const FATAL_LINE = "Fatal Python error: ";

const FRAME = /^ {2}File "(.*)", line (\d+) in (.*)$/;
const THREAD = /^(Current thread|Thread) 0x/;
const OUR_OWN = /[/\\](dist|server)[/\\]python[/\\](paceline[/\\]|fapws[/\\]|start\.py$)/;
const LIBRARY = /[/\\](site|dist)-packages[/\\]|[/\\]lib(64)?[/\\]python\d[^/\\]*[/\\]|^</;
/** The files from which threads of a pool are started: the standard library's, and that of anyio, which Starlette uses. */
const THREAD_POOL = /[/\\]concurrent[/\\]futures[/\\]thread\.py$|[/\\]anyio[/\\]_backends[/\\]_asyncio\.py$/;
/** The maximum number of threads that are reported. */
const MAX_THREADS = 3;

/** Returns a position, for example `report (views.py:12), in readinto (socket.py:706)`; undefined if no app code was running. */
export function whereInPython(lines: readonly string[]): string | undefined {
  const places = threadsOfApp(lines)
    .map(placeOf)
    .filter((place) => place !== undefined);
  return places.length === 0 ? undefined : places.slice(0, MAX_THREADS).join("; ");
}

/** The start of the stack with which an instance reports that one request blocks its event loop (asgi_instance.py). */
const BLOCKS = /^Fatal Python error: (.+) blocks the event loop$/s;
/** The line with which an instance reports that its app has ended it (exits.py, and fatal.ts of the server). */
const ENDED = /^(?:(\S+ (?:[/*].*)?): )?the app ended this process with /s;

/** Returns the request that blocked the event loop; undefined if unknown. */
export function blockingInPython(lines: readonly string[]): string | undefined {
  const title = lines.findLast((line) => line.startsWith(FATAL_LINE));
  return title === undefined ? undefined : BLOCKS.exec(title)?.[1];
}

/**
 * Returns how the app has ended its process, for example `GET /: the app ended this process with sys.exit(3)`, and during which request.
 */
export function exitOfApp(lines: readonly string[]): { text: string; request: string | undefined } | undefined {
  const text = lines.findLast((line) => ENDED.test(line));
  return text === undefined ? undefined : { text, request: ENDED.exec(text)?.[1] };
}

/** Returns the frames of the threads that ran code of the app, innermost first; an empty list without a traceback of faulthandler. */
export function stackOfPython(lines: readonly string[]): Frame[] {
  return threadsOfApp(lines).slice(0, MAX_THREADS).flat();
}

/**
 * Returns the threads that show where a request was. Preferred are those of the server that ran code of the app; then those of the thread
 * pools in which an event loop runs functions (`def` endpoints of FastAPI, `asyncio.to_thread`); then those that ran code of a library.
 */
function threadsOfApp(lines: readonly string[]): Frame[][] {
  const threads = pythonThreads(lines);
  const servers = threads.filter(isServing);
  const ofApp = servers.filter(runsApp);
  if (ofApp.length > 0) return ofApp;
  const pooled = threads.filter((frames) => frames.some(({ file }) => THREAD_POOL.test(file)) && runsApp(frames));
  return pooled.length > 0 ? pooled : servers.filter((frames) => !waitsForEvents(frames));
}

/** Whether it is a thread of the server that executes other code than the server's. */
function isServing(frames: readonly Frame[]): boolean {
  return frames[0] !== undefined && !OUR_OWN.test(frames[0].file) && frames.some(({ file }) => OUR_OWN.test(file));
}

function runsApp(frames: readonly Frame[]): boolean {
  return frames.some(isOfApp);
}

function isOfApp({ file }: Frame): boolean {
  return !OUR_OWN.test(file) && !LIBRARY.test(file);
}

/** Whether it is an idle event loop, whose requests await something. */
function waitsForEvents([innermost, caller]: readonly Frame[]): boolean {
  return innermost?.name === "select" && caller?.name === "_run_once";
}

function pythonThreads(lines: readonly string[]): Frame[][] {
  const threads: Frame[][] = [];
  const from = lines.findLastIndex((line) => line.startsWith(FATAL_LINE));
  if (from < 0) return threads;
  for (const text of lines.slice(from)) {
    if (THREAD.test(text)) threads.push([]);
    const [, file, line, name] = FRAME.exec(text) ?? [];
    if (file !== undefined && line !== undefined && name !== undefined)
      threads.at(-1)?.push({ file, line: Number(line), name });
  }
  return threads;
}

/** Returns the innermost frame of the app's files, or of a library if there is none, and what it called. */
function placeOf(frames: readonly Frame[]): string | undefined {
  const [innermost] = frames;
  if (innermost === undefined) return undefined;
  const own = frames.find(isOfApp);
  if (own === undefined || own === innermost) return text(innermost);
  return `${text(own)}, in ${text(innermost)}`;
}

function text({ file, line, name }: Frame): string {
  return `${name} (${file.slice(file.lastIndexOf("/") + 1)}:${line})`;
}
