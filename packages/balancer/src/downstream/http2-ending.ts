/**
 * Decides how an HTTP/2 client's connection ends: by its client, by a deadline, to make room for another, in a drain, or because of an
 * error.
 */
import { SlowReader } from "@paceline/wire";
import type { Relay } from "../exchange/relay.js";
import { FrameReader } from "../http2/frame-reader.js";
import { ErrorCode, MAX_STREAM_ID } from "../http2/protocol.js";
import { type ClientReading, Pause } from "../transport/reading.js";
import type { Connection } from "../transport/transport.js";
import type { Http2Frames } from "./http2-frames.js";
import type { Http2Output } from "./http2-output.js";
import type { Http2Stream } from "./http2-stream.js";

export type State =
  | "open"
  /** GOAWAY and FIN were sent. Further input is dropped, because a reset could destroy what was sent. */
  | "lingering"
  /** Finished, except for bytes that the client has not read. */
  | "closing"
  | "closed";

/** How long a client may keep sending after GOAWAY and FIN, in milliseconds. */
const LINGER_MS = 2000;
/** How long requests in transit may take to arrive after the first GOAWAY, in milliseconds. Go's server uses the same time. */
const LAST_REQUESTS_MS = 1000;
/**
 * The number of streams kept for reuse by all connections together. A stream consists of a dozen objects. Clients that connect again and
 * again would leave more of them than the garbage collector frees in time.
 */
const MAX_SHARED_STREAMS = 1024;
const sharedStreams = new WeakMap<Relay, Http2Stream[]>();

export const NEVER = Number.POSITIVE_INFINITY;

export abstract class Http2Ending {
  deadlineAt = NEVER;
  deadlineIndex = -1;
  readonly streams = new Map<number, Http2Stream>();
  abstract readonly output: Http2Output;
  protected state: State = "open";
  protected readonly reader = new FrameReader();
  protected abstract readonly frames: Http2Frames;
  protected abstract readonly reading: ClientReading;
  protected spare: Http2Stream[] = [];
  /** Whether GOAWAY was sent: "announced" with the highest possible stream, "final" with the last stream that is served. */
  protected leaving: "no" | "announced" | "final" = "no";
  protected slowReader: SlowReader | undefined;
  // Deadlines, in milliseconds of `Deadlines.now`.
  protected idleBy = NEVER;
  protected headBy = NEVER;
  protected settingsBy = NEVER;
  protected sendBy = NEVER;
  protected drainBy = NEVER;

  constructor(
    protected readonly relay: Relay,
    protected readonly connection: Connection,
  ) {}

  /** Called when the descriptor is closed. */
  protected abstract onLeft(): void;

  get isOpen(): boolean {
    return this.state === "open";
  }

  /** Whether the connection was ended because the client sent too many frames. */
  get wasFlood(): boolean {
    return this.frames.wasFlood;
  }

  get takesNoMore(): boolean {
    return this.leaving === "final";
  }

  get isLeaving(): boolean {
    return this.relay.isDraining || this.leaving !== "no";
  }

  /** Closes the connection of a client that owes a request, to make room for another client. */
  closeForOthers(): void {
    this.leave(ErrorCode.NO_ERROR);
  }

  /** Resets a client that reads nothing, because others need the memory of its responses. */
  resetForMemory(): void {
    this.resetFor("no-room");
  }

  private resetFor(cut: "no-room" | "client-late"): void {
    for (const { exchange } of [...this.streams.values()]) exchange.onClientEnded(cut);
    this.abort();
  }

  /** Ends up to `most` long-lived responses, between two frames or events. Returns how many. */
  endEarly(most: number): number {
    let count = 0;
    for (const stream of [...this.streams.values()]) if (count + 1 <= most && stream.endEarly()) count++;
    return count;
  }

  // Called by the connection:

  onEnd(): void {
    switch (this.state) {
      case "open":
        this.state = "lingering";
        this.dropStreams();
        return this.close();
      case "lingering":
        return this.close();
    }
  }

  onClose(): void {
    this.forget();
  }

  /** Called each second, because a paused client can disconnect unnoticed, and because a client may wait for bytes that are held back. */
  lookIfLeft(): void {
    if (this.reading.hasPeerLeft(this.isOpen && this.streams.size > 0)) this.onEnd();
    else if (this.isOpen) this.output.lookIfStuck();
  }

  // The end of the connection:

