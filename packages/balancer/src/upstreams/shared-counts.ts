/**
 * The counts that balancers with common upstreams share, and the decisions based on them. Each balancer writes the number of its requests
 * at every upstream into a table, and reads the tables of the others: no locks, no messages. Pure: a table is an array of words, which
 * counts-files.ts writes and reads.
 */

/** The size of a table in words, enough for more than 1,300 upstreams. */
export const TABLE_WORDS = 4096;

/** `PCC1`. A table of another version is not read. */
const MAGIC = 0x31_43_43_50;
const MAGIC_AT = 0;
/** The index of the word that counts the ticks of the table's balancer. */
const BEATS_AT = 1;
/** The index of the word that counts the changes of the entries' keys. */
const CHANGES_AT = 2;
/** The index of the word with the end of the entries. */
const END_AT = 3;
const FIRST_ENTRY = 4;

/** An entry: the key of its upstream, the counts of its requests (in flight in the upper half, pending in the lower), and its progress. */
const KEY = 0;
const COUNTS = 1;
const PROGRESS = 2;
const ENTRY_WORDS = 3;
const MAX_COUNT = 0xffff;

/** Another balancer holds an upstream if none of its requests there has ended for this many of its ticks, 0.3 s. */
const HELD_TICKS = 3;

/** Returns the key of a process, for example `web.3#7`; never 0. */
export function keyOf(id: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < id.length; at++) hash = Math.imul(hash ^ id.charCodeAt(at), 0x01000193);
  return hash >>> 0 || 1;
}

/** The table of this balancer. */
export class OwnTable {
  private end = FIRST_ENTRY;
  private readonly free: number[] = [];

  constructor(
    private readonly words: Uint32Array,
    /** Called after each change. */
    private readonly onChange?: () => void,
  ) {
    words[END_AT] = FIRST_ENTRY;
    words[MAGIC_AT] = MAGIC;
    onChange?.();
  }

  /** How many words are in use. */
  get length(): number {
    return this.end;
  }

  /** Called at each tick: the table of a balancer that does not run is ignored. */
  beat(): void {
    this.add(BEATS_AT);
  }

  /** Returns the index of a new entry; 0 if the table is full. */
  take(key: number): number {
    const at = this.free.pop() ?? this.grow();
    if (at === 0) return 0;
    this.words[at + COUNTS] = 0;
    this.words[at + KEY] = key;
    this.add(CHANGES_AT);
    return at;
  }

  giveBack(at: number): void {
    this.words[at + KEY] = 0;
    this.free.push(at);
    this.add(CHANGES_AT);
  }

  put(at: number, inFlight: number, pending: number): void {
    const { words } = this;
    const before = (words[at + COUNTS] as number) >>> 16;
    if (before === 0 || inFlight < before) this.add(at + PROGRESS);
    words[at + COUNTS] = (Math.min(inFlight, MAX_COUNT) << 16) | Math.min(pending, MAX_COUNT);
    this.onChange?.();
  }

  private grow(): number {
    const at = this.end;
    if (at + ENTRY_WORDS > this.words.length) return 0;
    this.words[END_AT] = this.end = at + ENTRY_WORDS;
    return at;
  }

  private add(at: number): void {
    this.words[at] = (this.words[at] as number) + 1;
    this.onChange?.();
  }
}

/** The table of another balancer. */
export class OtherTable {
  private readonly places = new Map<number, number[]>();
  private changes = -1;

  constructor(readonly words: Uint32Array) {}

  /** Whether the table can be read. */
  get isValid(): boolean {
    return this.words[MAGIC_AT] === MAGIC;
  }

  /** Whether the table's balancer has requests at any upstream. */
  get isBusy(): boolean {
    const { words } = this;
    for (const places of this.places.values())
      if (places.some((at) => (words[at + COUNTS] as number) >>> 16 > 0)) return true;
    return false;
  }

  get beats(): number {
    return this.words[BEATS_AT] as number;
  }

  /** Finds the entries again if they have changed. Returns whether they have. */
  refresh(): boolean {
    const { words, places } = this;
    const changes = words[CHANGES_AT] as number;
    if (changes === this.changes) return false;
    this.changes = changes;
    places.clear();
    const end = Math.min(words[END_AT] as number, words.length);
    for (let at = FIRST_ENTRY; at + ENTRY_WORDS <= end; at += ENTRY_WORDS) {
      const key = words[at + KEY] as number;
      if (key === 0) continue;
      const known = places.get(key);
      if (known === undefined) places.set(key, [at]);
      else known.push(at);
    }
    return true;
  }

  /** Returns the indices of the entries with this key. A process that has left its pool and returned has several. */
  entriesOf(key: number): readonly number[] {
    return this.places.get(key) ?? [];
  }
}

/** An entry in another balancer's table. */
interface Entry {
  table: OtherTable;
  at: number;
  /** As of the last tick. */
  progress: number;
  beats: number;
  /** For how many ticks of the table's balancer none of its requests at the upstream has ended. */
  heldTicks: number;
}

