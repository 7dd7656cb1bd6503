/**
 * A request's head, kept as the received bytes so that it can be sent later or again. It is then parsed again, unless the queue could keep
 * it in parsed form.
 */
import { giveBack, routeClassOf } from "@paceline/wire";
import { copyOf } from "../http1/bytes.js";
import { Identity, type IdentitySource } from "../http1/identity.js";
import type { RequestHead } from "../http1/request-head.js";
import { asRequestForFile, type FileRedirect, type InternalPools, targetOf } from "../routing/file-redirect.js";
import { retarget, routeOf } from "../routing/route.js";
import type { Route } from "../routing/router.js";
import { LoggedHead } from "../stats/logged-head.js";
import type { RouteCounts } from "../stats/route-counts.js";
import type { Pool } from "../upstreams/pool.js";
import type { BufferBudget } from "./buffer-budget.js";

/** A head in a larger read is copied so that the read can be freed, because a head is kept until its response ends. */
const MAX_KEPT_READ_BYTES = 8192;
/** A longer head counts in the budget while it is kept, because clients may have thousands of requests in progress. */
const FREE_HEAD_BYTES = 4096;
const MAX_DESCRIBED_BYTES = 200;
/** The length up to which a method is recorded, with any line ends before it. */
const MAX_METHOD_BYTES = 64;

const [LF, CR, LETTER_G, LETTER_H] = [10, 13, 71, 72];

export class SavedHead {
  /** The bytes that contain the head as received; undefined if nothing is kept. */
  bytes: Uint8Array | undefined;
  start = 0;
  private end = 0;
  private parsed: RequestHead | undefined;
  private owner: HeadOwner | undefined;
  private route: Route<Pool> | undefined;
  /** A target that replaces the original one. */
  private target: Uint8Array | undefined;
  /** Whether the request now asks for a file instead of the client's target. */
  private isForFile = false;
  private areConditionsDone = false;
  /** Whether `bytes` is a copy that no other code uses. */
  private isOwn = false;
  /** Bytes taken from the budget. */
  private taken = 0;

  /** Undefined: the balancer creates no ids or traces. */
  readonly identity: Identity | undefined;
  /** Undefined without an access log. The log may keep this object and replace it by another. */
  logged: LoggedHead | undefined;

  constructor(
    identities?: IdentitySource,
    isLogged = false,
    private readonly budget?: BufferBudget,
  ) {
    if (identities !== undefined) this.identity = new Identity(identities);
    if (isLogged) this.logged = new LoggedHead();
  }

  /**
   * Keeps the head. If a large read also contains the beginning of a body, only the head is copied, so that the read can be freed. Returns
   * false if the budget has no room for a long head.
   * @param head the head that was just parsed, for the access log; undefined: the log omits the request
   */
  keep(bytes: Uint8Array, start: number, end: number, head?: RequestHead): boolean {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.logged?.note(head, start, end);
    if (bytes.length > MAX_KEPT_READ_BYTES) this.shrink();
    const size = end - start;
    if (size <= FREE_HEAD_BYTES || this.budget === undefined) return true;
    // Half of the budget is left for bodies.
    if (!this.budget.hasRoom || !this.budget.take(size)) return false;
    this.taken = size;
    return true;
  }

  /** Copies the head so that the rest of the read can be freed, because the head is kept for a long time. */
  shrink(): void {
    this.bytes = copyOf(this.bytes as Uint8Array, this.start, this.end);
    this.end -= this.start;
    this.start = 0;
    this.isOwn = true;
  }

  /**
   * Keeps the head in parsed form if there is room, because it will be sent soon. A head in a larger read is not kept, because the read
   * would stay in memory.
   */
  keepParsed(owner: HeadOwner): void {
    if (owner.requestHead.bytes !== this.bytes) return;
    this.parsed = owner.spareHeads.takeParsed(owner);
    this.owner = owner;
  }

  /** Stores the route found for this head. */
  routed(route: Route<Pool>, head: RequestHead): void {
    this.route = route;
    this.target = head.target === head.bytes ? undefined : head.target;
  }

  /** The route class, for a pool whose new release is being judged. */
  get routeClass(): number {
    return routeClassOf(this.route?.ordinal ?? 0, this.isRead);
  }

  /** Whether the method is GET or HEAD. */
  get isRead(): boolean {
    return this.isForFile || isRead(this.bytes, this.start);
  }

  /** The counts of the route; undefined if there is none. */
  get routeCounts(): RouteCounts | undefined {
    return this.route?.counts;
  }

  /** Whether the head is in these bytes. */
  isIn(bytes: Uint8Array): boolean {
    return this.bytes === bytes;
  }

  /** Changes the request to a GET (or HEAD) of that file. Returns undefined if no internal pool serves it. */
  redirect(
    { file, areConditionsDone }: FileRedirect,
    internal: InternalPools,
    head: RequestHead,
  ): Route<Pool> | undefined {
    const target = targetOf(file, internal);
    if (target === undefined) return undefined;
    head.parse(this.bytes as Uint8Array, this.start, this.end);
    this.areConditionsDone = areConditionsDone;
    asRequestForFile(head, areConditionsDone);
    this.identity?.addTo(head);
    head.retarget(target);
    this.isForFile = true;
    const route = routeOf(internal.router, head);
    if (typeof route === "number") return undefined;
    this.routed(route, head);
    return route;
  }

