/** Sticky clients, and policies by hash: finds the slot of a request by a cookie, the client's address, a field or the path. */
import type { StickyRule } from "@paceline/wire";
import { ascii, equalsIgnoringCase, SPACE, TAB } from "../http1/bytes.js";
import type { FieldTable } from "../http1/field-table.js";
import { passes, requestFieldsThatPass } from "../http1/forward-policy.js";
import type { Forwarded, Peer } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import { choiceOf, hashOfBytes, hashOfClient, hashOfPath } from "./slot-hash.js";

/** A process in a slot. */
interface StickyCandidate {
  /** The number of its slot. */
  readonly slot: number;
  readonly inFlight: number;
  /** The value of the cookie that its clients get; undefined in pools without one. */
  readonly cookie?: string | undefined;
  /** Another cookie value by which its clients are recognized. */
  readonly alsoCookie?: string | undefined;
  /** Whether it is a canary of a deploy. The clients of its slot stay with the slot's other process, except for the canary's share. */
  readonly isCanary?: boolean | undefined;
  /** Its share of the turns, relative to the other weights. Default: 1. */
  readonly weight?: number | undefined;
}

interface Slot<Candidate> {
  /** Newest first: during a reload, the replacement comes before the process that it replaces. */
  readonly processes: Candidate[];
  /** The cookie values by which the clients of its processes are recognized. */
  readonly cookies: Uint8Array[];
  canary: Candidate | undefined;
  canaryCookie: Uint8Array;
  /** The part of the slot's clients that the canary gets, by hash: 0 to 1. */
  canaryPart: number;
}

const NO_COOKIE = new Uint8Array(0);
/** 2^32: the number of hash values. */
const HASHES = 0x1_0000_0000;

/** The slot of one request. Reused for the next request of the connection. */
export class Binding {
  /** The number of the slot that should serve the request, negative for the slot's canary; 0 if any slot may. */
  home = 0;
  /** Whether the request may wait for the process of its slot while that process is full or stalled. */
  mayWait = true;
  /** Whether the client has no cookie for a slot that exists. */
  needsCookie = false;
  /** The hash of the value that identifies the client; 0: none. */
  hash = 0;
  /** How many slots of this hash have been considered. */
  choice = 0;
}

/**
 * In a policy by hash, a process with fewer requests in flight than this is never skipped as overloaded, because each of them may be an
 * idle WebSocket.
 */
const NEVER_OVERLOADED = 64;
/** The same number if clients have no sessions, so that moving to another slot costs little. */
const NEVER_OVERLOADED_LOOSE = 4;
/** By hash, the maximum number of requests in flight at one process, as a multiple of the average. */
const MOST_LOAD = 1.25;
/** After this many slots of a hash that do not exist or are overloaded, the next existing one is used. */
const MAX_CHOICES = 8;

const COOKIE = ascii("cookie");
const CACHE_CONTROL = ascii("cache-control");
/** Matches Cache-Control of a response that caches may store for all clients. */
const FOR_ALL = /(?:^|[\s,])(?:public|s-maxage)(?:$|[\s,=])/i;
const SEMICOLON = 59;
const DOT = 46;

/** Finds the slots of a pool's clients. Rebuilt when the pool's processes change. */
export class Stickiness<Candidate extends StickyCandidate> {
  /** By number. */
  private slots: (Slot<Candidate> | undefined)[] = [];
  private candidates: readonly Candidate[] = [];
  private highest = 0;
  private count = 0;
  private inFlight = 0;
  private picksUntilCount = 0;
  /** The lines that set the cookie of each slot, by the cookie's value and scheme. */
  private cookieLines = new Map<string, Uint8Array>();
  /** The name in the rule: `name=` of the cookie, or the field's name in lower case. */
  private readonly name: Uint8Array;
  private readonly neverOverloaded: number;

  constructor(readonly rule: StickyRule) {
    const isCookie = rule.by === "cookie" || rule.by === "cookie-value";
    this.name = ascii(isCookie ? `${rule.name}=` : (rule.name ?? "").toLowerCase());
    this.neverOverloaded = rule.isLoose === true ? NEVER_OVERLOADED_LOOSE : NEVER_OVERLOADED;
  }

  /** The number of slots with a process. */
  get size(): number {
    return this.count;
  }

