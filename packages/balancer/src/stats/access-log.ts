/** The access log of a balancer: decides which requests are logged, and collects the values of each. */
import type { AccessField, AccessLogRule, AccessOutcome, AccessPhase, HedgeResult } from "@paceline/wire/access-log";
import type { SavedHead } from "../exchange/saved-head.js";
import type { Forwarded, ForwardedFields, Peer } from "../http1/forwarded.js";
import { RequestHead, type RequestHeadLimits } from "../http1/request-head.js";
import { findRoute } from "../routing/route.js";
import { Router } from "../routing/router.js";
import { AccessFormat } from "./access-line.js";
import { AccessEntry, NUMBERS, TEXTS } from "./access-values.js";
import { LogFile } from "./log-file.js";
import { LoggedHead } from "./logged-head.js";

/**
 * The known values of a finished request, in addition to its head. Times are those of `performance.now`; 0 if the request did not get that
 * far.
 */
export interface Finished {
  /** The status that the client got, or 499 if it disconnected before. */
  status: number;
  requestBytes: number;
  bodyBytes: number;
  startedAt: number;
  /** When the request was ready for an instance. */
  queuedAt: number;
  /** When the last instance was picked. */
  foundAt: number;
  sentAt: number;
  firstByteAt: number;
  /** Negative if unknown. */
  handlerMicros: number;
  retries: number;
  /** For a request that was sent to two upstreams, whether the second one served it; undefined if there was only one. */
  hedge: HedgeResult | undefined;
  pool: string | undefined;
  instance: string | undefined;
  outcome: AccessOutcome;
  phase: AccessPhase;
}

export interface AccessLogOptions {
  rule: AccessLogRule;
  /** The descriptor of the balancer's output, opened for appending. */
  outputFd: number;
  forwarded: Forwarded;
  limits: RequestHeadLimits;
  /** Receives a line for the operator when lines were lost, at most once a minute. */
  onProblem(message: string): void;
}

/** A refused head that is well-formed, and where it begins in its bytes. */
export interface LegibleHead {
  head: RequestHead;
  start: number;
  isHttp2: boolean;
}

/** Returns undefined if the head, which was refused, is not well-formed. */
export function legibleHead(head: RequestHead, start: number, isHttp2: boolean): LegibleHead | undefined {
  return head.legibleEnd === 0 ? undefined : { head, start, isHttp2 };
}

/** How often the clock is read; times between two readings are computed. */
const CLOCK_EVERY_MS = 1000;

/** The fields of the combined format with the fields that it consists of, and the times. All other fields are details. */
const USUAL: ReadonlySet<AccessField> = new Set([
  ...(["time", "clock", "clientAddress", "request", "host", "target", "status", "bytes"] as const),
  ...(["referer", "userAgent", "seconds", "durationMs", "instance"] as const),
  ...(["firstByteMs", "queueMs", "connectMs", "handlerMs", "laneMs"] as const),
]);
/** The first status of requests that are always logged. */
const FAILED = 500;
/** The head of an entry that was written, so that the entry does not hold the client's bytes. */
const NO_BYTES = new Uint8Array(0);
/**
 * The lines of this many requests are made together. Each request runs so much other code that the code for a line would have left the CPU
 * caches by the next line.
 */
const MAX_NOTED = 16;
/** A head in a buffer below this size stays in memory, unchanged, after its request; larger buffers may be freed. In bytes. */
const MAX_LASTING_BYTES = 4096;

export class AccessLog {
  /** Whether the times within a request are logged. */
  readonly takesTimes: boolean;
  private readonly head: RequestHead;
  private readonly format: AccessFormat;
  private readonly file: LogFile;
  private readonly forwarded: Forwarded;
  private readonly sample: number;
  /** Undefined: the requests of all routes are logged. */
  private readonly except: Router<true> | undefined;
  private readonly hasDetails: boolean;
  private readonly hasTraces: boolean;
  /** The first `noted` entries are finished requests whose lines are not made yet. */
  private readonly entries = Array.from({ length: MAX_NOTED }, () => new AccessEntry());
  private noted = 0;
  private readonly refusedHead = new LoggedHead();
  /** For each entry, the head that a request gets in exchange for its own, which the entry keeps. */
  private readonly spareHeads = Array.from({ length: MAX_NOTED }, () => new LoggedHead());
  /** Grows with each request by the share of requests to log. When it reaches 1, the request is logged. */
  private due = 0;
  /** The offset from `performance.now` to the time of day, and the time at which it was computed. */
  private clockOffset = 0;
  private clockReadAt = Number.NEGATIVE_INFINITY;

