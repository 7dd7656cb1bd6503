/** Listens on channel.sock, and accepts only processes that the supervisor has spawned. */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import {
  CHANNEL_VERSION,
  type ChildMessage,
  type Hello,
  isNeighbour,
  LineFramer,
  parseChildMessage,
  type SupervisorMessage,
} from "@paceline/wire";

/** A child with more unread bytes than this is disconnected. The child reconnects and receives the current state. */
const MAX_WAITING_BYTES = 8 << 20;

/** A child's connection to channel.sock: a bounded send queue, and the child to which it belongs. */
export class ChannelConnection {
  constructor(private readonly socket: Socket) {}

  send(message: SupervisorMessage): void {
    if (this.socket.destroyed) return;
    this.socket.write(`${JSON.stringify(message)}\n`);
    if (this.socket.writableLength > MAX_WAITING_BYTES) this.socket.destroy();
  }

  /** Sends the reason, then closes the connection. */
  refuse(reason: string): void {
    this.send({ type: "refused", reason });
    this.close();
  }

  close(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }
}

const HELLO_TIMEOUT_MS = 5000;
const MAX_CONNECTIONS = 4096;
/** After an invalid message was reported, further ones are only counted for this time, in milliseconds. */
const QUIET_MS = 60_000;

/** The callbacks of the control channel server. `C` represents a child. */
interface ChannelServerOptions<C> {
  path: string;
  /** Returns the child with this token, or undefined. */
  findChild(token: string): C | undefined;
  /** Returns why this hello is refused; undefined when it is accepted. */
  objection(child: C, hello: Hello): string | undefined;
  onHello(child: C, hello: Hello, connection: ChannelConnection): void;
  onMessage(child: C, message: Exclude<ChildMessage, Hello>): void;
  /** Called when the connection that carried the child's last hello has closed. */
  onClose(child: C, connection: ChannelConnection): void;
  onProblem(message: string): void;
}

export class ChannelServer<C> {
  private server: Server;
  private readonly sockets = new Set<Socket>();
  /** The number of invalid messages since the last report, and when the next one may be reported. */
  private unreported = 0;
  private quietUntil = 0;

  constructor(private readonly options: ChannelServerOptions<C>) {
    this.server = this.create();
  }

  private create(): Server {
    const server = createServer((socket) => this.accept(socket));
    server.maxConnections = MAX_CONNECTIONS;
    return server;
  }

  /** Creates the socket again after it was removed. Existing connections continue. */
  listenAgain(): Promise<void> {
    this.server.close();
    this.server = this.create();
    return this.listen();
  }

  /** Resolves when children can connect, or when the server is closed before that. Rejects with the system's error. */
  listen(): Promise<void> {
    const { path } = this.options;
    // Only Paceline writes to the run directory, so an existing file was left behind by a crash.
    rmSync(path, { force: true });
    return new Promise((resolve, reject) => {
      this.server.once("error", reject);
      this.server.once("close", resolve);
      this.server.listen({ path }, () => {
        this.server.off("error", reject);
        this.server.on("error", (error) => this.options.onProblem(`channel.sock: ${error.message}`));
        chmodSync(path, 0o600);
        resolve();
      });
    });
  }

  /** Closes every connection and removes the socket. */
  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    rmSync(this.options.path, { force: true });
  }

  private accept(socket: Socket): void {
    const { options } = this;
    const connection = new ChannelConnection(socket);
    let child: C | undefined;
    const helloTimer = setTimeout(() => socket.destroy(), HELLO_TIMEOUT_MS);
    const hear = (line: string) => {
      if (socket.destroyed) return;
      try {
        const message = parseChildMessage(line);
        if (message?.type !== "hello") {
          if (child === undefined) socket.destroy();
          else if (message !== undefined) options.onMessage(child, message);
        } else if (child === undefined) {
          child = this.admit(message, connection);
          if (child !== undefined) clearTimeout(helloTimer);
        }
      } catch (error) {
        this.reportInvalid((error as Error).message);
        socket.destroy();
      }
    };
    const framer = new LineFramer(hear);
    this.sockets.add(socket);
    socket.on("data", (bytes: Buffer) => {
      if (!framer.push(bytes)) socket.destroy();
    });
    // "close" follows every error and is handled below.
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(helloTimer);
      this.sockets.delete(socket);
      if (child !== undefined) options.onClose(child, connection);
    });
  }

  /** A child that keeps sending invalid messages connects again and again. */
  private reportInvalid(problem: string): void {
    const now = performance.now();
    if (now < this.quietUntil) {
      this.unreported++;
      return;
    }
    const more = this.unreported === 0 ? "" : `, after ${this.unreported} others`;
    this.options.onProblem(`channel.sock: a child sent an invalid message: ${problem}${more}`);
    this.quietUntil = now + QUIET_MS;
    this.unreported = 0;
  }

  private admit(hello: Hello, connection: ChannelConnection): C | undefined {
    const { channelVersion } = hello;
    if (!isNeighbour(channelVersion, CHANNEL_VERSION)) {
      connection.refuse(
        `this supervisor uses version ${CHANNEL_VERSION} of the control channel, not ${channelVersion}`,
      );
      return undefined;
    }
    const child = this.options.findChild(hello.token);
    const objection = child === undefined ? "no such child" : this.options.objection(child, hello);
    if (child === undefined || objection !== undefined) {
      connection.refuse(objection ?? "no such child");
      return undefined;
    }
    connection.send({ type: "welcome", pid: process.pid });
    this.options.onHello(child, hello, connection);
    return child;
  }
}
