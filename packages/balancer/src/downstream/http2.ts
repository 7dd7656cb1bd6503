/** One HTTP/2 client connection: its streams, its deadlines, and how it ends. */
import { type OpenRequest, SlowReader } from "@paceline/wire";
import type { Relay } from "../exchange/relay.js";
import type { Peer } from "../http1/forwarded.js";
import { FrameReader } from "../http2/frame-reader.js";
import { ErrorCode, MAX_STREAM_ID } from "../http2/protocol.js";
import type { Connection, ConnectionOwner, Ends } from "../transport/transport.js";
import { type FramesOwner, Http2Frames } from "./http2-frames.js";
import { Http2Output, type OutputOwner } from "./http2-output.js";
import type { Http2Scratch } from "./http2-scratch.js";
import { Http2Stream, type StreamHost } from "./http2-stream.js";
import { ClientReading, Pause } from "./reading.js";

type State =
  | "open"
  /** GOAWAY and FIN were sent. Further input is dropped, because a reset could destroy what was sent. */
  | "lingering"
  /** Finished, except for bytes that the client has not read. */
  | "closing"
  | "closed";

/** While more than this waits for the client, its frames are not read: they could cause more. */
const MAX_UNWRITTEN_BYTES = 262_144;
/** How long a client may take to acknowledge the settings, in milliseconds. */
const SETTINGS_TIMEOUT_MS = 10_000;
/** How long a client may keep sending after GOAWAY and FIN, in milliseconds. */
const LINGER_MS = 2000;
/** After the first GOAWAY, how long requests in transit may take to arrive, in milliseconds; as in Go's server. */
const LAST_REQUESTS_MS = 1000;
/** Streams that are kept to be used again by a connection without requests. */
const MAX_SPARE_STREAMS = 16;
/** A read that costs less does not make a client share its turns, in units of a turn's share. */
const FREE_TURN_UNITS = 16_384;
const NEVER = Number.POSITIVE_INFINITY;

export class Http2Downstream implements ConnectionOwner, FramesOwner, OutputOwner, StreamHost {
  deadlineAt = NEVER;
  deadlineIndex = -1;
  readonly streams = new Map<number, Http2Stream>();
  readonly output: Http2Output;
  /** The PROXY header of the connection; null: there is none. */
  saidEnds: Ends | undefined | null = null;
  redirectPort: number | undefined;
  private state: State = "open";
  private readonly reader = new FrameReader();
  private readonly frames: Http2Frames;
  private readonly reading: ClientReading;
  private spare: Http2Stream[] = [];
  /** Whether GOAWAY was sent, with the last possible stream, or with the last one that is served. */
  private leaving: "no" | "announced" | "final" = "no";
  private wasServed = false;
  private slowReader: SlowReader | undefined;
  // Deadlines, in milliseconds of `Deadlines.now`.
  private idleBy: number;
  private headBy = NEVER;
  private settingsBy: number;
  private sendBy = NEVER;
  private drainBy = NEVER;

  constructor(
    private readonly relay: Relay,
    private readonly connection: Connection,
    readonly peer: Peer,
    private readonly scratch: Http2Scratch,
    /** Called when the descriptor is closed, so that a drain notices the last one. */
    private readonly onGone: (gone: Http2Downstream) => void,
  ) {
    const { deadlines, limits } = relay;
    this.frames = new Http2Frames(relay, this, scratch.text, scratch.line);
    this.output = new Http2Output(relay, connection, this.frames.floods, this);
    this.reading = new ClientReading(connection, relay.turnShare, relay.budget, this);
    this.idleBy = deadlines.now + limits.headTimeoutMs;
    this.settingsBy = deadlines.now + SETTINGS_TIMEOUT_MS;
    deadlines.add(this);
    this.output.greet();
    this.setDeadline();
    if (relay.isDraining) this.drain();
  }

  get isOpen(): boolean {
    return this.state === "open";
  }

  get takesNoMore(): boolean {
    return this.leaving === "final";
  }

  get ends(): Ends | undefined {
    return this.saidEnds === null ? this.connection.ends : this.saidEnds;
  }

  get isLeaving(): boolean {
    return this.relay.isDraining || this.leaving !== "no";
  }

  /** Since when the client owes a request, in milliseconds of `Deadlines.now`; Infinity: it does not. */
  get owesRequestSince(): number {
    if (!this.isOpen || this.streams.size > 0) return NEVER;
    return this.idleBy - this.idleMs;
  }

