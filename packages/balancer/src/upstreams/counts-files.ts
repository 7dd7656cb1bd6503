/**
 * The files through which balancers share counts (shared-counts.ts). Each balancer writes one file and reads those of the others. Files are
 * not mapped into memory: the kernel kills a process (SIGBUS) if its mapped file is truncated, or if the disk has no room for the file.
 */
import { fs } from "@paceline/wire";
import { COUNTS_SUFFIX, countsPath } from "@paceline/wire/lane/scoreboard";
import { atTurnEnd } from "../loop-turn.js";
import { keyOf, OtherTable, OwnTable, SharedCounts, TABLE_WORDS } from "./shared-counts.js";

/** How often to look for new balancers while all files are found, in milliseconds. */
const SCAN_MS = 1000;
/** A balancer that has not ticked for this long is not running, in milliseconds. Without clients a balancer ticks once a second. */
const SILENT_MS = 3000;
/** The minimum time between two reads of the others' files, in milliseconds. */
const READ_MS = 0.25;
/** The minimum time between two attempts to create a file, for example on a full disk, in milliseconds. */
const RETRY_MS = 5000;
/** How long instances may still run requests of a balancer that was killed, in milliseconds. */
const LEFT_BEHIND_MS = 30_000;
/** The maximum number of balancers whose counts are read. */
const MAX_OTHERS = 256;

export class CountsFiles {
  /** Whether the counts of all balancers that may have requests are known. */
  isComplete = false;
  private own: { readonly table: OwnTable; readonly bytes: Uint8Array } | undefined;
  /** The descriptor of this balancer's file; undefined while there is none. */
  private file: number | undefined;
  private triedAt = Number.NEGATIVE_INFINITY;
  private isWriteDue = false;
  private balancers = 1;
  /** Whether the files of some balancers were not found. */
  private isAnyMissing = true;
  private readonly others = new Map<string, OtherFile>();
  private running: readonly OtherTable[] = [];
  private readonly counts = new Set<SharedCounts>();
  private scannedAt = Number.NEGATIVE_INFINITY;
  private readAt = Number.NEGATIVE_INFINITY;
  /** The time until which instances may still run requests of a killed balancer. */
  private leftBehindUntil = Number.NEGATIVE_INFINITY;
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

  /** Whether there are, or were, other balancers. */
  get isOn(): boolean {
    return this.own !== undefined;
  }

  /**
   * Shares counts from now on if there are other balancers. Sharing continues when this balancer is alone later, because former balancers
   * may still have requests.
   * @param balancers the number of balancers that share the upstreams
   */
  follow(balancers: number, now: number): void {
    this.balancers = balancers;
    if (balancers > 1 && this.own === undefined) {
      const words = new Uint32Array(TABLE_WORDS);
      this.own = { table: new OwnTable(words, this.writeSoon), bytes: new Uint8Array(words.buffer) };
    }
    this.find(now);
  }

  /** Returns the counts of an upstream; undefined if they are not shared. */
  join(id: string): SharedCounts | undefined {
    const key = keyOf(id);
    const at = this.own?.table.take(key) ?? 0;
    if (this.own === undefined || at === 0) return undefined;
    const counts = new SharedCounts(this.own.table, at, key, () => this.read());
    counts.follow(this.running);
    this.counts.add(counts);
    return counts;
  }

  leave(counts: SharedCounts): void {
    if (this.counts.delete(counts)) counts.leave();
  }

  /** Reads the counts of the others, unless they were just read. */
  read(): void {
    const now = performance.now();
    if (now - this.readAt < READ_MS) return;
    this.readAt = now;
    for (const other of this.others.values()) other.read();
  }

  /** @param now in milliseconds */
  tick(now: number): void {
    if (this.own === undefined) return;
    this.own.table.beat();
    this.find(now);
    for (const each of this.counts) each.tick();
  }

