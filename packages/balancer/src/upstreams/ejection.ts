/**
 * Decides which upstreams of a pool are worse than the others, for how long they are ejected, and when they are readmitted. Pure: no clock,
 * no sockets.
 */
import type { EjectionRule } from "@paceline/wire";

export interface Counts {
  requests: number;
  failures: number;
}

/** The counts of an upstream within the rule's window. */
export interface Seen extends Counts {
  /** The number of failures since its last success. */
  readonly row: number;
  /** The counts of the other upstreams between the first and the last of these failures. */
  readonly besideRow: Counts;
  /** The counts of the other upstreams since this upstream started to count. */
  readonly beside: Counts;
}

/** An upstream is ejected if the probability that a healthy one fails as many requests in a row by chance is below this. */
const CHANCE = 1e-6;
/** The others' failure rate must be at most this fraction of the upstream's own. */
const MAX_OTHERS = 0.4;
/** By how many standard deviations the failure rate of an upstream must exceed the rate of the others. */
const DEVIATIONS = 5;
/** An upstream that has served for this many times as long as its last ejection starts from the shortest ejection time again. */
const FORGET_FACTOR = 5;

/**
 * Compares an upstream with the others in turn, by their counts in the same period. Returns what is wrong with the upstream, for display;
 * undefined if nothing is.
 */
export function findFault(own: Seen, others: readonly Seen[], rule: EjectionRule): string | undefined {
  if (others.length === 0) return undefined;
  // A fault of the whole pool appears at one of its upstreams first.
  const failing = others.filter(({ row }) => rule.failures > 0 && row >= rule.failures).length;
  if (failing > others.length * MAX_OTHERS) return undefined;
  const { besideRow, beside } = own;
  if (isRow(own.row, besideRow, rule)) return `${count(own.row)} failures in a row; ${describe(besideRow)}`;
  if (isShare(own, shareOf(beside), rule))
    return `${count(own.failures)} of ${count(own.requests)} requests failed; ${describe(beside)}`;
  return undefined;
}

/**
 * Returns the failure rate, as if there were two more requests, one of which failed. So the estimate is higher if there are few requests.
 */
function shareOf({ requests, failures }: Counts): number {
  return (failures + 1) / (requests + 2);
}

function describe({ requests, failures }: Counts): string {
  return `of the others' ${count(requests)} requests ${count(failures)} failed`;
}

/** Returns how many failures in a row are a fault if this share of requests fails elsewhere; Infinity if no number is enough. */
export function rowNeeded(share: number, { failures }: EjectionRule): number {
  if (failures === 0 || share > MAX_OTHERS) return Number.POSITIVE_INFINITY;
  return Math.max(failures, Math.ceil(Math.log(CHANCE) / Math.log(share)));
}

function isRow(row: number, beside: Counts, rule: EjectionRule): boolean {
  // The others may have fewer requests than this one has failures: an upstream that fails at once may get most of the requests.
  if (row < rowNeeded(shareOf(beside), rule) || beside.requests < rule.failures) return false;
  // The logarithm of the likelihood ratio: only this upstream fails, or all fail with the same probability.
  const { requests, failures } = beside;
  const evidence = likelihood(requests, failures) - likelihood(requests + row, failures + row);
  return evidence >= -Math.log(CHANCE);
}

/** Returns the logarithm of the likelihood of this many failures if exactly this share of requests fails. */
function likelihood(requests: number, failures: number): number {
  const successes = requests - failures;
  const part = (count: number) => (count > 0 ? count * Math.log(count / requests) : 0);
  return part(failures) + part(successes);
}

function isShare({ requests, failures }: Counts, share: number, rule: EjectionRule): boolean {
  if (rule.failurePercent === 0 || requests < rule.minRequests) return false;
  const own = failures / requests;
  if (own * 100 < rule.failurePercent || share > own * MAX_OTHERS) return false;
  return own - share >= DEVIATIONS * Math.sqrt((share * (1 - share)) / requests);
}

function count(value: number): string {
  return `${Math.round(value)}`;
}