  /** @param candidates in slot order, a process before its replacement */
  rebuild(candidates: readonly Candidate[]): void {
    this.slots = [];
    this.candidates = candidates;
    this.cookieLines = new Map();
    this.highest = this.count = this.picksUntilCount = 0;
    for (const candidate of candidates) {
      const { slot: number, cookie = "", alsoCookie } = candidate;
      let slot = this.slots[number];
      if (slot === undefined) {
        this.count++;
        this.highest = Math.max(this.highest, number);
        slot = { processes: [], cookies: [], canary: undefined, canaryCookie: NO_COOKIE, canaryPart: 0 };
        this.slots[number] = slot;
      }
      if (candidate.isCanary === true) {
        slot.canary = candidate;
        slot.canaryCookie = ascii(cookie);
        continue;
      }
      slot.processes.unshift(candidate);
      for (const value of [cookie, alsoCookie])
        if (value !== undefined && value !== "") slot.cookies.push(ascii(value));
    }
    const total = candidates.reduce((sum, { weight = 1 }) => sum + weight, 0);
    // All clients of a canary come from one slot, so it gets its share, times the number of slots, of that slot's clients.
    for (const slot of this.slots)
      if (slot?.canary !== undefined) slot.canaryPart = ((slot.canary.weight ?? 1) * this.count) / total;
  }

  /** Determines the slot of a request. */
  bind(binding: Binding, head: RequestHead, forwarded: Forwarded, peer: Peer): void {
    binding.home = binding.hash = binding.choice = 0;
    const { by, isLoose } = this.rule;
    binding.mayWait = isLoose !== true;
    binding.needsCookie = false;
    switch (by) {
      case "cookie":
        binding.home = this.findInCookies(head.fields);
        binding.needsCookie = binding.home === 0;
        return;
      case "address":
        return this.bindTo(binding, hashOfClient(forwarded.fields(head, peer)));
      case "header":
        return this.bindTo(binding, this.hashOfField(head, peer));
      case "path":
        return this.bindTo(binding, hashOfPath(head));
      case "cookie-value":
        return this.bindTo(binding, this.findInCookies(head.fields));
      default:
        return by satisfies never;
    }
  }

  /**
   * Determines the slot of a connection in tcp mode by the client's address, since nothing else is known. The connection does not wait for
   * this slot.
   */
  bindClient(binding: Binding, { fields }: Peer): void {
    binding.mayWait = false;
    this.bindTo(binding, hashOfClient(fields));
  }

  private bindTo(binding: Binding, hash: number): void {
    binding.hash = hash;
    if (hash !== 0) binding.home = this.choose(binding);
  }

  /** Gives up the slot of a request. With a hash there is another choice; with a cookie there is none. */
  leave(binding: Binding): void {
    if (this.slots[Math.abs(binding.home)] === undefined) binding.needsCookie = true;
    binding.home = binding.hash === 0 ? 0 : this.choose(binding);
  }

  /** Returns the process of a slot that may serve its clients: the newest one, or the canary for its own clients. */
  processOf(home: number, mayServe: (candidate: Candidate) => boolean): Candidate | undefined {
    if (home < 0) {
      const canary = this.slots[-home]?.canary;
      // After the deploy, the former canary is the slot's process, or its clients return to the other process.
      return canary === undefined ? this.processOf(-home, mayServe) : mayServe(canary) ? canary : undefined;
    }
    for (const process of this.slots[home]?.processes ?? []) if (mayServe(process)) return process;
    return undefined;
  }

  private choose(binding: Binding): number {
    let slot = 0;
    while (binding.choice < MAX_CHOICES) {
      slot = choiceOf(binding.hash, binding.choice++, this.highest);
      const newest = this.slots[slot]?.processes[0];
      if (newest !== undefined && !this.isOverloaded(newest)) return this.homeIn(slot, binding.hash);
    }
    if (binding.choice++ > MAX_CHOICES) return 0;
    for (let i = 0; i < this.highest; i++) {
      const next = ((slot + i) % this.highest) + 1;
      if (this.slots[next] !== undefined) return next;
    }
    return 0;
  }

  /** Returns the slot, or its canary for a fixed part of the slot's clients. */
  private homeIn(slot: number, hash: number): number {
    const part = this.slots[slot]?.canaryPart ?? 0;
    if (part === 0) return slot;
    // The same hash has chosen the slot, so its bits are mixed once more.
    const mixed = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0;
    return mixed < part * HASHES ? -slot : slot;
  }

