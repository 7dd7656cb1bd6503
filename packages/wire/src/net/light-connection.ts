/** A connection to a socket of this machine, as light as the runtime has it: on Bun, node:net alone costs every process 2 MB. */
import type { Socket } from "node:net";
import type { SocketAddress } from "../control/messages.js";

export interface LightConnectionHandlers {
  onOpen(): void;
  onData(bytes: Buffer): void;
  /** Everything written so far is with the kernel. */
  onFlushed(): void;
  /** The connection is gone, or never came to be; comes once, and not after `destroy()`. */
  onClose(): void;
}

export interface LightConnection {
  /** Bytes written that the kernel has not taken yet. */
  readonly waitingBytes: number;
  /** Before `onOpen` nothing may be written. */
  write(text: string): void;
  /** Closes once everything is written. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}

/** Begins to connect; the handlers are called later, never from within this call. */
export function connectLight(address: SocketAddress, handlers: LightConnectionHandlers): LightConnection {
  return process.versions.bun === undefined
    ? new NodeLightConnection(address, handlers)
    : new BunLightConnection(address, handlers);
}

class NodeLightConnection implements LightConnection {
  private readonly socket: Socket;

  constructor(address: SocketAddress, handlers: LightConnectionHandlers) {
    // Not an import: Bun would load it with this module.
    const { connect } = process.getBuiltinModule("node:net");
    const socket = connect(typeof address === "string" ? { path: address } : address);
    this.socket = socket;
    socket.on("connect", () => handlers.onOpen());
    socket.on("data", (bytes: Buffer) => handlers.onData(bytes));
    // "close" follows every error, and says all there is to know.
    socket.on("error", () => {});
    socket.on("close", () => this.isDestroyed || handlers.onClose());
    this.onWritten = () => handlers.onFlushed();
  }

  private isDestroyed = false;
  private readonly onWritten: () => void;

  get waitingBytes(): number {
    return this.socket.writableLength;
  }

  write(text: string): void {
    this.socket.write(text, this.onWritten);
  }

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.isDestroyed = true;
    this.socket.destroy();
  }
}

type BunState = "connecting" | "open" | "ending" | "closed";

class BunLightConnection implements LightConnection {
  private state: BunState = "connecting";
  private socket: Bun.Socket<undefined> | undefined;
  private waiting: Buffer | undefined;

  constructor(
    address: SocketAddress,
    private readonly handlers: LightConnectionHandlers,
  ) {
    void Bun.connect({
      ...((typeof address === "string" ? { unix: address } : { hostname: address.host, port: address.port }) as {
        unix: string;
      }),
      socket: {
        open: (socket) => this.opened(socket),
        data: (_, bytes) => {
          if (this.state !== "closed") handlers.onData(bytes);
        },
        drain: () => this.flush(),
        close: () => this.closed(),
        // `close` follows.
        error: () => {},
        // The promise tells it too.
        connectError: () => {},
      },
    }).catch(() => this.closed());
  }

  get waitingBytes(): number {
    return this.waiting?.length ?? 0;
  }

  private opened(socket: Bun.Socket<undefined>): void {
    if (this.state !== "connecting") return void socket.terminate();
    this.socket = socket;
    this.state = "open";
    this.handlers.onOpen();
  }

  write(text: string): void {
    const bytes = Buffer.from(text);
    this.waiting = this.waiting === undefined ? bytes : Buffer.concat([this.waiting, bytes]);
    this.flush();
  }

  private flush(): void {
    const { waiting, socket } = this;
    if (waiting === undefined || socket === undefined) return;
    const taken = Math.max(socket.write(waiting), 0);
    this.waiting = taken === waiting.length ? undefined : waiting.subarray(taken);
    if (this.waiting !== undefined) return;
    if (this.state === "ending") this.destroy();
    this.handlers.onFlushed();
  }

  end(): void {
    if (this.waiting === undefined) return this.destroy();
    this.state = "ending";
  }

  destroy(): void {
    this.state = "closed";
    this.waiting = undefined;
    // With nothing of ours waiting, `end` closes at once.
    this.socket?.end();
  }

  private closed(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.waiting = undefined;
    this.handlers.onClose();
  }
}