  /** Finds the balancers that are running, and reads their counts. */
  private find(now: number): void {
    if (this.own === undefined) return;
    if (now - this.scannedAt >= SCAN_MS || this.isAnyMissing) {
      this.scannedAt = now;
      this.scan(now);
    }
    const before = this.running;
    let haveChanged = false;
    const running: OtherTable[] = [];
    for (const other of this.others.values()) {
      other.read();
      if (!other.isHeard(now)) continue;
      running.push(other.table);
      if (other.table.refresh()) haveChanged = true;
    }
    haveChanged ||= running.length !== before.length || running.some((table, at) => table !== before[at]);
    this.running = running;
    this.isAnyMissing = running.length + 1 < this.balancers;
    this.isComplete = !this.isAnyMissing && now >= this.leftBehindUntil;
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
    for (const [name, other] of this.others) {
      if (isAt(`${this.folder}/${name}`, other.descriptor)) continue;
      // A balancer that exits by itself has removed its file.
      if (other.hasRequests()) this.leftBehindUntil = now + LEFT_BEHIND_MS;
      other.close();
      this.others.delete(name);
    }
    const ownName = this.path.slice(this.folder.length + 1);
    if (this.file === undefined || !isAt(this.path, this.file)) this.create(now);
    for (const name of found) {
      if (name === ownName || this.others.has(name) || this.others.size >= MAX_OTHERS) continue;
      const other = OtherFile.open(`${this.folder}/${name}`, now);
      if (other !== undefined) this.others.set(name, other);
    }
  }

  /** Creates this balancer's file, or replaces a lost one. If this fails, the others do not know its requests. */
  private create(now: number): void {
    if (now - this.triedAt < RETRY_MS) return;
    this.triedAt = now;
    this.drop();
    const { constants, openSync } = fs();
    const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
    try {
      this.file = openSync(this.path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    } catch {
      // Tried again later.
      return;
    }
    this.flushTurn();
  }

  private readonly writeSoon = (): void => {
    if (this.isWriteDue || this.file === undefined) return;
    this.isWriteDue = true;
    atTurnEnd(this);
  };

  /** Writes the part of the table that is in use. */
  flushTurn(): void {
    this.isWriteDue = false;
    const { own, file } = this;
    if (own === undefined || file === undefined) return;
    const length = Uint32Array.BYTES_PER_ELEMENT * own.table.length;
    let written = 0;
    try {
      written = fs().writeSync(file, own.bytes, 0, length, 0);
    } catch {
      // The file is given up below.
    }
    // The others must not use old counts.
    if (written < length) this.drop();
  }

  private drop(): void {
    const { file } = this;
    this.file = undefined;
    if (file !== undefined) fs().closeSync(file);
    try {
      fs().rmSync(this.path, { force: true });
    } catch {
      // If the file stays, the others ignore it, because its ticks do not change.
    }
  }

  /** Removes the file before this process exits. */
  close(): void {
    if (this.own === undefined) return;
    this.flushTurn();
    this.drop();
    this.own = undefined;
  }
}

/** Whether the open file is still at that path, and was not removed, moved or replaced. */
function isAt(path: string, descriptor: number): boolean {
  const { fstatSync, lstatSync } = fs();
  try {
    return lstatSync(path, { bigint: true }).ino === fstatSync(descriptor, { bigint: true }).ino;
  } catch {
    return false;
  }
}

/** The file of another balancer. */
class OtherFile {
  readonly table: OtherTable;
  private readonly bytes: Uint8Array;
  /** The length at the last read. */
  private length = 0;
  private beats = 0;

  private constructor(
    readonly descriptor: number,
    /** When a new tick was last seen. */
    private heardAt: number,
  ) {
    const words = new Uint32Array(TABLE_WORDS);
    this.bytes = new Uint8Array(words.buffer);
    this.table = new OtherTable(words);
  }

  /** Returns undefined if the file is not a table. */
  static open(path: string, now: number): OtherFile | undefined {
    const { constants, openSync } = fs();
    const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
    let other: OtherFile;
    try {
      other = new OtherFile(openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK), now);
    } catch {
      // The file was just removed.
      return undefined;
    }
    other.read();
    if (other.table.isValid) return other;
    other.close();
    return undefined;
  }

  /** If the file was truncated, the lost part counts as 0 until its balancer writes it again. */
  read(): void {
    const { bytes } = this;
    let length = 0;
    try {
      length = fs().readSync(this.descriptor, bytes, 0, bytes.length, 0);
    } catch {
      // If the disk fails, only sharing stops.
    }
    if (length < this.length) bytes.fill(0, length, this.length);
    this.length = length;
  }

  /** Whether its balancer has ticked recently. */
  isHeard(now: number): boolean {
    const { beats } = this.table;
    if (beats !== this.beats) this.heardAt = now;
    this.beats = beats;
    return now - this.heardAt < SILENT_MS;
  }

  hasRequests(): boolean {
    this.read();
    this.table.refresh();
    return this.table.isBusy;
  }

  close(): void {
    fs().closeSync(this.descriptor);
  }
}
