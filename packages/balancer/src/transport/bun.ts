/** The transport over Bun's sockets, whose `write` takes part of the bytes and keeps none. */
import { whosePeerLeft } from "@paceline/wire/left-peers-bun";
import { deepenBacklog } from "./bun-backlog.js";
import { afterReceipt } from "./bun-garbage.js";
import { outgoingBytes, seesOutgoing } from "./bun-outgoing.js";
import {
  CLOSE_GRACE_SECONDS,
  type Connection,
  type ConnectionOwner,
  type Connector,
  LISTEN_BACKLOG,
  type Listener,
  NO_OWNER,
  type Transport,
} from "./transport.js";
import { WaitingBytes } from "./waiting-bytes.js";

type Closing = "open" | "ending" | "closing" | "closed";

class BunConnection implements Connection {
  owner: ConnectionOwner = NO_OWNER;
  /** What the kernel has not taken yet; null almost always. */
  private waiting: WaitingBytes | null = null;
  private closing: Closing = "open";
  private writtenBytes = 0;
  /** The peer sent FIN. */
  private hasEnded = false;

  constructor(private readonly socket: Bun.Socket<BunConnection | Connector>) {}

  get remoteAddress(): string {
    return this.socket.remoteAddress ?? "";
  }

  get waitingBytes(): number {
    return this.waiting === null ? 0 : this.waiting.length;
  }

  get seesAcknowledgements(): boolean {
    return seesOutgoing;
  }

  get hasPeerLeft(): boolean {
    return this.closing !== "closed" && whosePeerLeft([this.descriptor]).length > 0;
  }

  // Bun sees it of a paused socket too.
  lookIfReset(): void {}

  private get descriptor(): number {
    // The types do not know it.
    return (this.socket as unknown as { fd: number }).fd;
  }

  acknowledgedBytes(): number {
    const outgoing = this.closing === "closed" ? 0 : outgoingBytes(this.descriptor);
    // What the kernel counts of a unix socket is more than was written.
    return Math.max(0, this.writtenBytes - this.waitingBytes - outgoing);
  }

  write(bytes: Uint8Array): boolean {
    if (this.closing !== "open") return true;
    this.writtenBytes += bytes.length;
    if (this.waiting !== null) {
      this.waiting.add(bytes);
      return false;
    }
    const taken = this.socket.write(bytes);
    if (taken === bytes.length) return true;
    // A negative count means that the peer is gone; `close` follows, and what is written then goes nowhere.
    this.waiting = new WaitingBytes();
    this.waiting.add(taken > 0 ? bytes.subarray(taken) : bytes);
    return false;
  }

  writeTransient(bytes: Uint8Array): boolean {
    return this.write(bytes);
  }

  pause(): void {
    if (this.closing !== "closed") this.socket.pause();
  }

  resume(): void {
    if (this.closing !== "closed") this.socket.resume();
  }

  end(): void {
    if (this.closing !== "open") return;
    this.closing = "ending";
    if (this.waiting === null) this.socket.shutdown();
  }

  close(awaitsClose = false): void {
    if (this.closing === "closed" || this.closing === "closing") return;
    this.closing = "closing";
    if (!awaitsClose) this.owner = NO_OWNER;
    // `end()` closes at once when nothing waits; `close()` would close the descriptor twice (Bun 1.4.5).
    if (this.waiting === null) return void this.socket.end();
    if (!awaitsClose) this.socket.timeout(CLOSE_GRACE_SECONDS);
  }

  /** The grace of a close is over. Any other timeout is not ours. */
  graceOver(): void {
    if (this.closing === "closing" && this.owner === NO_OWNER) this.reset();
  }

  reset(): void {
    if (this.closing === "closed") return;
    this.closing = "closed";
    this.owner = NO_OWNER;
    this.forget();
    this.socket.terminate();
  }

  /** The socket is writable: sends what waits, and then does what was put off until it had gone. */
  flush(): void {
    const waiting = this.waiting;
    if (waiting === null) return;
    for (let bytes = waiting.first(); bytes.length > 0; bytes = waiting.first()) {
      // A slab that was sent is freed, and its views are empty then.
      const { length } = bytes;
      const taken = this.socket.write(bytes);
      if (taken > 0) waiting.sent(taken);
      if (taken !== length) return;
    }
    this.waiting = null;
    switch (this.closing) {
      case "open":
        this.owner.onDrain();
        return;
      case "ending":
        this.socket.shutdown();
        return;
      case "closing":
        this.socket.end();
        return;
      case "closed":
        return;
    }
  }

  private forget(): void {
    this.waiting?.clear();
    this.waiting = null;
  }

  ended(): void {
    this.hasEnded = true;
    this.owner.onEnd();
  }

  closed(error?: Error): void {
    if (this.closing === "closed") return;
    // After a FIN of ours Bun reports the peer's as a close without an error, and never as an end.
    const isEnd = this.closing === "ending" && this.waiting === null && error === undefined && !this.hasEnded;
    this.closing = "closed";
    this.forget();
    if (isEnd) this.owner.onEnd();
    const owner = this.owner;
    this.owner = NO_OWNER;
    owner.onClose();
  }
}

/** Of this process. */
let openSockets = 0;

const connected = {
  data(socket: Bun.Socket<BunConnection>, bytes: Buffer): void {
    afterReceipt(bytes, socket.data.owner.onData(bytes));
  },
  drain(socket: Bun.Socket<BunConnection>): void {
    socket.data?.flush();
  },
  end(socket: Bun.Socket<BunConnection>): void {
    socket.data.ended();
  },
  timeout(socket: Bun.Socket<BunConnection | Connector>): void {
    if (socket.data instanceof BunConnection) socket.data.graceOver();
  },
  // `close` follows every error, and says all that the owner needs.
  error(): void {},
};

/** Makes the transport for this process. */
export function bunTransport(): Transport {
  return {
    name: "bun",
    get openSockets() {
      return openSockets;
    },
    listen(fd, onConnection): Listener {
      // The types know `fd` only for connect; Bun.listen takes it as well.
      const options = {
        fd,
        allowHalfOpen: true,
        socket: {
          ...connected,
          open(socket: Bun.Socket<BunConnection>): void {
            openSockets++;
            // Bun arms 120 s on every socket that it accepts, however busy.
            socket.timeout(0);
            const connection = new BunConnection(socket as never);
            socket.data = connection;
            connection.owner = onConnection(connection);
          },
          close(socket: Bun.Socket<BunConnection>, error?: Error): void {
            openSockets--;
            socket.data.closed(error);
          },
        },
      };
      const listener = Bun.listen(options as never);
      deepenBacklog(fd, LISTEN_BACKLOG);
      return { close: () => listener.stop() };
    },
    connect(address, connector): void {
      void Bun.connect<BunConnection | Connector>({
        ...(typeof address === "string" ? { unix: address } : { hostname: address.host, port: address.port }),
        data: connector,
        allowHalfOpen: true,
        socket: upstreamHandlers,
      } as never).catch((error: Error) => connector.onConnectFailed(error));
    },
  };
}

const upstreamHandlers = {
  ...connected,
  open(socket: Bun.Socket<BunConnection | Connector>): void {
    openSockets++;
    const connector = socket.data as Connector;
    const connection = new BunConnection(socket);
    socket.data = connection;
    connection.owner = connector.onConnected(connection);
  },
  // The promise of Bun.connect tells it as well, and never before connect() has returned.
  connectError(): void {},
  close(socket: Bun.Socket<BunConnection | Connector>, error?: Error): void {
    if (!(socket.data instanceof BunConnection)) return;
    openSockets--;
    socket.data.closed(error);
  },
};