/** Returns how many upstreams of a pool of that size may be ejected at the same time. */
export function maxEjected(size: number, { maxEjectedPercent }: Pick<EjectionRule, "maxEjectedPercent">): number {
  return Math.max(0, Math.min(size - 1, Math.floor((size * maxEjectedPercent) / 100)));
}

/** The reason and the end of an ejection. */
export interface Ejection {
  reason: string;
  /** Numbers the ejections of its pool. */
  number: number;
  /** In milliseconds of `Deadlines.now`. */
  until: number;
}

interface Term {
  /** How often the upstream was ejected with only short times in turn between the ejections. */
  times: number;
  /** Since when the upstream is ejected; if `until` is 0, since when it is in turn again. */
  since: number;
  /** The end of the ejection; 0 if the upstream is in turn. */
  until: number;
}

/** The ejected upstreams, and the end of each ejection. Times are in milliseconds of one clock. */
export class EjectionBook<Member extends object> {
  private members: readonly Member[] = [];
  private readonly known = new Map<Member, Term>();

  constructor(
    public rule: EjectionRule,
    /** Whether the member is out of turn for another reason, such as a drain. */
    private readonly isOutAnyway: (member: Member) => boolean,
  ) {}

  isEjected(member: Member): boolean {
    return (this.known.get(member)?.until ?? 0) > 0;
  }

  get ejected(): number {
    let ejected = 0;
    for (const { until } of this.known.values()) if (until > 0) ejected++;
    return ejected;
  }

  /** Called when the members have changed. Forgets members that have left. */
  follow(members: readonly Member[]): void {
    this.members = members;
    if (this.known.size === 0) return;
    const remaining = new Set(members);
    for (const member of this.known.keys()) if (!remaining.has(member)) this.known.delete(member);
  }

  /** Ejects a member. Returns for how many milliseconds; 0 if the member stays in turn because too many would be out of turn. */
  eject(member: Member, now: number): number {
    const { known, members, rule } = this;
    if (this.isEjected(member) || !members.includes(member) || this.isOutAnyway(member)) return 0;
    const inTurn = this.inTurn();
    if (inTurn < 2 || members.length - inTurn >= maxEjected(members.length, rule)) return 0;
    const before = known.get(member);
    const times = before === undefined || this.isForgotten(before, now) ? 1 : before.times + 1;
    const forMs = this.timeOf(times);
    known.set(member, { times, since: now, until: now + forMs });
    return forMs;
  }

  private timeOf(times: number): number {
    const { ejectMs, maxEjectMs } = this.rule;
    return Math.max(1, Math.min(ejectMs * 2 ** (times - 1), Math.max(ejectMs, maxEjectMs)));
  }

  private isForgotten({ times, since }: Term, now: number): boolean {
    return now - since > FORGET_FACTOR * this.timeOf(times);
  }

  private inTurn(): number {
    return this.members.reduce((sum, each) => sum + (this.isEjected(each) || this.isOutAnyway(each) ? 0 : 1), 0);
  }

  /** Ends the ejection of a member at once. Returns whether it was ejected. */
  end(member: Member, now: number): boolean {
    const term = this.known.get(member);
    if (term === undefined || term.until === 0) return false;
    this.known.set(member, { ...term, since: now, until: 0 });
    return true;
  }

  /**
   * Readmits the members whose time is over. Readmits others early if too many are ejected because the pool became smaller, or if none is
   * in turn any more. Returns all readmitted members.
   */
  readmit(now: number): Member[] {
    const { known, members, rule } = this;
    if (known.size === 0) return [];
    const readmitted: Member[] = [];
    const end = (member: Member) => {
      if (this.end(member, now)) readmitted.push(member);
    };
    const waiting: [Member, Term][] = [];
    for (const [member, term] of [...known]) {
      if (term.until > now) waiting.push([member, term]);
      else if (term.until > 0) end(member);
      else if (this.isForgotten(term, now)) known.delete(member);
    }
    waiting.sort(([, a], [, b]) => a.until - b.until);
    for (const [member] of waiting)
      if (this.ejected > maxEjected(members.length, rule) || this.inTurn() === 0) end(member);
    return readmitted;
  }
}
