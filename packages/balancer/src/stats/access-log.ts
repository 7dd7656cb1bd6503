/** The access log of a balancer: decides which requests are logged, and collects the values of each. */
import type { AccessLogRule, AccessOutcome, AccessPhase, HedgeResult } from "@paceline/wire/access-log";
import type { SavedHead } from "../exchange/saved-head.js";
import type { Forwarded, ForwardedFields, Peer } from "../http1/forwarded.js";
import { RequestHead, type RequestHeadLimits } from "../http1/request-head.js";
import { type AccessEntry, AccessFormat } from "./access-line.js";
import { LogFile } from "./log-file.js";

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

/** One per process: it is written before the next request is filled in. */
const NOTHING_KNOWN: AccessEntry = {
  ...{ timeMs: 0, clientAddress: "", isHttps: false, status: 0, requestBytes: 0, bytes: 0 },
  ...{ head: undefined, headBytes: new Uint8Array(0), start: 0 },
  ...{ durationMs: 0, firstByteMs: -1, queueMs: -1, connectMs: -1, handlerMs: -1, laneMs: -1, retries: 0 },
  ...{ hedge: undefined, pool: undefined, instance: undefined, outcome: "refused", phase: "head" },
  ...{ requestId: undefined, traceId: undefined },
};

export interface AccessLogOptions {
  rule: AccessLogRule;
  /** The descriptor of the balancer's output, opened for appending. */
  outputFd: number;
  forwarded: Forwarded;
  limits: RequestHeadLimits;
  /** Receives a line for the operator when lines were lost, at most once a minute. */
  onProblem(message: string): void;
}

/** How often the clock is read; times between two readings are computed. */
const CLOCK_EVERY_MS = 1000;

export class AccessLog {
  /** Whether the times within a request are logged. */
  readonly takesTimes: boolean;
  private readonly head: RequestHead;
  private readonly format: AccessFormat;
  private readonly file: LogFile;
  private readonly forwarded: Forwarded;
  private readonly sample: number;
  private readonly hasIds: boolean;
  private readonly hasTraces: boolean;
  private readonly entry: AccessEntry = { ...NOTHING_KNOWN };
  /** Grows with each request by the share that is logged. When it reaches 1, a request is logged. */
  private due = 0;
  /** The offset from `performance.now` to the time of day, and when it was computed. */
  private clockOffset = 0;
  private clockReadAt = Number.NEGATIVE_INFINITY;
  private readonly putEntry = (to: Uint8Array, at: number) => this.format.write(this.entry, to, at);

  constructor({ rule, outputFd, forwarded, limits, onProblem }: AccessLogOptions) {
    const format = new AccessFormat(rule.format);
    const lostLine = (lines: number) => format.lostLine(lines, Date.now());
    this.format = format;
    this.takesTimes = format.hasTimes;
    this.hasIds = format.has("requestId");
    this.hasTraces = format.has("traceId");
    this.file = new LogFile({ target: rule.file ?? outputFd, lostLine, onProblem });
    this.sample = rule.sample;
    this.forwarded = forwarded;
    this.head = new RequestHead(limits);
  }

  /** Whether this request is logged: always if the server failed, otherwise a constant share. */
  private takes(status: number): boolean {
    if (status >= 500) return true;
    this.due += this.sample;
    if (this.due < 1) return false;
    this.due -= 1;
    return true;
  }

  /** Logs a finished request. @param now the time of `performance.now` */
  request(kept: SavedHead, peer: Peer, finished: Finished, now: number): void {
    if (!this.takes(finished.status)) return;
    const { entry } = this;
    const { bytes, logged } = kept;
    const { startedAt } = finished;
    if (now - this.clockReadAt >= CLOCK_EVERY_MS) {
      this.clockReadAt = now;
      this.clockOffset = Date.now() - now;
    }
    const isKnown = bytes !== undefined && logged !== undefined;
    const client = isKnown && peer.isTrusted ? this.saidBy(peer, kept) : undefined;
    entry.durationMs = now - startedAt;
    entry.timeMs = startedAt + this.clockOffset;
    entry.clientAddress = client?.client ?? peer.node;
    entry.isHttps = (client ?? peer.fields).isHttps;
    entry.head = isKnown ? logged : undefined;
    if (isKnown) entry.headBytes = bytes;
    entry.start = kept.start;
    entry.status = finished.status;
    entry.requestBytes = finished.requestBytes;
    entry.bytes = finished.bodyBytes;
    if (this.takesTimes) fillTimes(entry, finished, now);
    entry.retries = finished.retries;
    entry.hedge = finished.hedge;
    entry.pool = finished.pool;
    entry.instance = finished.instance;
    entry.outcome = finished.outcome;
    entry.phase = finished.phase;
    entry.requestId = this.hasIds ? kept.identity?.requestId : undefined;
    entry.traceId = this.hasTraces ? kept.traceId() : undefined;
    this.file.add(this.format.maxBytes, this.putEntry);
    // Releases the client's bytes.
    entry.headBytes = NOTHING_KNOWN.headBytes;
  }

  /** Returns the client as a trusted proxy reported it. */
  private saidBy(peer: Peer, kept: SavedHead): ForwardedFields {
    kept.parseOriginal(this.head);
    return this.forwarded.fields(this.head, peer);
  }

  /** Logs unreadable input, or a connection beyond the limit. */
  refused(peer: Peer, status: number, bytes: number): void {
    if (!this.takes(status)) return;
    Object.assign(this.entry, NOTHING_KNOWN, { timeMs: Date.now(), clientAddress: peer.node, status, bytes });
    this.file.add(this.format.maxBytes, this.putEntry);
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

function fillTimes(entry: AccessEntry, finished: Finished, now: number): void {
  const { startedAt, queuedAt, foundAt, sentAt, firstByteAt, handlerMicros } = finished;
  entry.firstByteMs = firstByteAt === 0 ? -1 : firstByteAt - startedAt;
  entry.queueMs = foundAt > 0 ? foundAt - queuedAt : finished.phase === "queue" ? now - queuedAt : -1;
  entry.connectMs = foundAt === 0 ? -1 : (sentAt >= foundAt ? sentAt : now) - foundAt;
  entry.handlerMs = handlerMicros < 0 ? -1 : handlerMicros / 1000;
  entry.laneMs = handlerMicros < 0 ? -1 : Math.max(0, firstByteAt - sentAt - entry.handlerMs);
}
