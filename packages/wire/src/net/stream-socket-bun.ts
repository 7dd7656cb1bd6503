/** Stream sockets on Bun, whose `write` may take only part of the bytes and keeps none. node:net is avoided, because it costs 2 MB. */
import type { SocketAddress } from "../control/protocol.js";
import { leaveToCollector } from "../proc/bun-memory.js";
import {
  type OnSocket,
  type StreamListener,
  type StreamSocket,
  type StreamSocketOwner,
  withPrivateUmask,
} from "./stream-socket.js";

type Socket = Bun.Socket<BunStreamSocket>;

class BunStreamSocket implements StreamSocket {
  private socket: Socket | undefined;
  private waiting: Buffer | undefined;
  private state: "connecting" | "open" | "ending" | "closed" = "connecting";
  private isPaused = false;
  private hasFailed = false;

  /** @param owner the owner of a connecting socket */
  constructor(private owner?: StreamSocketOwner) {}

  get isBlocked(): boolean {
    return this.waiting !== undefined;
  }

  get waitingBytes(): number {
    return this.waiting?.length ?? 0;
  }

  opened(socket: Socket): void {
    // The socket was closed meanwhile.
    if (this.state !== "connecting") return void socket.terminate();
    this.socket = socket;
    this.state = "open";
    this.owner?.onOpen?.();
  }

  accepted(socket: Socket, onSocket: OnSocket): void {
    this.opened(socket);
    this.owner = onSocket(this);
  }

  received(bytes: Buffer): void {
    this.owner?.onData(bytes);
    leaveToCollector(bytes.length);
  }

  write(bytes: Uint8Array): boolean {
    const { socket } = this;
    if (this.state !== "open" || socket === undefined) return true;
    if (this.waiting !== undefined) {
      this.waiting = Buffer.concat([this.waiting, bytes]);
      return false;
    }
    const taken = this.taken(socket.write(bytes));
    if (taken === bytes.length) return true;
    this.waiting = bytes.subarray(taken) as Buffer;
    return false;
  }

  flush(): void {
    const { waiting, socket } = this;
    if (waiting === undefined || socket === undefined) return;
    const taken = this.taken(socket.write(waiting));
    this.waiting = taken === waiting.length ? undefined : waiting.subarray(taken);
    if (this.waiting !== undefined) return;
    if (this.state === "ending") socket.end();
    else if (this.state === "open") this.owner?.onDrain();
  }

  /** @param count negative if the peer has disconnected. Bun reports that only if the socket is read, so this closes a paused socket */
  private taken(count: number): number {
    if (count >= 0) return count;
    this.hasFailed = true;
    this.closeIfPaused();
    return 0;
  }

  private closeIfPaused(): void {
    setImmediate(() => {
      if (this.state === "closed" || !this.isPaused) return;
      this.closed();
      this.socket?.terminate();
    });
  }

  keepAlive(isKept: boolean): void {
    if (isKept) this.socket?.ref();
    else this.socket?.unref();
  }

  pause(): void {
    this.isPaused = true;
    if (this.state === "open") this.socket?.pause();
    if (this.hasFailed) this.closeIfPaused();
  }

  resume(): void {
    this.isPaused = false;
    if (this.state === "open") this.socket?.resume();
  }

  end(): void {
    if (this.state === "connecting") return this.destroy();
    if (this.state !== "open") return;
    this.state = "ending";
    if (this.waiting === undefined) this.socket?.end();
  }

  destroy(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.owner = undefined;
    this.waiting = undefined;
    // Closes at once if nothing is queued; `terminate` would reset a TCP connection.
    this.socket?.end();
  }

  closed(): void {
    this.state = "closed";
    this.waiting = undefined;
    const { owner } = this;
    this.owner = undefined;
    owner?.onClose();
  }
}

const handlers = {
  open: (socket: Socket): void => socket.data.opened(socket),
  data: (socket: Socket, bytes: Buffer): void => socket.data.received(bytes),
  drain: (socket: Socket): void => socket.data.flush(),
  close: (socket: Socket): void => socket.data.closed(),
  // `close` follows.
  error(): void {},
  // The promise of `connect` reports this, too.
  connectError(): void {},
};

export function connectOnBun(address: SocketAddress, owner: StreamSocketOwner): StreamSocket {
  const data = new BunStreamSocket(owner);
  const place = typeof address === "string" ? { unix: address } : { hostname: address.host, port: address.port };
  void Bun.connect({ ...(place as { unix: string }), data, socket: handlers }).catch(() => data.closed());
  return data;
}

export function listenOnBun(path: string, onSocket: OnSocket): StreamListener {
  const listener = withPrivateUmask(() =>
    Bun.listen<BunStreamSocket>({
      unix: path,
      socket: {
        ...handlers,
        open(socket) {
          // Bun sets a 120 s timeout on every accepted socket.
          socket.timeout(0);
          socket.data = new BunStreamSocket();
          socket.data.accepted(socket, onSocket);
        },
      },
    }),
  );
  return { close: () => listener.stop() };
}
