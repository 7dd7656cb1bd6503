/**
 * The files through which balancers share counts (shared-counts.ts), one for each balancer. They are mapped into memory on Bun, and written
 * and read on Node.
 */
import { fs } from "@paceline/wire";
import { COUNTS_SUFFIX, countsPath, mapWords } from "@paceline/wire/lane/scoreboard";
import { atTurnEnd } from "../turn.js";
import { keyOf, OtherTable, OwnTable, SharedCounts, TABLE_WORDS } from "./shared-counts.js";

/** How often to look for new balancers while none is missing, in milliseconds. */
const SCAN_MS = 1000;
/** A balancer that has not ticked for this long is not running, in milliseconds. Without clients it ticks once a second. */
const SILENT_MS = 3000;
/** The minimum time between two reads of a file on Node, in milliseconds. */
const READ_MS = 1;
/** The counts of further balancers are ignored. */
const MAX_OTHERS = 256;

interface Other {
  file: SharedFile;
  table: OtherTable;
  beats: number;
  heardAt: number;
}

export class CountsFiles {
  /** Whether all other balancers publish their counts. */
  isComplete = false;
  private own: OwnTable | undefined;
  private balancers = 1;
  private readonly others = new Map<string, Other>();
  private running: readonly OtherTable[] = [];
  private readonly counts = new Set<SharedCounts>();
  private scannedAt = Number.NEGATIVE_INFINITY;
  private readonly path: string;

  /**
   * @param folder the folder with the files of all balancers
   * @param id the process of this balancer, for example `balancer.1#3`
   */
  constructor(
    private readonly folder: string,
    id: string,
  ) {
    this.path = countsPath(folder, id);
  }

  /** Whether this balancer publishes its counts. */
  get isOn(): boolean {
    return this.own !== undefined;
  }

  /**
   * Publishes counts from now on if there are other balancers. It continues if it is alone later, because former balancers may still have
   * requests.
   * @param balancers the number of balancers that share the upstreams
   */
  follow(balancers: number, now: number): void {
    this.balancers = balancers;
    if (balancers > 1 && this.own === undefined) {
      const file = openShared(this.path, true);
      if (file !== undefined) this.own = new OwnTable(file.words, file.write);
    }
    this.find(now);
  }

  /** Returns the counts of an upstream; undefined if they are not shared. */
  join(id: string): SharedCounts | undefined {
    const key = keyOf(id);
    const at = this.own?.take(key) ?? 0;
    if (this.own === undefined || at === 0) return undefined;
    const counts = new SharedCounts(this.own, at, key);
    counts.follow(this.running);
    this.counts.add(counts);
    return counts;
  }

  leave(counts: SharedCounts): void {
    if (this.counts.delete(counts)) counts.leave();
  }

  /** @param now in milliseconds */
  tick(now: number): void {
    if (this.own === undefined) return;
    this.own.beat();
    this.find(now);
    for (const each of this.counts) each.tick();
  }

  /** Finds the balancers that are running. */
  private find(now: number): void {
    if (this.own === undefined) return;
    if (now - this.scannedAt >= SCAN_MS || !this.isComplete) {
      this.scannedAt = now;
      this.scan(now);
    }
    const before = this.running;
    let haveChanged = false;
    const running: OtherTable[] = [];
    for (const other of this.others.values()) {
      const { table } = other;
      if (table.beats !== other.beats) {
        other.beats = table.beats;
        other.heardAt = now;
      }
      if (now - other.heardAt >= SILENT_MS) continue;
      running.push(table);
      if (table.refresh()) haveChanged = true;
    }
    haveChanged ||= running.length !== before.length || running.some((table, at) => table !== before[at]);
    this.running = running;
    this.isComplete = running.length + 1 >= this.balancers;
    if (haveChanged) for (const each of this.counts) each.follow(running);
  }

  /** Lists the balancers. The supervisor removes the files of those that have exited. */
  private scan(now: number): void {
    let names: string[];
    try {
      names = fs().readdirSync(this.folder);
    } catch {
      // The fleet has stopped, and its folder was removed.
      return;
    }
    const found = new Set(names.filter((name) => name.endsWith(COUNTS_SUFFIX)));
    for (const [name, { file }] of this.others) {
      if (found.has(name)) continue;
      file.close?.();
      this.others.delete(name);
    }
    for (const name of found) {
      const path = `${this.folder}/${name}`;
      if (path === this.path || this.others.has(name) || this.others.size >= MAX_OTHERS) continue;
      const file = openShared(path, false);
      if (file === undefined) continue;
      const table = new OtherTable(file.words, file.read);
      if (table.isValid) this.others.set(name, { file, table, beats: table.beats, heardAt: now });
      else file.close?.();
    }
  }

  /** Removes the file before this process exits. */
  close(): void {
    if (this.own === undefined) return;
    fs().rmSync(this.path, { force: true });
    this.own = undefined;
  }
}

/** The table of a balancer in a file that all of them can read. */
interface SharedFile {
  readonly words: Uint32Array;
  /** On Node: writes the words at the end of this turn of the event loop. */
  readonly write?: () => void;
  /** On Node: reads the words, unless that was just done. */
  readonly read?: () => void;
  readonly close?: () => void;
}

/**
 * Opens a file; creates it if it is this balancer's own. Returns undefined if that fails: each balancer then knows only its own requests.
 */
function openShared(path: string, isOwn: boolean): SharedFile | undefined {
  try {
    if (isOwn) makeFile(path, Uint32Array.BYTES_PER_ELEMENT * TABLE_WORDS);
    if (typeof Bun === "undefined") return openOnNode(path);
  } catch {
    return undefined;
  }
  const words = mapWords(path, TABLE_WORDS);
  return words && { words };
}

/** @throws the system's error */
function openOnNode(path: string): SharedFile | undefined {
  const { closeSync, constants, fstatSync, openSync, readSync, writeSync } = fs();
  const words = new Uint32Array(TABLE_WORDS);
  const bytes = new Uint8Array(words.buffer);
  const file = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW);
  if (fstatSync(file).size < bytes.length) {
    closeSync(file);
    return undefined;
  }
  let isDue = false;
  let readAt = Number.NEGATIVE_INFINITY;
  const attempt = (transfer: () => void) => {
    try {
      transfer();
    } catch {
      // If the disk fails, only the counts are not shared.
    }
  };
  const flushTurn = () => {
    isDue = false;
    attempt(() => writeSync(file, bytes, 0, bytes.length, 0));
  };
  return {
    words,
    write() {
      if (!isDue) atTurnEnd({ flushTurn });
      isDue = true;
    },
    read() {
      const now = performance.now();
      if (now - readAt < READ_MS) return;
      readAt = now;
      attempt(() => readSync(file, bytes, 0, bytes.length, 0));
    },
    close: () => closeSync(file),
  };
}

/** Creates a file and allocates its disk space: a write to mapped memory without disk space would crash the process. */
function makeFile(path: string, bytes: number): void {
  const { closeSync, constants, openSync, rmSync, writeSync } = fs();
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
  const file = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  let written = 0;
  try {
    written = writeSync(file, new Uint8Array(bytes));
  } finally {
    closeSync(file);
    if (written < bytes) rmSync(path, { force: true });
  }
}
