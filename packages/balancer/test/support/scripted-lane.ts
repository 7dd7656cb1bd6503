/** An upstream that speaks the lane protocol: it keeps every frame, and responds as scripted. */

import net from "node:net";
import { FRAME_HEADER_BYTES, FrameType, LANE_VERSION, MAGIC } from "@paceline/wire/lane/protocol";
import { frameBytes } from "../../../wire/test/support/lane-frames.js";
import { Changes } from "./changes.js";

const METHODS = ["", "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"];

export interface HeardFrame {
  type: number;
  id: number;
  payload: Buffer;
}

export interface Received {
  status?: number;
  /** Flags of a RESPONSE: 1 no body follows, 2 the length is given. */
  flags?: number;
  length?: number;
  reason?: string;
  /** The fields as lines, with the empty line. */
  lines?: string;
}

export interface LaneScript {
  /** The initial window of each request's body, in bytes. Default: 131072. */
  window?: number;
  /** The maximum number of streams. Default: 1000. */
  streams?: number;
  /** Sends the reply to HELLO. Default: its own HELLO. */
  greet?(lane: ScriptedLaneConnection): void;
  onRequest?(request: ScriptedRequest): void;
  /** Called for each frame, after it was recorded. */
  onFrame?(frame: HeardFrame): void;
}

/** A request received over a lane. */
export class ScriptedRequest {
  body = "";
  hasEnded = false;
  isCancelled = false;
  isWithdrawn = false;
  readonly method: string;
  readonly target: string;
  readonly flags: number;

  constructor(
    readonly lane: ScriptedLaneConnection,
    readonly id: number,
    payload: Buffer,
  ) {
    const text = payload.toString("latin1");
    this.flags = payload[1] as number;
    const nameEnd = 10 + (payload[9] as number);
    this.method = METHODS[payload[0] as number] || text.slice(10, nameEnd);
    this.target = text.slice(nameEnd, nameEnd + payload.readUIntLE(4, 3));
    this.hasEnded = (this.flags & 1) !== 0;
  }

  say(type: number, payload: Uint8Array | string = ""): this {
    this.lane.say(type, this.id, payload);
    return this;
  }

  begun(): this {
    return this.say(FrameType.STARTED);
  }

  head({ status = 200, flags = 0, length = 0, reason = "", lines = "\r\n" }: Received): this {
    const fixed = Buffer.alloc(15);
    fixed.writeUInt16LE(status, 0);
    fixed[2] = flags;
    fixed.writeUIntLE(length, 8, 6);
    fixed[14] = reason.length;
    return this.say(FrameType.RESPONSE, Buffer.concat([fixed, Buffer.from(reason + lines, "latin1")]));
  }

  /** Sends a complete response with this text. */
  respond(text: string): this {
    return this.head({ flags: 2, length: text.length }).say(FrameType.END, text);
  }

  grant(bytes: number): this {
    const payload = Buffer.alloc(4);
    payload.writeUInt32LE(bytes);
    return this.say(FrameType.WINDOW, payload);
  }

  /** Reports for a CANCEL or WITHDRAW whether the handler had been called. */
  cancelled(wasBegun: boolean): this {
    return this.say(FrameType.CANCELLED, Uint8Array.of(wasBegun ? 1 : 0));
  }
}

export class ScriptedLaneConnection {
  readonly frames: HeardFrame[] = [];
  readonly requests: ScriptedRequest[] = [];
  /** Set when the balancer has closed the lane. */
  isClosed = false;
  private rest: Buffer = Buffer.alloc(0);
  private corked: Buffer[] | undefined;

  constructor(
    readonly socket: net.Socket,
    private readonly script: LaneScript,
  ) {}

  say(type: number, id = 0, payload: Uint8Array | string = ""): void {
    this.write(frameBytes({ type, id, payload: Buffer.from(payload) }));
  }

  /** Sends all frames of the callback in one write. */
  together(say: () => void): void {
    this.corked = [];
    say();
    const bytes = Buffer.concat(this.corked);
    this.corked = undefined;
    this.write(bytes);
  }

  write(bytes: Buffer): void {
    if (this.corked !== undefined) this.corked.push(bytes);
    else this.socket.write(bytes);
  }

