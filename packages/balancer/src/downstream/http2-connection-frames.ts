/**
 * Processes the frames that concern an HTTP/2 client's whole connection (RFC 9113 §6): preface, settings, pings, its window. Detects
 * floods.
 */
import type { Relay } from "../exchange/relay.js";
import { Floods } from "../http2/flood.js";
import { PeerSettings } from "../http2/peer-settings.js";
import { ErrorCode, Flag, PREFACE } from "../http2/protocol.js";
import { ConnectionWindow } from "../http2/windows.js";
import { CHUNK_UNITS, MAX_TURN_REQUESTS } from "../transport/reading.js";
import type { Http2Output } from "./http2-output.js";
import type { Http2Stream } from "./http2-stream.js";

/** The cost of changing one stream's window by a setting, in units of a turn's share. */
const WINDOW_UNITS = 1024;

/** What the frames need of the connection. */
export interface FramesOwner {
  readonly output: Http2Output;
  readonly streams: ReadonlyMap<number, Http2Stream>;
  readonly isOpen: boolean;
  /** Whether further streams are refused. */
  readonly takesNoMore: boolean;
  /** Ends the connection with one of the errors in ErrorCode. */
  leave(error: number): void;
  /**
   * Starts a stream with the request in the text.
   * @param isWhole whether no body follows
   */
  start(id: number, isWhole: boolean): void;
  /** Called when a request is malformed. */
  refuseMalformed(): void;
  onSettingsAcknowledged(): void;
}

export abstract class ConnectionFrames {
  readonly peerSettings = new PeerSettings();
  readonly floods: Floods;
  /** The cost of the frames since the last reset of this number, in units of a turn's share. */
  units = 0;
  wasFlood = false;
  protected requestsLeft = MAX_TURN_REQUESTS;
  protected hasSettings = false;
  protected readonly window: ConnectionWindow;
  private prefaceBytes = 0;

  constructor(
    protected readonly relay: Relay,
    protected readonly owner: FramesOwner,
  ) {
    this.window = new ConnectionWindow(relay.budget);
    this.floods = new Floods(relay.deadlines);
  }

  /** Returns the position after the preface; -1 if the client does not speak HTTP/2. */
  takePreface(bytes: Uint8Array): number {
    let at = 0;
    while (this.prefaceBytes < PREFACE.length && at < bytes.length)
      if (bytes[at++] !== PREFACE[this.prefaceBytes++]) return -1;
    return at;
  }

  /** Called at the start of a read, or of a further turn for bytes that were read before. */
  beginTurn(): void {
    this.requestsLeft = MAX_TURN_REQUESTS;
  }

  /** Ends the connection because of an error of the client. */
  protected stop(error: number): false {
    this.wasFlood = error === ErrorCode.ENHANCE_YOUR_CALM;
    this.owner.leave(error);
    return false;
  }

  /** Counts a frame without useful content. */
  protected countIdle(): boolean {
    if (!this.owner.isOpen) return false;
    this.units += CHUNK_UNITS;
    return this.floods.takeIdle() || this.stop(ErrorCode.ENHANCE_YOUR_CALM);
  }

  /** Counts a stream that was reset by the client, or by the balancer because of an error of the client. */
  countReset(): boolean {
    if (!this.owner.isOpen) return false;
    return this.floods.takeReset() || this.stop(ErrorCode.ENHANCE_YOUR_CALM);
  }

  /** Called when bytes of bodies were used, so that the client may send as many more. */
  useBody(bytes: number): void {
    this.window.use(bytes);
    this.grantMore(this.window.grant());
  }

  /** Counts received bytes of bodies that are not used yet. Returns false if there is no room for them. */
  countBodies(): boolean {
    if (!this.window.count(this.owner.streams.size)) return false;
    this.grantMore(this.window.widen());
    return true;
  }

  private grantMore(granted: number): void {
    if (granted === 0 || !this.owner.isOpen) return;
    const { output } = this.owner;
    output.frames.window(0, granted);
    output.flushSoon();
  }

  protected onSettings(flags: number, id: number, bytes: Buffer, start: number, end: number): boolean {
    if (id !== 0) return this.stop(ErrorCode.PROTOCOL_ERROR);
    const { owner, peerSettings } = this;
    if ((flags & Flag.ACK) !== 0) {
      if (end > start) return this.stop(ErrorCode.FRAME_SIZE_ERROR);
      owner.onSettingsAcknowledged();
      return this.countIdle();
    }
    const { windowBytes } = peerSettings;
    const error = peerSettings.take(bytes, start, end);
    if (error !== ErrorCode.NO_ERROR) return this.stop(error);
    this.hasSettings = true;
    const { output } = owner;
    output.encoder.resize(peerSettings.tableBytes);
    output.frames.settingsAck();
    output.flushSoon();
    const change = peerSettings.windowBytes - windowBytes;
    if (change === 0 || owner.streams.size === 0) return this.countIdle();
    if (!this.changeWindows(change)) return this.stop(ErrorCode.FLOW_CONTROL_ERROR);
    // The change may let each stream send a few bytes, so it costs as much as one frame per stream.
    const { size } = owner.streams;
    if (!this.floods.takeIdle(size)) return this.stop(ErrorCode.ENHANCE_YOUR_CALM);
    return this.countIdle() && this.relay.turnShare.take(WINDOW_UNITS * size);
  }

  /** Changes the initial windows of all streams (RFC 9113 §6.9.2). Returns false if one becomes too large. */
  private changeWindows(change: number): boolean {
    const { streams, output } = this.owner;
    for (const { response } of streams.values()) if (!response.sendWindow.change(change)) return false;
    if (change > 0) output.sendWaiting();
    return true;
  }

  protected onPing(flags: number, id: number, bytes: Buffer, start: number, end: number): boolean {
    if (id !== 0) return this.stop(ErrorCode.PROTOCOL_ERROR);
    if (end - start !== 8) return this.stop(ErrorCode.FRAME_SIZE_ERROR);
    if ((flags & Flag.ACK) === 0) {
      const { output } = this.owner;
      output.frames.pong(bytes, start);
      output.flushSoon();
    }
    return this.countIdle();
  }

  protected onGoaway(id: number, length: number): boolean {
    if (id !== 0) return this.stop(ErrorCode.PROTOCOL_ERROR);
    return length < 8 ? this.stop(ErrorCode.FRAME_SIZE_ERROR) : this.countIdle();
  }

  /** The connection's window grows. */
  protected onConnectionWindow(more: number): boolean {
    if (more === 0) return this.stop(ErrorCode.PROTOCOL_ERROR);
    return this.owner.output.grant(more) ? this.countIdle() : this.stop(ErrorCode.FLOW_CONTROL_ERROR);
  }
}
