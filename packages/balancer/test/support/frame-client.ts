/** An HTTP/2 client that sends exact frames, valid or not, and keeps the frames that it receives. */
import { once } from "node:events";
import type net from "node:net";
import { Changes } from "./changes.js";
import { endingOf, type Frame, framesIn } from "./http2-frames.js";
import { connectTo } from "./raw-client.js";

export class FrameClient {
  frames: Frame[] = [];
  isClosed = false;
  private rest: Buffer = Buffer.alloc(0);
  private readonly changes = new Changes();

  /** Connects, with TLS if the port needs it, and sends these bytes. */
  static async connect(port: number, ...bytes: Uint8Array[]): Promise<FrameClient> {
    const socket = connectTo(port, "127.0.0.1", ["h2"]);
    await once(socket, "encrypted" in socket ? "secureConnect" : "connect");
    const client = new FrameClient(socket);
    socket.write(Buffer.concat(bytes));
    return client;
  }

  private constructor(readonly socket: net.Socket) {
    socket.on("data", (bytes: Buffer) => {
      const { frames, rest } = framesIn(Buffer.concat([this.rest, bytes]));
      this.rest = rest;
      this.frames.push(...frames);
      this.changes.tell();
    });
    socket.on("error", () => {});
    for (const event of ["end", "close"])
      socket.on(event, () => {
        this.isClosed = true;
        this.changes.tell();
      });
  }

  async until(holds: () => boolean, what: string, timeoutMs = 5000): Promise<void> {
    const seen = () =>
      `never saw ${what}; it got ${JSON.stringify(this.frames.slice(0, 200).map((it) => [it.type, it.flags, it.stream]))}`;
    await this.changes.until(holds, seen, timeoutMs);
  }

  has(fits: (frame: Frame) => boolean): boolean {
    return this.frames.some(fits);
  }

  get endings(): string[] {
    return this.frames.flatMap((it) => endingOf(it) ?? []);
  }
}
