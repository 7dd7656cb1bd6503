/** An upstream that keeps every received byte and responds as scripted. */
import net from "node:net";
import type { Protocol } from "./balancer-process.js";
import { Changes } from "./changes.js";
import { LaneGateway } from "./lane-gateway.js";

/** The members of a connection's socket that tests use. */
export interface UpstreamSocket {
  readonly destroyed: boolean;
  readonly readableEnded: boolean;
  write(data: string | Uint8Array, done?: () => void): boolean;
  write(data: string | Uint8Array, encoding: BufferEncoding, done?: () => void): boolean;
  end(): void;
  end(data: string): void;
  destroy(): void;
}

/** A connection; over the lane, one stream that looks like a connection. */
export interface UpstreamConnection {
  socket: UpstreamSocket;
  /** All bytes received on this connection, as latin1; over the lane, their HTTP/1.1 equivalent. */
  received: string;
}

export class ScriptedUpstream {
  readonly connections: UpstreamConnection[] = [];
  /** All accepted connections; a lane is one connection, however many requests it carries. */
  readonly accepted: net.Socket[] = [];
  private readonly server: net.Server;
  private readonly changes = new Changes();

  /** `onBytes` is called for each connection that received bytes, after they were added to `received`. */
  static async listen(
    path: string,
    onBytes: (connection: UpstreamConnection) => void,
    protocol: Protocol = "http1",
  ): Promise<ScriptedUpstream> {
    const upstream = new ScriptedUpstream(path, onBytes, protocol);
    await new Promise<void>((resolve) => upstream.server.once("listening", resolve));
    return upstream;
  }

  private constructor(
    readonly path: string,
    private readonly onBytes: (connection: UpstreamConnection) => void,
    protocol: Protocol,
  ) {
    this.server = net.createServer({ allowHalfOpen: true }, (socket) => {
      this.accepted.push(socket);
      if (protocol === "lane") this.serveLane(socket);
      else this.serveHttp1(socket);
    });
    this.server.listen(path);
  }

  private serveHttp1(socket: net.Socket): void {
    const connection: UpstreamConnection = { socket, received: "" };
    this.connections.push(connection);
    socket.on("error", () => {});
    socket.on("close", () => this.changes.tell());
    socket.on("end", () => this.changes.tell());
    socket.on("data", (bytes) => {
      connection.received += bytes.toString("latin1");
      this.onBytes(connection);
      this.changes.tell();
    });
  }

  private serveLane(socket: net.Socket): void {
    new LaneGateway(socket, {
      onConnection: (connection) => this.connections.push(connection),
      onBytes: this.onBytes,
      onChange: () => this.changes.tell(),
    });
  }

  /** All bytes received on any connection. */
  get received(): string {
    return this.connections.map((connection) => connection.received).join("");
  }

  /** Waits until a condition holds for this upstream. */
  until(holds: (upstream: ScriptedUpstream) => boolean, what: string, timeoutMs?: number): Promise<void> {
    return this.changes.until(
      () => holds(this),
      () => `the upstream never saw: ${what}; it got: ${this.received}`,
      timeoutMs,
    );
  }

  async close(): Promise<void> {
    for (const socket of this.accepted) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}

/** Returns an `onBytes` that responds to each request without a body with the same bytes, as soon as its head is complete. */
export function respondEach(response: string): (connection: UpstreamConnection) => void {
  const answered = new WeakMap<UpstreamConnection, number>();
  return (connection) => {
    const heads = connection.received.split("\r\n\r\n").length - 1;
    for (let i = answered.get(connection) ?? 0; i < heads; i++) connection.socket.write(response, "latin1");
    answered.set(connection, heads);
  };
}

export const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: x\r\n\r\nhello";