  /** Whether it has had a response, and has sent nothing of a further request. */
  get isKept(): boolean {
    return this.wasServed && this.headBy === NEVER;
  }

  private get idleMs(): number {
    const { limits, isDraining } = this.relay;
    if (!this.wasServed) return limits.headTimeoutMs;
    return isDraining ? limits.idleDrainMs : limits.keepAliveTimeoutMs;
  }

  /** Closes the connection of a client that owes a request, for another client. */
  giveWay(): void {
    this.leave(ErrorCode.NO_ERROR);
  }

  /** Refuses a client beyond the limits of connections. */
  refuse(status: 429 | 503): void {
    this.relay.counters.answered(status, 0);
    this.relay.accessLog?.refused(this.peer, status, 0);
    this.leave(ErrorCode.ENHANCE_YOUR_CALM);
  }

  /** Returns the requests that instances have not finished. */
  openRequests(): OpenRequest[] {
    return [...this.streams.values()].flatMap((stream) => stream.openRequest() ?? []);
  }

  /** Ends responses that last, up to so many, between two frames or events. Returns how many. */
  endEarly(most: number): number {
    let count = 0;
    for (const stream of [...this.streams.values()])
      if (count + 1 <= most && stream.isDrained && stream.endEarly()) count++;
    return count;
  }

  // Called by the connection.

  onData(bytes: Buffer): boolean {
    switch (this.state) {
      case "open":
        this.frames.beginTurn();
        this.receive(bytes);
        return this.isOpen ? !this.isHeld(bytes) : this.dropInput();
      case "lingering":
        this.reading.countBody(bytes.length, false);
        return true;
      case "closing":
      case "closed":
        return true;
    }
  }

  /** Whether a part of these bytes is still needed. */
  private isHeld(bytes: Buffer): boolean {
    const { touched } = this.frames;
    let isHeld = this.reader.holds(bytes);
    for (const { exchange } of touched) if (exchange.holds(bytes)) isHeld = true;
    touched.length = 0;
    if (!this.reader.isWaiting) this.frames.hasLent = false;
    return isHeld;
  }

  private dropInput(): true {
    this.reader.clear();
    this.reader.freeSpent(!this.frames.hasLent);
    this.frames.clear();
    return true;
  }

  private receive(bytes: Buffer): void {
    const start = this.frames.takePreface(bytes);
    if (start < 0) return this.leave(ErrorCode.PROTOCOL_ERROR);
    if (start === bytes.length) return;
    const rest = start === 0 ? bytes : bytes.subarray(start);
    if (!this.reader.read(rest, this.frames)) return this.leave(this.reader.error);
    this.afterRead();
  }

  private afterRead(): void {
    if (!this.isOpen) return;
    const { reader, reading, frames } = this;
    for (const stream of frames.touched) stream.flushBody();
    if (!frames.countBodies()) return this.leave(ErrorCode.ENHANCE_YOUR_CALM);
    if (frames.units > 0) {
      reading.countBody(frames.units, frames.units < FREE_TURN_UNITS);
      frames.units = 0;
    }
    if (reader.isWaiting) reading.waitForTurn();
    const isPartial = reader.isPartial || frames.isPartial;
    if (isPartial === (this.headBy !== NEVER)) return;
    this.headBy = isPartial ? this.relay.deadlines.now + this.relay.limits.headTimeoutMs : NEVER;
    this.setDeadline();
  }

  /** Called by its reading: it has a turn again. */
  onTurn(): void {
    if (!this.isOpen || !this.reader.isWaiting || this.reading.isPausedFor(Pause.UNREAD)) return;
    this.frames.beginTurn();
    if (!this.reader.readOn(this.frames)) return this.leave(this.reader.error);
    this.afterRead();
    if (this.isOpen) this.frames.touched.length = 0;
    else this.dropInput();
    this.reader.freeSpent(!this.frames.hasLent);
    if (!this.reader.isWaiting) this.frames.hasLent = false;
  }

  onDrain(): void {
    this.sendBy = NEVER;
    if (!this.isOpen) return;
    this.setDeadline();
    this.output.onDrained();
    this.reading.resume(Pause.UNREAD);
    if (this.reader.isWaiting) this.reading.waitForTurn();
  }

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

  /** Called each second: a paused client can disconnect unnoticed. */
  lookIfLeft(): void {
    if (this.reading.hasPeerLeft(this.isOpen && this.streams.size > 0)) this.onEnd();
  }

