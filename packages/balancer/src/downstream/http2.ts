/** One HTTP/2 client connection: its streams, and when it is read. http2-ending.ts handles its end. */
import { type OpenRequest, SlowReader } from "@paceline/wire";
import type { Relay } from "../exchange/relay.js";
import type { Peer } from "../http1/forwarded.js";
import { ErrorCode } from "../http2/protocol.js";
import { ClientReading, Pause } from "../transport/reading.js";
import type { Connection, ConnectionOwner, Ends } from "../transport/transport.js";
import type { FramesOwner } from "./http2-connection-frames.js";
import { Http2Ending, NEVER } from "./http2-ending.js";
import { Http2Frames } from "./http2-frames.js";
import { Http2Output, type OutputOwner } from "./http2-output.js";
import type { Http2Scratch } from "./http2-scratch.js";
import { Http2Stream, type StreamHost } from "./http2-stream.js";

/** While more bytes than this wait for the client, its frames are not read, because replies to them could add more. */
const MAX_UNWRITTEN_BYTES = 262_144;
/** How long a client may take to acknowledge the settings, in milliseconds. */
const SETTINGS_TIMEOUT_MS = 10_000;
/** How many streams a connection without requests keeps for reuse. */
const MAX_SPARE_STREAMS = 16;
/** If the reads of a connection cost less than this, it does not have to share its turns. In units of a turn's share. */
const FREE_TURN_UNITS = 16_384;

export class Http2Downstream extends Http2Ending implements ConnectionOwner, FramesOwner, OutputOwner, StreamHost {
  readonly output: Http2Output;
  /** The addresses from the connection's PROXY header; null if there was none. */
  proxyEnds: Ends | undefined | null = null;
  redirectPort: number | undefined;
  protected readonly frames: Http2Frames;
  protected readonly reading: ClientReading;
  private wasServed = false;

  constructor(
    relay: Relay,
    connection: Connection,
    readonly peer: Peer,
    private readonly scratch: Http2Scratch,
    /** Called when the descriptor is closed, so that a drain notices when the last one is closed. */
    private readonly onGone: (gone: Http2Downstream) => void,
  ) {
    super(relay, connection);
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

  get ends(): Ends | undefined {
    return this.proxyEnds === null ? this.connection.ends : this.proxyEnds;
  }

  /** Since when the client owes a request, in milliseconds of `Deadlines.now`; Infinity if it owes nothing. */
  get owesRequestSince(): number {
    if (!this.isOpen || this.streams.size > 0) return NEVER;
    return this.idleBy - this.idleMs;
  }

  /** Whether the client has had a response and has not begun a further request. */
  get isKept(): boolean {
    return this.wasServed && this.headBy === NEVER;
  }

  private get idleMs(): number {
    const { limits, isDraining } = this.relay;
    if (!this.wasServed) return limits.headTimeoutMs;
    return isDraining ? limits.idleDrainMs : limits.keepAliveTimeoutMs;
  }

  /** Refuses a client because too many connections are open. */
  refuse(status: 429 | 503): void {
    this.relay.counters.countResponse(status, 0);
    this.relay.accessLog?.refused(this.peer, status, 0);
    this.leave(ErrorCode.ENHANCE_YOUR_CALM);
  }

  /** Returns the requests that instances have not finished. */
  openRequests(): OpenRequest[] {
    return [...this.streams.values()].flatMap((stream) => stream.openRequest() ?? []);
  }

  // Called by the connection:

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

  /** Whether some of these bytes are still needed. */
  private isHeld(bytes: Buffer): boolean {
    const { touched } = this.frames;
    let isHeld = this.reader.holds(bytes);
    for (const { exchange } of touched) if (exchange.holds(bytes)) isHeld = true;
    touched.length = 0;
    if (!this.reader.isWaiting) this.frames.hasLent = false;
    return isHeld;
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
    if (!frames.countBodies()) return this.leave(ErrorCode.ENHANCE_YOUR_CALM, "no-room");
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

  /** Called by its reading when it has a turn again. */
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

  // Called by its frames:

  start(id: number, isWhole: boolean): void {
    const { relay, scratch, streams, frames } = this;
    const stream =
      this.spare.pop() ??
      this.takeShared()?.moveTo(this, this.peer) ??
      new Http2Stream(relay, this, this.peer, scratch.response);
    if (streams.size === 0) this.idleBy = NEVER;
    streams.set(id, stream);
    this.wasServed = true;
    stream.begin(id, frames.peerSettings.windowBytes, scratch.text, isWhole);
  }

  refuseMalformed(): void {
    this.relay.counters.countResponse(400, 0);
    this.relay.accessLog?.refused(this.peer, 400, 0);
  }

  onSettingsAcknowledged(): void {
    this.settingsBy = NEVER;
    this.setDeadline();
  }

  // Called by its streams:

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
    if (!this.isOpen) return this.share(stream);
    this.spare.push(stream);
    if (streams.size > 0) return;
    while (this.spare.length > MAX_SPARE_STREAMS) this.share(this.spare.pop());
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

  protected onLeft(): void {
    this.onGone(this);
  }
}
