/** An upstream that keeps every byte it gets and answers as a test tells it. */
import net from "node:net";
import { Changes } from "./changes.js";

export interface UpstreamConnection {
  socket: net.Socket;
  /** All bytes received on this connection, as latin1. */
  received: string;
}

export class ScriptedUpstream {
  readonly connections: UpstreamConnection[] = [];
  private readonly server: net.Server;
  private readonly changes = new Changes();

  /** `onBytes` is called with each connection that got bytes, after they were added to `received`. */
  static async listen(path: string, onBytes: (connection: UpstreamConnection) => void): Promise<ScriptedUpstream> {
    const upstream = new ScriptedUpstream(path, onBytes);
    await new Promise<void>((resolve) => upstream.server.once("listening", resolve));
    return upstream;
  }

  private constructor(
    readonly path: string,
    onBytes: (connection: UpstreamConnection) => void,
  ) {
    this.server = net.createServer({ allowHalfOpen: true }, (socket) => {
      const connection: UpstreamConnection = { socket, received: "" };
      this.connections.push(connection);
      socket.on("error", () => {});
      socket.on("close", () => this.changes.tell());
      socket.on("end", () => this.changes.tell());
      socket.on("data", (bytes) => {
        connection.received += bytes.toString("latin1");
        onBytes(connection);
        this.changes.tell();
      });
    });
    this.server.listen(path);
  }

  /** All bytes received on any connection. */
  get received(): string {
    return this.connections.map((connection) => connection.received).join("");
  }

  /** Waits until something holds of this upstream. */
  until(holds: (upstream: ScriptedUpstream) => boolean, what: string, timeoutMs?: number): Promise<void> {
    return this.changes.until(
      () => holds(this),
      () => `the upstream never saw: ${what}; it got: ${this.received}`,
      timeoutMs,
    );
  }

  async close(): Promise<void> {
    for (const { socket } of this.connections) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}

/** An `onBytes` that answers each request without a body with the same answer, once its head is whole. */
export function answerEach(answer: string): (connection: UpstreamConnection) => void {
  const answered = new WeakMap<UpstreamConnection, number>();
  return (connection) => {
    const heads = connection.received.split("\r\n\r\n").length - 1;
    for (let i = answered.get(connection) ?? 0; i < heads; i++) connection.socket.write(answer, "latin1");
    answered.set(connection, heads);
  };
}

export const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: x\r\n\r\nhello";