  // Called by its frames.

  start(id: number, isWhole: boolean): void {
    const { relay, scratch, streams, frames } = this;
    const stream = this.spare.pop() ?? new Http2Stream(relay, this, this.peer, scratch.response);
    if (streams.size === 0) this.idleBy = NEVER;
    streams.set(id, stream);
    this.wasServed = true;
    stream.begin(id, frames.peerSettings.windowBytes, scratch.text, isWhole);
  }

  refuseMalformed(): void {
    this.relay.counters.answered(400, 0);
    this.relay.accessLog?.refused(this.peer, 400, 0);
  }

  onSettingsAcknowledged(): void {
    this.settingsBy = NEVER;
    this.setDeadline();
  }

  // Called by its streams.

  useBody(bytes: number): void {
    this.frames.useBody(bytes);
  }

  countFault(): void {
    this.frames.countReset();
  }

  release(stream: Http2Stream, isReset: boolean): void {
    const { streams, relay, frames } = this;
    streams.delete(stream.id);
    frames.ended.add(stream.id, isReset);
    if (!this.isOpen) return stream.exchange.leave();
    this.spare.push(stream);
    if (streams.size > 0) return;
    while (this.spare.length > MAX_SPARE_STREAMS) this.spare.pop()?.exchange.leave();
    if (this.leaving === "final") return this.leave(ErrorCode.NO_ERROR);
    this.idleBy = relay.deadlines.now + this.idleMs;
    this.setDeadline();
  }

  onBlocked(): void {
    if (!this.isOpen) return;
    const { relay, connection } = this;
    this.slowReader ??= new SlowReader(connection, relay.limits.sendTimeoutMs);
    this.sendBy = this.slowReader.begin(relay.deadlines.now);
    this.setDeadline();
    if (connection.waitingBytes > MAX_UNWRITTEN_BYTES) this.reading.pause(Pause.UNREAD);
  }

  giveUnreadWay(): void {
    for (const { exchange } of this.streams.values()) if (exchange.hasResponse) exchange.abort();
    this.abort();
  }

  // The end.

  /** A drain has begun: the client sends further requests elsewhere, and requests in transit are still served (RFC 9113 §6.8). */
  drain(): void {
    if (!this.isOpen || this.leaving !== "no") return;
    this.leaving = "announced";
    this.output.frames.goaway(MAX_STREAM_ID, ErrorCode.NO_ERROR);
    this.output.flushSoon();
    this.drainBy = this.relay.deadlines.now + LAST_REQUESTS_MS;
    this.setDeadline();
  }

  /** The client has known of the drain for a while. */
  private refuseFurther(): void {
    this.leaving = "final";
    this.drainBy = NEVER;
    if (this.streams.size === 0) return this.leave(ErrorCode.NO_ERROR);
    this.output.frames.goaway(this.frames.lastStream, ErrorCode.NO_ERROR);
    this.output.flushSoon();
    this.setDeadline();
  }

  /** Closes the connection if no request is in progress or arriving; called at the end of a drain's grace. */
  closeIfIdle(): void {
    if (this.isOpen && this.streams.size === 0 && this.headBy === NEVER) this.leave(ErrorCode.NO_ERROR);
  }

  onDeadline(): void {
    const { now } = this.relay.deadlines;
    switch (this.state) {
      case "open":
        if (now >= this.sendBy) {
          this.sendBy = this.slowReader?.lookAtPace(now, this.relay.limits.minBodyBytesPerSecond / 1000) ?? 0;
          if (this.sendBy === 0) return this.abort();
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

  private setDeadline(): void {
    if (this.isOpen) this.deadlineAt = Math.min(this.idleBy, this.headBy, this.settingsBy, this.sendBy, this.drainBy);
  }

  /** Sends GOAWAY and ends the connection. */
  leave(error: number): void {
    if (!this.isOpen) return;
    this.state = "lingering";
    this.output.frames.goaway(this.frames.lastStream, error);
    this.dropStreams();
    this.output.write();
    // The write may have ended it.
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

  /** Handles the closed descriptor. */
  private forget(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.dropStreams();
    this.letGo();
    this.relay.deadlines.remove(this);
    this.onGone(this);
  }

  private letGo(): void {
    this.reading.leave();
    this.dropInput();
    this.output.close();
    for (const { exchange } of this.spare) exchange.leave();
    this.spare = [];
  }
}