  hello(version: number = LANE_VERSION, magic: number = MAGIC): void {
    const { window = 131_072, streams = 1000 } = this.script;
    const payload = Buffer.alloc(14);
    payload.writeUInt32LE(magic, 0);
    payload.writeUInt16LE(version, 4);
    payload.writeUInt32LE(window, 6);
    payload.writeUInt32LE(streams, 10);
    this.say(FrameType.HELLO, 0, payload);
  }

  /** The text of the received CLOSE, if any. */
  get closeText(): string | undefined {
    return this.frames.find(({ type }) => type === FrameType.CLOSE)?.payload.toString();
  }

  onData(bytes: Buffer): void {
    this.rest = Buffer.concat([this.rest, bytes]);
    while (this.rest.length >= FRAME_HEADER_BYTES) {
      const end = FRAME_HEADER_BYTES + this.rest.readUIntLE(0, 3);
      if (this.rest.length < end) return;
      const frame = {
        type: this.rest[3] as number,
        id: this.rest.readUInt32LE(4),
        payload: this.rest.subarray(FRAME_HEADER_BYTES, end),
      };
      this.rest = this.rest.subarray(end);
      this.frames.push(frame);
      this.take(frame);
      this.script.onFrame?.(frame);
    }
  }

  private take({ type, id, payload }: HeardFrame): void {
    const request = this.requests.findLast((each) => each.id === id);
    switch (type) {
      case FrameType.HELLO:
        if (this.script.greet === undefined) this.hello();
        else this.script.greet(this);
        return;
      case FrameType.REQUEST: {
        const begun = new ScriptedRequest(this, id, payload);
        this.requests.push(begun);
        this.script.onRequest?.(begun);
        return;
      }
      case FrameType.DATA:
      case FrameType.END:
        if (request === undefined) return;
        request.body += payload.toString("latin1");
        if (type === FrameType.END) request.hasEnded = true;
        return;
      case FrameType.CANCEL:
        if (request !== undefined) request.isCancelled = true;
        return;
      case FrameType.WITHDRAW:
        if (request !== undefined) request.isWithdrawn = true;
        return;
      default:
        return;
    }
  }
}

export class ScriptedLane {
  readonly lanes: ScriptedLaneConnection[] = [];
  private readonly server: net.Server;
  private readonly changes = new Changes();

  static async listen(path: string, script: LaneScript): Promise<ScriptedLane> {
    const upstream = new ScriptedLane(path, script);
    await new Promise<void>((resolve) => upstream.server.once("listening", resolve));
    return upstream;
  }

  private constructor(
    readonly path: string,
    script: LaneScript,
  ) {
    this.server = net.createServer({ allowHalfOpen: true }, (socket) => {
      const lane = new ScriptedLaneConnection(socket, script);
      this.lanes.push(lane);
      socket.on("error", () => {});
      for (const event of ["end", "close"]) {
        socket.on(event, () => {
          lane.isClosed = true;
          this.changes.tell();
        });
      }
      socket.on("data", (bytes) => {
        lane.onData(bytes);
        this.changes.tell();
      });
    });
    this.server.listen(path);
  }

  /** All requests on any lane, in order. */
  get requests(): ScriptedRequest[] {
    return this.lanes.flatMap(({ requests }) => requests);
  }

  get frames(): HeardFrame[] {
    return this.lanes.flatMap(({ frames }) => frames);
  }

  /** Returns the request with this target. */
  asked(target: string): ScriptedRequest | undefined {
    return this.requests.find((request) => request.target === target);
  }

  /** Waits for the request with this target. */
  async request(target: string): Promise<ScriptedRequest> {
    await this.until(() => this.asked(target) !== undefined, `the request for ${target}`);
    return this.asked(target) as ScriptedRequest;
  }

  /** Waits until a condition holds for this upstream. */
  until(holds: (upstream: ScriptedLane) => boolean, what: string): Promise<void> {
    return this.changes.until(
      () => holds(this),
      () => {
        const heard = this.frames.map(({ type, id, payload }) => `${type}:${id}:${payload.length}`);
        return `the upstream never saw: ${what}; it got: ${heard.join(" ")}`;
      },
    );
  }

  async close(): Promise<void> {
    for (const { socket } of this.lanes) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}

/** Responds to each request with its target. */
export function respondAll(request: ScriptedRequest): void {
  if ((request.flags & 2) === 0) request.begun();
  request.respond(request.target);
}
