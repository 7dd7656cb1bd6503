/** The transport over Bun's sockets, whose `write` takes part of the bytes and keeps none. */

import { dlopen, ptr } from "bun:ffi";
import { leaveToCollector } from "@paceline/wire";
import { whosePeerLeft } from "@paceline/wire/left-peers-bun";
import { free, WaitingBytes } from "./buffers.js";
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

/** Bun always asks for an accept queue of 512, too few for a thousand clients at once: listen(2), called again, only changes that. On failure the queue stays as Bun made it. */
export function deepenBacklog(fd: number, backlog: number): void {
  const library = process.platform === "darwin" ? "libSystem.dylib" : "libc.so.6";
  try {
    const libc = dlopen(library, { listen: { args: ["int", "int"], returns: "int" } });
    libc.symbols.listen(fd, backlog);
    libc.close();
  } catch {
    // A libc of another name (musl): 512 waiting connections will do.
  }
}

/** From this size on a buffer's memory is given back as soon as nobody needs it. */
const LARGE_BYTES = 8192;

/** A received buffer was handed over; `isUsedUp` says that nobody kept any of it. */
export function afterReceipt(bytes: Buffer, isUsedUp: boolean): void {
  if (isUsedUp && bytes.length >= LARGE_BYTES) free(bytes);
  else leaveToCollector(bytes.length);
}

/** SIOCOUTQ of Linux. On a unix socket it counts what the peer has not read, with what it costs the kernel to keep. */
const SIOCOUTQ = 0x5411;

type Ioctl = (fd: number, request: number, out: number) => number;

const out = new Int32Array(1);
let ioctl: Ioctl | undefined;

export const seesOutgoing = process.platform === "linux";

/** Bytes that the kernel holds for the peer; 0 where it cannot be asked. */
export function outgoingBytes(fd: number): number {
  if (!seesOutgoing || fd < 0) return 0;
  ioctl ??= loadIoctl();
  return ioctl(fd, SIOCOUTQ, ptr(out)) === 0 ? (out[0] as number) : 0;
}

function loadIoctl(): Ioctl {
  try {
    // Kept for good: it is asked of every slow reader.
    return dlopen("libc.so.6", { ioctl: { args: ["int", "u64", "ptr"], returns: "int" } }).symbols.ioctl as never;
  } catch {
    // A libc of another name (musl): what left this process has to do.
    return () => -1;
  }
}