  /**
   * Called when a drain starts: asks the client to send further requests elsewhere. Requests in transit are still served (RFC 9113 §6.8).
   */
  drain(): void {
    if (!this.isOpen || this.leaving !== "no") return;
    this.leaving = "announced";
    this.output.frames.goaway(MAX_STREAM_ID, ErrorCode.NO_ERROR);
    this.output.flushSoon();
    this.drainBy = this.relay.deadlines.now + LAST_REQUESTS_MS;
    this.setDeadline();
  }

  /** Refuses further streams, once the client has known of the drain for a while. */
  private refuseFurther(): void {
    this.leaving = "final";
    this.drainBy = NEVER;
    if (this.streams.size === 0) return this.leave(ErrorCode.NO_ERROR);
    this.output.frames.goaway(this.frames.lastStream, ErrorCode.NO_ERROR);
    this.output.flushSoon();
    this.setDeadline();
  }

  /** Closes the connection if no request is in progress or arriving. Called at the end of a drain's grace period. */
  closeIfIdle(): void {
    if (this.isOpen && this.streams.size === 0 && this.headBy === NEVER) this.leave(ErrorCode.NO_ERROR);
  }

  onDeadline(): void {
    const { now } = this.relay.deadlines;
    switch (this.state) {
      case "open":
        if (now >= this.sendBy) {
          this.sendBy = this.slowReader?.lookAtPace(now, this.relay.limits.minBodyBytesPerSecond / 1000) ?? 0;
          if (this.sendBy === 0) return this.resetFor("client-late");
        }
        if (now >= this.settingsBy) return this.leave(ErrorCode.SETTINGS_TIMEOUT);
        if (now >= this.headBy) return this.leave(ErrorCode.ENHANCE_YOUR_CALM);
        if (now >= this.idleBy) return this.leave(ErrorCode.NO_ERROR);
        if (now >= this.drainBy) return this.refuseFurther();
        return this.setDeadline();
      case "lingering":
        return this.close();
      case "closing":
        this.deadlineAt = this.slowReader?.lookAtPace(now) ?? 0;
        if (this.deadlineAt === 0) this.abort();
    }
  }

  protected setDeadline(): void {
    if (this.isOpen) this.deadlineAt = Math.min(this.idleBy, this.headBy, this.settingsBy, this.sendBy, this.drainBy);
  }

  /** Sends GOAWAY and ends the connection. Requests in progress are refused because of the client's error, or because memory is short. */
  leave(error: number, cut: "refused" | "no-room" = "refused"): void {
    if (!this.isOpen) return;
    this.state = "lingering";
    this.output.frames.goaway(this.frames.lastStream, error);
    for (const stream of [...this.streams.values()]) stream.onEnded(cut);
    this.output.write();
    // The write may have ended the connection.
    if ((this.state as State) !== "lingering") return;
    this.letGo();
    this.deadlineAt = this.relay.deadlines.now + LINGER_MS;
    this.reading.resume(Pause.UNREAD);
    this.connection.end();
  }

  /** Cancels all requests. */
  private dropStreams(): void {
    for (const stream of [...this.streams.values()]) stream.onGone();
  }

  private abort(): void {
    if (this.state === "closed") return;
    this.forget();
    this.connection.reset();
  }

  private close(): void {
    if (this.state === "closed" || this.state === "closing") return;
    this.output.write();
    if ((this.state as State) === "closed") return;
    this.state = "closing";
    this.letGo();
    this.deadlineAt = NEVER;
    if (this.connection.waitingBytes > 0) {
      this.slowReader ??= new SlowReader(this.connection, this.relay.limits.sendTimeoutMs);
      this.deadlineAt = this.slowReader.begin(this.relay.deadlines.now);
    }
    this.connection.close(true);
  }

  /** Called when the descriptor is closed. */
  private forget(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.dropStreams();
    this.letGo();
    this.relay.deadlines.remove(this);
    this.onLeft();
  }

  /** Keeps a stream for reuse by any connection. */
  protected share(stream: Http2Stream | undefined): void {
    stream?.exchange.leave();
    const shared = sharedStreams.get(this.relay) ?? [];
    if (shared.length === 0) sharedStreams.set(this.relay, shared);
    if (stream !== undefined && shared.length < MAX_SHARED_STREAMS) shared.push(stream);
  }

  protected takeShared(): Http2Stream | undefined {
    return sharedStreams.get(this.relay)?.pop();
  }

  private letGo(): void {
    this.reading.leave();
    this.dropInput();
    this.output.close();
    for (const stream of this.spare) this.share(stream);
    this.spare = [];
  }

  protected dropInput(): true {
    this.reader.clear();
    this.reader.freeSpent(!this.frames.hasLent);
    this.frames.clear();
    return true;
  }
}
