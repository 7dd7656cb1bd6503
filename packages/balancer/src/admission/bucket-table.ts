/**
 * The token buckets of many clients in a fixed amount of memory. A bucket is one number, as in the generic cell rate algorithm (GCRA): the
 * time at which it is full again. Pure.
 *
 * Clients choose their keys: addresses and field values. No choice of keys may gain a client tokens. Each key belongs to one set of eight
 * buckets. A new key takes over the fullest bucket of its set, with the tokens in it. If that bucket is full, it is as good as a new one.
 * If it is not, the client that lost it gains nothing: when it returns, it takes over a bucket with at most as many tokens as its own had.
 * NewKeys limits how many buckets one source can use at a time, so that no client can fill the table.
 */

export interface Rate {
  /** The time in which a bucket gains one token, in milliseconds. */
  readonly intervalMs: number;
  /** The tokens of a full bucket. */
  readonly burst: number;
}

/** Times are sums of intervals. Rounding may leave a bucket short by this part of a token. */
const ROUNDING = 0.001;

/** Takes a token at `now`. Returns the time at which the bucket is full again; -1 if it has no token. */
export function takeToken(fullAt: number, now: number, { intervalMs, burst }: Rate): number {
  const next = Math.max(fullAt, now) + intervalMs;
  return next - now > (burst + ROUNDING) * intervalMs ? -1 : next;
}

/** Returns the time until the bucket has a token, in milliseconds. */
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
  /** The key of the last lookup, and its bucket. A new key has the bucket that it would take over. */
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

  /** Takes a token from this key's bucket. Returns 0, or the time until the bucket has one, in milliseconds. */
  take(key: string, now: number): number {
    this.find(key, now);
    return this.takeFound(now);
  }

  /** Looks the key up for `takeFound`. Returns whether the key is new: it has no bucket, or a full one. */
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

  /** Takes a token for the key of the last lookup. Returns the same as `take`. */
  takeFound(now: number): number {
    const { at, first, second } = this.found;
    const fullAt = this.fullAt[at] as number;
    const next = takeToken(fullAt, now, this.rate);
    // A refused client does not take over a bucket.
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
 * Limits the new keys of one source. A bucket that is not full was used within the time in which an empty bucket fills. In that time a
 * source may bring another `NEW_KEYS`, so it has at most twice as many buckets that are not full. That is a sixteenth of a table: too few
 * to fill the sets of others.
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

/** A hash of the text. The seed is mixed in at each character, as in MurmurHash3. */
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