  private isOverloaded({ inFlight }: Candidate): boolean {
    if (inFlight < this.neverOverloaded) return false;
    if (this.picksUntilCount-- <= 0) {
      this.picksUntilCount = this.count;
      this.inFlight = 0;
      for (const candidate of this.candidates) this.inFlight += candidate.inFlight;
    }
    return inFlight + 1 > (MOST_LOAD * (this.inFlight + 1)) / this.count;
  }

  private hashOfField(head: RequestHead, { isTrusted }: Peer): number {
    const { fields } = head;
    if (this.rule.name === "host") return hashOfBytes(head.bytes, head.hostStart, head.hostEnd);
    const kinds = requestFieldsThatPass(head, isTrusted);
    for (let i = 0; i < fields.count; i++) {
      if (!equalsIgnoringCase(fields.bytes, fields.nameStart(i), fields.nameEnd(i), this.name)) continue;
      // A field that the app does not get is not used.
      if (!passes(kinds, fields.kinds[i] as number)) continue;
      return hashOfBytes(fields.bytes, fields.valueStart(i), fields.valueEnd(i));
    }
    return 0;
  }

  // Cookies:

  /** Returns the home slot in the first valid cookie, or the hash of the value of an app's cookie; 0 if there is none. */
  private findInCookies(fields: FieldTable): number {
    for (let i = 0; i < fields.count; i++) {
      if (!equalsIgnoringCase(fields.bytes, fields.nameStart(i), fields.nameEnd(i), COOKIE)) continue;
      const found = this.findInField(fields.bytes, fields.valueStart(i), fields.valueEnd(i));
      if (found !== 0) return found;
    }
    return 0;
  }

  private findInField(bytes: Uint8Array, start: number, end: number): number {
    const { name } = this;
    const isOurs = this.rule.by === "cookie";
    for (let at = start; at < end; at++) {
      while (at < end && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
      let matched = 0;
      while (matched < name.length && at < end && bytes[at] === name[matched]) {
        at++;
        matched++;
      }
      const valueStart = at;
      while (at < end && bytes[at] !== SEMICOLON) at++;
      if (matched < name.length) continue;
      const found = isOurs ? this.slotOf(bytes, valueStart, at) : hashOfBytes(bytes, valueStart, at);
      if (found !== 0) return found;
    }
    return 0;
  }

  /** Returns the home slot that a cookie's value names, if the balancer has created the value. */
  private slotOf(bytes: Uint8Array, start: number, end: number): number {
    let slot = 0;
    let at = start;
    while (at < end && bytes[at] !== DOT && slot < this.highest) slot = slot * 10 + (bytes[at++] as number) - 48;
    const known = this.slots[slot];
    if (known === undefined) return 0;
    while (end > at && (bytes[end - 1] === SPACE || bytes[end - 1] === TAB)) end--;
    if (known.canary !== undefined && isValue(known.canaryCookie, bytes, start, end)) return -slot;
    for (const cookie of known.cookies) if (isValue(cookie, bytes, start, end)) return slot;
    return 0;
  }

  /** Returns the lines that set the cookie of this process's slot in a response; undefined if the response must not set it. */
  cookieLinesFor(head: ResponseHead, { cookie }: Candidate, isHttps: boolean): Uint8Array | undefined {
    // A cache would update its stored response with the fields of a 304 (RFC 9111 §3.2), and then give all clients the same cookie.
    if (cookie === undefined || head.status === 304 || isForAll(head)) return undefined;
    const key = isHttps ? `${cookie};` : cookie;
    let lines = this.cookieLines.get(key);
    if (lines === undefined) {
      const attributes = `Path=/; HttpOnly; SameSite=Lax${isHttps ? "; Secure" : ""}`;
      lines = ascii(`Set-Cookie: ${this.rule.name}=${cookie}; ${attributes}\r\nCache-Control: private\r\n`);
      this.cookieLines.set(key, lines);
    }
    return lines;
  }
}

/** Compares all bytes, so that the duration does not reveal how many are right. */
function isValue(cookie: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (cookie.length === 0 || end - start !== cookie.length) return false;
  let difference = 0;
  for (let i = 0; i < cookie.length; i++) difference |= (bytes[start + i] as number) ^ (cookie[i] as number);
  return difference === 0;
}

function isForAll({ fields, bytes }: ResponseHead): boolean {
  for (let i = 0; i < fields.count; i++) {
    if (!equalsIgnoringCase(bytes, fields.nameStart(i), fields.nameEnd(i), CACHE_CONTROL)) continue;
    if (FOR_ALL.test(fields.value(i))) return true;
  }
  return false;
}
