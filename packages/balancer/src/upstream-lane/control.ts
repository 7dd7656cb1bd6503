/** The lane beside the HTTP/1.1 connections to an instance whose app is a Node handler: for control alone. */
import { FrameDecoder, type FrameSink } from "@paceline/wire/lane/frame-decoder";
import { putHello, readHello } from "@paceline/wire/lane/hello";
import { FrameType, RESPONSE_WINDOW_BYTES } from "@paceline/wire/lane/protocol";
import {
  type Connection,
  type ConnectionOwner,
  type Connector,
  NO_OWNER,
  type Transport,
} from "../transport/transport.js";
import { LaneOutput } from "./output.js";
import { Silence } from "./silence.js";

const HELLO = { window: RESPONSE_WINDOW_BYTES, maxStreams: 0, number: 0 };

export interface ControlServices {
  transport: Transport;
  onProblem(message: string): void;
}

export class ControlLane implements FrameSink, ConnectionOwner, Connector {
  /** The instance wants no new requests. */
  isGoingAway = false;
  private state: "connecting" | "greeting" | "open" | "closed" = "connecting";
  private readonly decoder = new FrameDecoder();
  private readonly output = new LaneOutput();
  private readonly silence = new Silence();
  private pings = 0;

  constructor(
    private readonly services: ControlServices,
    private readonly path: string,
  ) {
    // Its HELLO.
    this.silence.asked();
    services.transport.connect(path, this);
  }

  /** Called at each tick; answers with the silent ones in a row. @param isBusy requests are under way */
  countSilence(weight: number, isBusy: boolean): number {
    // One that was silent stays so without requests, lest the next request finds it out anew.
    if (this.state === "closed" || !(isBusy || this.silence.isAwaiting)) return 0;
    return this.silence.tick(weight, () => {
      this.output.frames.number(FrameType.PING, 0, ++this.pings);
      this.output.flushTurn();
    });
  }

  close(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.output.end()?.close();
  }

  onConnected(connection: Connection): ConnectionOwner {
    if (this.state === "closed") {
      connection.close();
      return NO_OWNER;
    }
    this.output.begin(connection);
    this.state = "greeting";
    putHello(this.output.frames, HELLO, false);
    this.output.flushTurn();
    return this;
  }

  /** Without it the instance is only not watched: its requests go their own way. */
  onConnectFailed(): void {
    this.state = "closed";
  }

  onData(bytes: Buffer): boolean {
    this.silence.heard();
    if (!this.decoder.read(bytes, this)) this.break(this.decoder.problem);
    return true;
  }

  onDrain(): void {
    this.output.onDrained();
  }

  onEnd(): void {
    this.close();
  }

  onClose(): void {
    this.output.end();
    this.state = "closed";
  }

  onFrame(type: number, _id: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.state === "closed") return;
    if (this.state === "greeting") {
      const hello = readHello(type, bytes, start, end);
      if (typeof hello === "string") return this.break(hello);
      this.state = "open";
      return;
    }
    switch (type) {
      case FrameType.PONG:
      case FrameType.BUSY:
        return;
      case FrameType.GOAWAY:
        // Answered once, however often it is said.
        if (this.isGoingAway) return;
        this.isGoingAway = true;
        this.output.frames.empty(FrameType.GOAWAY, 0);
        return this.output.flushTurn();
      case FrameType.CLOSE:
        this.services.onProblem(
          `the instance at ${this.path} closed its lane: ${Buffer.from(bytes.subarray(start, end))}`,
        );
        return this.close();
      default:
        this.break(`a frame of type ${type}, which has no place on a lane for control`);
    }
  }

  onBody(): void {
    this.break("a body, which has no place on a lane for control");
  }

  private break(problem: string): void {
    if (this.state === "closed") return;
    this.services.onProblem(`the lane to ${this.path} was closed: it brought ${problem}`);
    const text = Buffer.from(problem);
    this.output.frames.copy(FrameType.CLOSE, 0, text, 0, text.length);
    this.output.flushTurn();
    this.close();
  }
}