/** One upstream in the tables of all balancers. */
export class SharedCounts {
  /**
   * As of the last read: the other balancers' requests in flight, and the requests among them whose handler is not known to have returned.
   */
  inFlight = 0;
  pending = 0;
  /** The requests of this balancer, as published. */
  own = 0;
  /** When this balancer's last request here ended, in milliseconds of `performance.now`. */
  private emptyAt = Number.NEGATIVE_INFINITY;
  /** Whether another balancer has requests here of which none has ended for a long time. */
  isHeld = false;
  private atTick = 0;
  private entries: Entry[] = [];
  /** The others' progress when this balancer sent a request behind theirs; undefined if it sent none. */
  private behind: number | undefined;

  constructor(
    private readonly table: OwnTable,
    private readonly at: number,
    readonly key: number,
    /** Reads the tables of the others. */
    private readonly read: () => void = () => {},
  ) {}

  /** Publishes the requests of this balancer. */
  put(inFlight: number, pending: number): void {
    if (inFlight === 0 && this.own > 0) this.emptyAt = performance.now();
    this.own = inFlight;
    this.table.put(this.at, inFlight, pending);
  }

  /** Whether this balancer has had no request here for so long that it may exceed the limit of all balancers by one. */
  get isMissed(): boolean {
    return this.own === 0 && performance.now() - this.emptyAt >= MAX_PATIENCE_MS;
  }

  leave(): void {
    this.table.giveBack(this.at);
  }

  /** Adds up the requests of the others, as read last. */
  look(): void {
    let inFlight = 0;
    let pending = 0;
    for (const { table, at } of this.entries) {
      const { words } = table;
      if (words[at + KEY] !== this.key) continue;
      const counts = words[at + COUNTS] as number;
      inFlight += counts >>> 16;
      pending += counts & MAX_COUNT;
    }
    this.inFlight = inFlight;
    this.pending = pending;
  }

  /** The maximum of the others' requests now and at the last tick, because they may have noticed earlier that the process has exited. */
  most(): number {
    this.read();
    this.look();
    return Math.max(this.inFlight, this.atTick);
  }

  /** Called when a request is sent as the only one of this balancer. */
  sent(): void {
    this.look();
    this.behind = this.inFlight > 0 ? this.progress() : undefined;
  }

  /** Whether the request that was sent last is still waiting behind one of another balancer that has been running for a long time. */
  get waitsBehindHeld(): boolean {
    return this.isHeld && this.behind !== undefined && this.behind === this.progress();
  }

  /** Called when the running balancers, or the entries in their tables, have changed. */
  follow(tables: readonly OtherTable[]): void {
    const before = this.entries;
    this.entries = tables.flatMap((table) =>
      table.entriesOf(this.key).map((at) => {
        const known = before.find((entry) => entry.table === table && entry.at === at);
        return known ?? { table, at, progress: -1, beats: table.beats, heldTicks: 0 };
      }),
    );
    this.look();
  }

  /** Called at each tick. */
  tick(): void {
    this.look();
    this.atTick = this.inFlight;
    this.isHeld = false;
    for (const entry of this.entries) {
      const { words, beats } = entry.table;
      const progress = words[entry.at + PROGRESS] as number;
      const isIdle = (words[entry.at + COUNTS] as number) >>> 16 === 0;
      if (isIdle || progress !== entry.progress) entry.heldTicks = 0;
      else if (beats !== entry.beats) entry.heldTicks++;
      entry.progress = progress;
      entry.beats = beats;
      if (entry.heldTicks >= HELD_TICKS) this.isHeld = true;
    }
  }

  private progress(): number {
    let sum = 0;
    for (const { table, at } of this.entries) sum += table.words[at + PROGRESS] as number;
    return sum;
  }
}

/** Which requests of other balancers block an upstream for a request. */
export const Heed = {
  NONE: 0,
  /** The requests of balancers that hold the upstream: they may block the instance, or crash it. */
  HELD: 1,
  ALL: 2,
} as const;

export type Heed = (typeof Heed)[keyof typeof Heed];

/** An upstream with this balancer's requests. */
interface Contended {
  readonly pending: number;
  readonly maxInFlight: number;
  readonly others: Pick<SharedCounts, "inFlight" | "pending" | "own" | "isHeld" | "isMissed"> | undefined;
}

/**
 * Returns whether the requests of other balancers leave room for one of this balancer. `maxInFlight` is the limit of all balancers together.
 * A balancer may exceed it by one, and only where it has had no request for a while: otherwise a steady flow of the others' requests would
 * never leave room for it.
 * @param window how many requests may be pending there
 */
export function leavesRoom(heed: Heed, { pending, maxInFlight, others }: Contended, window: number): boolean {
  if (heed === Heed.NONE || others === undefined) return true;
  const mayGoBehind = heed === Heed.HELD && !others.isHeld;
  if (others.pending > 0 && pending + others.pending >= window && !mayGoBehind) return false;
  if (others.inFlight === 0 || others.own + others.inFlight < maxInFlight) return true;
  return mayGoBehind && others.isMissed;
}

const MIN_PATIENCE_MS = 2;
const MAX_PATIENCE_MS = 50;
const USUAL_PATIENCE_MS = 5;

/**
 * Returns how long a request waits in the queue for an upstream without a request of another balancer: about as long as a request takes. If
 * it waited longer, a balancer with a steady flow of requests to the upstream would never leave room for the others.
 */
export function patienceMs(typicalMicros: number | undefined): number {
  if (typicalMicros === undefined) return USUAL_PATIENCE_MS;
  return Math.min(MAX_PATIENCE_MS, Math.max(MIN_PATIENCE_MS, typicalMicros / 1000));
}