  /** Parses the original head into `head`. Returns the position of the head in its bytes; -1 if nothing is kept. */
  parseOriginal(head: RequestHead): number {
    if (this.bytes === undefined) return -1;
    head.parse(this.bytes, this.start, this.end);
    return this.start;
  }

  /** Notes the fields of a request that the access log would otherwise omit. @param head overwritten */
  noteLate(head: RequestHead): void {
    if (this.parseOriginal(head) >= 0) this.logged?.note(head, this.start, this.end);
  }

  /** Returns the head parsed, in the form for its upstream. */
  parse(owner: HeadOwner): RequestHead {
    const { parsed } = this;
    if (parsed !== undefined) {
      this.parsed = undefined;
      owner.spareHeads.restore(owner, parsed);
      return parsed;
    }
    const head = owner.requestHead;
    head.parse(this.bytes as Uint8Array, this.start, this.end);
    if (this.isForFile) asRequestForFile(head, this.areConditionsDone);
    retarget(head, this.route as Route<Pool>, this.target);
    this.identity?.addTo(head);
    return head;
  }

  /** Returns the method and the target as received, the target cut to `maxTarget`. Returns an empty list if no head is kept. */
  requestLine(maxTarget: number): [method?: string, target?: string] {
    if (this.bytes === undefined) return [];
    const end = Math.min(this.end, this.start + MAX_METHOD_BYTES + maxTarget);
    const [method = "", target = ""] = firstWords(this.bytes.subarray(this.start, end));
    return [method, target.slice(0, maxTarget)];
  }

  /** Returns method and path for display, without the query, which may contain secrets. */
  describe(): string {
    return this.describeLater()();
  }

  /** Returns a function that returns the result of `describe`, which is rarely needed and costs more than keeping the head. */
  describeLater(): () => string {
    if (this.bytes === undefined) return () => "";
    const beginning = copyOf(this.bytes, this.start, Math.min(this.end, this.start + MAX_DESCRIBED_BYTES));
    return () => describe(beginning);
  }

  /** Returns the request's id for display: the one created or kept by the balancer, otherwise the client's X-Request-Id. */
  requestId(): string | undefined {
    const id = this.identity?.requestId;
    if (this.bytes === undefined || id !== undefined) return id;
    const { buffer, byteOffset } = this.bytes;
    const text = Buffer.from(buffer, byteOffset + this.start, this.end - this.start).toString("latin1");
    return /^x-request-id:[ \t]*([!-~]{1,200})[ \t]*\r?$/im.exec(text)?.[1];
  }

  traceId(): string | undefined {
    return this.identity?.traceId;
  }

  clear(): void {
    if (this.parsed !== undefined) this.owner?.spareHeads.giveBack(this.parsed);
    this.parsed = undefined;
    this.isForFile = false;
    if (this.taken > 0) this.budget?.give(this.taken);
    this.taken = 0;
    // The garbage collector would let many long heads accumulate.
    if (this.isOwn && this.bytes !== undefined) giveBack(this.bytes);
    this.isOwn = false;
    this.bytes = undefined;
    this.route = undefined;
    this.target = undefined;
  }
}

/** Returns the method and the target at the beginning of a head. */
function firstWords({ buffer, byteOffset, length }: Uint8Array): string[] {
  return Buffer.from(buffer, byteOffset, length).toString("latin1").trimStart().split(/[ \r]/, 2);
}

/** Whether the method is GET or HEAD, by its first letter. An empty line may precede it. */
function isRead(bytes: Uint8Array | undefined, start: number): boolean {
  let at = start;
  while (bytes?.[at] === CR || bytes?.[at] === LF) at++;
  return bytes?.[at] === LETTER_G || bytes?.[at] === LETTER_H;
}

function describe(beginning: Uint8Array): string {
  const [method = "", target = ""] = firstWords(beginning);
  return `${method} ${target.replace(/[?#].*/, "")}`.replace(/[^!-~ ]/g, "?");
}

/** A head takes some kilobytes. If more requests wait, their heads are parsed again. */
export const MAX_SPARE_HEADS = 64;

/** Holds the head that is being parsed. */
export interface HeadOwner {
  requestHead: RequestHead;
  readonly spareHeads: SpareHeads;
}

/** Request heads in addition to the one that is being parsed. Queued requests keep such heads, and need not be parsed again. */
export class SpareHeads {
  private readonly spare: RequestHead[] = [];
  private made = 0;

  constructor(private readonly make: () => RequestHead) {}

  /**
   * Takes the head that was just parsed, and lets the next request be parsed into another one. Returns undefined if too many were taken.
   */
  takeParsed(owner: HeadOwner): RequestHead | undefined {
    const next = this.spare.pop() ?? this.makeNext();
    if (next === undefined) return undefined;
    const head = owner.requestHead;
    owner.requestHead = next;
    return head;
  }

  private makeNext(): RequestHead | undefined {
    if (this.made >= MAX_SPARE_HEADS) return undefined;
    this.made++;
    return this.make();
  }

  /** Makes a head that was taken the current one again. */
  restore(owner: HeadOwner, head: RequestHead): void {
    this.spare.push(owner.requestHead);
    owner.requestHead = head;
  }

  /** Returns a head that is no longer needed. */
  giveBack(head: RequestHead): void {
    this.spare.push(head);
  }
}
