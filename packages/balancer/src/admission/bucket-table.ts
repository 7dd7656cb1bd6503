/**
 * The token buckets of many clients in a fixed amount of memory. As the generic cell rate algorithm (GCRA) keeps them, a bucket is one
 * number: the time at which it is full again. Pure.
 *
 * Clients choose their keys, addresses and values of fields, so no choice may give anybody more tokens. A key belongs to one set of eight
 * buckets. A new key takes over the fullest of them with the tokens that it has: a bucket that is full is as good as a new one. If none is
 * full, a client that was pushed out comes back to a bucket with at most as many tokens as its own had, since that was the fullest.
 * So nobody may fill the table: NewKeys limits how many buckets one source can use at a time.
 */

export interface Rate {
  /** The time in which a bucket gains one token, in milliseconds. */
  readonly intervalMs: number;
  /** The tokens of a full bucket. */
  readonly burst: number;
}

/** Times are sums of intervals; this part of a token allows for their rounding. */
const ROUNDING = 0.001;

/** Takes a token at `now`. Returns when the bucket is full again; -1 if it has no token. */
export function takeToken(fullAt: number, now: number, { intervalMs, burst }: Rate): number {
  const next = Math.max(fullAt, now) + intervalMs;
  return next - now > (burst + ROUNDING) * intervalMs ? -1 : next;
}

/** Returns how long a bucket has no token, in milliseconds. */
export function waitForToken(fullAt: number, now: number, { intervalMs, burst }: Rate): number {
  return Math.max(0, fullAt - now - (burst - 1) * intervalMs);
}

const WAYS = 8;
/** With eight buckets each: 65,536 buckets of 16 bytes. */
const SETS = 8192;

export class BucketTable {
  private readonly firstHashes: Int32Array;
  private readonly secondHashes: Int32Array;
  private readonly fullAt: Float64Array;
  private readonly mask: number;
  /** The key that was looked up last, and its bucket or the one that it would take over. */
  private found = { at: 0, first: 0, second: 0 };

  /**
   * @param seeds two secret numbers, so that nobody can choose keys of the same set
   * @param sets the number of sets, a power of two
   */
  constructor(
    private readonly rate: Rate,
    private readonly seeds: readonly [number, number] = [randomSeed(), randomSeed()],
    sets = SETS,
  ) {
    this.mask = sets - 1;
    this.firstHashes = new Int32Array(sets * WAYS);
    this.secondHashes = new Int32Array(sets * WAYS);
    this.fullAt = new Float64Array(sets * WAYS);
  }

  /** Takes a token of this key's bucket. Returns 0, or how long there is none, in milliseconds. */
  take(key: string, now: number): number {
    this.find(key, now);
    return this.takeFound(now);
  }

  /** Looks the key up for `takeFound`. Returns whether it is new: it has no bucket, or a full one. */
  find(key: string, now: number): boolean {
    const first = hashOf(key, this.seeds[0]);
    const second = hashOf(key, this.seeds[1]);
    const start = (first & this.mask) * WAYS;
    let at = start;
    let isNew = true;
    for (let way = start; way < start + WAYS; way++) {
      if (this.firstHashes[way] === first && this.secondHashes[way] === second) {
        at = way;
        isNew = (this.fullAt[way] as number) <= now;
        break;
      }
      if ((this.fullAt[way] as number) < (this.fullAt[at] as number)) at = way;
    }
    this.found.at = at;
    this.found.first = first;
    this.found.second = second;
    return isNew;
  }

  /** Takes a token for the key that was looked up last. Returns as `take` does. */
  takeFound(now: number): number {
    const { at, first, second } = this.found;
    const fullAt = this.fullAt[at] as number;
    const next = takeToken(fullAt, now, this.rate);
    // A refused client takes over nothing.
    if (next < 0) return Math.max(Number.MIN_VALUE, waitForToken(fullAt, now, this.rate));
    this.firstHashes[at] = first;
    this.secondHashes[at] = second;
    this.fullAt[at] = next;
    return 0;
  }
}

/** How many new keys a source may bring at once. */
export const NEW_KEYS = 2048;
const NEW_KEYS_SETS = 1024;

/**
 * How many new keys one source may bring. A bucket that is not full has been used within the time in which an empty one fills, and in that time a
 * source may bring `NEW_KEYS` more: it has at most twice as many such buckets, a sixteenth of a table, too few to fill the sets of others.
 */
export class NewKeys {
  private readonly sources: BucketTable;

  constructor({ intervalMs, burst }: Rate, seeds?: readonly [number, number]) {
    const rate = { intervalMs: (intervalMs * burst) / NEW_KEYS, burst: NEW_KEYS };
    this.sources = new BucketTable(rate, seeds, NEW_KEYS_SETS);
  }

  /** Whether the source may bring a new key now. */
  mayBring(source: string, now: number): boolean {
    return this.sources.take(source, now) === 0;
  }
}

function randomSeed(): number {
  return (Math.random() * 2 ** 32) | 0;
}

/** A hash of the text in which the seed takes part at each character (the mixing of MurmurHash3). */
function hashOf(text: string, seed: number): number {
  let hash = seed;
  for (let at = 0; at < text.length; at++) {
    let part = Math.imul(text.charCodeAt(at) + at, 0xcc9e2d51);
    part = Math.imul((part << 15) | (part >>> 17), 0x1b873593);
    hash ^= part;
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash ^= text.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