  constructor({ rule, outputFd, forwarded, limits, onProblem }: AccessLogOptions) {
    const format = new AccessFormat(rule.format);
    const lostLine = (lines: number) => format.lostLine(lines, Date.now());
    this.format = format;
    this.takesTimes = format.hasTimes;
    this.hasDetails = [...format.fields].some((field) => !USUAL.has(field));
    this.hasTraces = format.fields.has("traceId");
    const beforeWrite = () => this.makeLines();
    this.file = new LogFile({ target: rule.file ?? outputFd, lostLine, onProblem, beforeWrite });
    this.sample = rule.sample;
    const { except = [] } = rule;
    this.except = except.length === 0 ? undefined : new Router(except.map((text) => ({ text, target: true })));
    this.forwarded = forwarded;
    this.head = new RequestHead(limits);
  }

  /** Whether a request with this head is not logged unless it fails, because of its route. */
  omits(head: RequestHead): boolean {
    return this.except !== undefined && findRoute(this.except, head) !== undefined;
  }

  /** Whether this request is logged: always if the server failed, otherwise a constant share. */
  private takes(status: number): boolean {
    if (status >= FAILED) return true;
    this.due += this.sample;
    if (this.due < 1) return false;
    this.due -= 1;
    return true;
  }

  /** Logs a finished request. @param now the time of `performance.now` */
  request(kept: SavedHead, peer: Peer, finished: Finished, now: number): void {
    const { bytes, logged } = kept;
    const isOmitted = bytes !== undefined && logged?.isOmitted === true;
    if (isOmitted && finished.status < FAILED) return;
    if (!this.takes(finished.status)) return;
    if (isOmitted) kept.noteLate(this.head);
    const entry = this.entries[this.noted] as AccessEntry;
    const { numbers, texts } = entry;
    const { startedAt } = finished;
    if (now - this.clockReadAt >= CLOCK_EVERY_MS) {
      this.clockReadAt = now;
      this.clockOffset = Date.now() - now;
    }
    const isKnown = bytes !== undefined && logged !== undefined;
    const client = isKnown && peer.isTrusted ? this.saidBy(peer, kept) : undefined;
    entry.head = isKnown ? logged : undefined;
    if (isKnown) entry.headBytes = bytes;
    entry.start = kept.start;
    numbers[NUMBERS.timeMs] = startedAt + this.clockOffset;
    numbers[NUMBERS.status] = finished.status;
    numbers[NUMBERS.bytes] = finished.bodyBytes;
    numbers[NUMBERS.durationMs] = now - startedAt;
    texts[TEXTS.clientAddress] = client?.client ?? peer.node;
    texts[TEXTS.instance] = finished.instance;
    if (this.takesTimes) fillTimes(numbers, finished, now);
    if (this.hasDetails) this.fillDetails(entry, kept, finished, (client ?? peer.fields).isHttps);
    const isLasting = isKnown && bytes.length < MAX_LASTING_BYTES && bytes.byteOffset === 0 && !logged.isHttp2;
    if (isLasting) kept.logged = this.exchangeHead(logged);
    this.note();
    if (isKnown && !isLasting) this.makeLines();
  }

  /** Keeps a head for the current entry. Returns another one for the next request. */
  private exchangeHead(logged: LoggedHead): LoggedHead {
    const { noted, spareHeads } = this;
    const spare = spareHeads[noted] as LoggedHead;
    spareHeads[noted] = logged;
    return spare;
  }

