/** The transport over node:net, for Node and for platforms without Bun. */
import { readSync } from "node:fs";
import net from "node:net";
import {
  CLOSE_GRACE_SECONDS,
  type Connection,
  type ConnectionOwner,
  LISTEN_BACKLOG,
  type Listener,
  NO_OWNER,
  type Transport,
} from "./transport.js";

/** Above this many waiting bytes `write` answers false. Node counts a write as waiting until its callback has run. */
const HIGH_WATER_BYTES = 256 * 1024;

class NodeConnection implements Connection {
  owner: ConnectionOwner = NO_OWNER;
  private isClosing = false;
  private isOverfull = false;

  constructor(private readonly socket: net.Socket) {
    socket.on("data", (bytes: Buffer) => void this.owner.onData(bytes));
    socket.on("drain", () => this.drained());
    socket.on("end", () => this.owner.onEnd());
    // `close` follows every error, and says all that the owner needs.
    socket.on("error", () => {});
    socket.on("close", () => this.closed());
  }

  get remoteAddress(): string {
    return this.socket.remoteAddress ?? "";
  }

  get waitingBytes(): number {
    return this.socket.writableLength;
  }

  write(bytes: Uint8Array): boolean {
    if (this.isClosing) return true;
    this.socket.write(bytes);
    if (this.socket.writableLength <= HIGH_WATER_BYTES) return true;
    this.isOverfull = true;
    return false;
  }

  writeTransient(bytes: Uint8Array): boolean {
    return this.write(Buffer.from(bytes));
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    if (!this.isClosing) this.socket.end();
    this.isClosing = true;
  }

  close(): void {
    this.isClosing = true;
    this.owner = NO_OWNER;
    if (this.socket.writableLength > 0) {
      this.socket.setTimeout(CLOSE_GRACE_SECONDS * 1000, () => this.socket.destroy());
    }
    this.socket.destroySoon();
  }

  reset(): void {
    this.isClosing = true;
    this.owner = NO_OWNER;
    // Only TCP can be reset; a unix socket is cut.
    if (this.socket.remoteAddress === undefined) this.socket.destroy();
    else this.socket.resetAndDestroy();
  }

  private drained(): void {
    if (!this.isOverfull) return;
    this.isOverfull = false;
    this.owner.onDrain();
  }

  private closed(): void {
    const owner = this.owner;
    this.owner = NO_OWNER;
    owner.onClose();
  }
}

const REST_BYTES = 65_536;

/**
 * Node closes a socket as soon as a write finds its peer gone, and with it what the peer said before it went: of an instance
 * that was killed that may be which requests it had begun. So that is read first.
 */
function readRestWhenWriteFails(socket: net.Socket): void {
  const { _destroy: destroy } = socket;
  socket._destroy = (error, callback) => {
    const { fd } = (socket as unknown as { _handle: { fd: number } | null })._handle ?? { fd: -1 };
    const isWrite = (error as NodeJS.ErrnoException | null)?.syscall === "write";
    // What is paused has bytes before these, and its owner wants none now.
    if (isWrite && fd >= 0 && !socket.isPaused()) {
      for (let rest = readRest(fd); rest.length > 0; rest = readRest(fd)) socket.emit("data", rest);
    }
    destroy.call(socket, error, callback);
  };
}

/** What is there to be read; nothing at the end, and where there is an error instead. */
function readRest(fd: number): Buffer {
  const bytes = Buffer.allocUnsafe(REST_BYTES);
  try {
    return bytes.subarray(0, readSync(fd, bytes));
  } catch {
    return bytes.subarray(0, 0);
  }
}

/** Makes the transport for this process. */
export function nodeTransport(): Transport {
  return {
    name: "node",
    listen(fd, onConnection): Listener {
      const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        const connection = new NodeConnection(socket);
        connection.owner = onConnection(connection);
      });
      // Out of descriptors, say: those that wait stay in the queue until one is free.
      server.on("error", (error) => process.stderr.write(`cannot accept: ${error.message}\n`));
      server.listen({ fd, backlog: LISTEN_BACKLOG });
      return { close: () => void server.close() };
    },
    connect(path, connector): void {
      const socket = net.connect({ path, allowHalfOpen: true });
      const failed = (error: Error): void => connector.onConnectFailed(error);
      socket.once("error", failed);
      socket.once("connect", () => {
        socket.removeListener("error", failed);
        readRestWhenWriteFails(socket);
        const connection = new NodeConnection(socket);
        connection.owner = connector.onConnected(connection);
      });
    },
  };
}