  /** Called when the current entry is filled in. */
  private note(): void {
    if (this.noted++ === 0) this.file.expectLines();
    if (this.noted === MAX_NOTED) this.makeLines();
  }

  private makeLines(): void {
    const { entries, file, format, noted } = this;
    this.noted = 0;
    for (let at = 0; at < noted; at++) {
      const entry = entries[at] as AccessEntry;
      if (file.hasRoom(format.maxBytes)) file.added(format.write(entry, file.filled, file.length));
      entry.headBytes = NO_BYTES;
    }
  }

  private fillDetails(entry: AccessEntry, kept: SavedHead, finished: Finished, isHttps: boolean): void {
    const { numbers, texts } = entry;
    entry.describeHead(isHttps);
    numbers[NUMBERS.requestBytes] = finished.requestBytes;
    numbers[NUMBERS.retries] = finished.retries;
    texts[TEXTS.hedge] = finished.hedge;
    texts[TEXTS.pool] = finished.pool;
    texts[TEXTS.outcome] = finished.outcome;
    texts[TEXTS.phase] = finished.phase;
    texts[TEXTS.requestId] = kept.identity?.requestId;
    texts[TEXTS.traceId] = this.hasTraces ? kept.traceId() : undefined;
  }

  /** Returns the client as a trusted proxy reported it. */
  private saidBy(peer: Peer, kept: SavedHead): ForwardedFields {
    kept.parseOriginal(this.head);
    return this.forwarded.fields(this.head, peer);
  }

  /**
   * Logs unreadable input, or a connection beyond the limit.
   * @param legible the refused head, if it is well-formed
   */
  refused(peer: Peer, status: number, bytes: number, legible?: LegibleHead): void {
    if (!this.takes(status)) return;
    const entry = this.entries[this.noted] as AccessEntry;
    const { numbers, texts } = entry;
    entry.head = undefined;
    numbers.fill(-1);
    numbers[NUMBERS.timeMs] = Date.now();
    numbers[NUMBERS.status] = status;
    numbers[NUMBERS.bytes] = bytes;
    numbers[NUMBERS.requestBytes] = numbers[NUMBERS.durationMs] = numbers[NUMBERS.retries] = 0;
    texts.fill(undefined);
    texts[TEXTS.clientAddress] = peer.node;
    texts[TEXTS.outcome] = "refused";
    texts[TEXTS.phase] = "head";
    if (legible === undefined) return this.note();
    const { head, start, isHttp2 } = legible;
    const client = this.forwarded.fields(head, peer);
    texts[TEXTS.clientAddress] = client.client;
    entry.head = this.refusedHead;
    entry.headBytes = head.bytes;
    entry.start = start;
    entry.head.isHttp2 = isHttp2;
    entry.head.note(head, start, head.legibleEnd);
    entry.describeHead(client.isHttps);
    this.note();
    // The client's bytes do not last.
    this.makeLines();
  }

  /** Reopens the file after it was moved. */
  reopen(): void {
    this.file.reopen();
  }

  /** Writes the rest before the process exits. */
  close(): void {
    this.file.close();
  }
}

function fillTimes(numbers: Float64Array, finished: Finished, now: number): void {
  const { startedAt, queuedAt, foundAt, sentAt, firstByteAt, handlerMicros } = finished;
  const handlerMs = handlerMicros < 0 ? -1 : handlerMicros / 1000;
  numbers[NUMBERS.firstByteMs] = firstByteAt === 0 ? -1 : firstByteAt - startedAt;
  numbers[NUMBERS.queueMs] = foundAt > 0 ? foundAt - queuedAt : finished.phase === "queue" ? now - queuedAt : -1;
  numbers[NUMBERS.connectMs] = foundAt === 0 ? -1 : (sentAt >= foundAt ? sentAt : now) - foundAt;
  numbers[NUMBERS.handlerMs] = handlerMs;
  numbers[NUMBERS.laneMs] = handlerMicros < 0 ? -1 : Math.max(0, firstByteAt - sentAt - handlerMs);
}
