/** The transport over Bun's sockets, whose `write` may take only part of the bytes and keeps none. */
import { free, leaveToCollector, localPeer, readWhenStale, SureBytes, unreadOfPeer } from "@paceline/wire";
import { whosePeerLeft } from "@paceline/wire/left-peers-bun";
import { readNow, WaitingBytes } from "./buffers.js";
import {
  deferClients,
  limitReceipt,
  outgoingBytes,
  seesOutgoing,
  sendNow,
  setCork,
  tuneListener,
  tuneUpstream,
} from "./bun-calls.js";
import {
  ASK_EVERY_MS,
  CLOSE_GRACE_SECONDS,
  type Connection,
  type ConnectionOwner,
  type Connector,
  type Ends,
  type Listener,
  NO_OWNER,
  openSockets,
  type Transport,
  UNIX_BUFFER_BYTES,
} from "./transport.js";

/** The kernel frees memory of a unix socket when its peer has read a whole piece. A piece has at most this size. */
const UNIX_PIECE_BYTES = 65_536;

/** Up to this size, writes to a client use the system call directly, which costs less than Bun's `write`. */
const DIRECT_BYTES = 16_384;

type Closing = "open" | "ending" | "closing" | "closed";

export type BunSocket = Bun.Socket<BunConnection | Connector>;

export class BunConnection implements Connection {
  owner: ConnectionOwner = NO_OWNER;
  /** Bytes that the kernel has not taken yet; usually null. */
  private waiting: WaitingBytes | null = null;
  private closing: Closing = "open";
  private writtenBytes = 0;
  /** Whether the peer has sent FIN. */
  private hasEnded = false;
  private isPaused = false;
  /** Whether a write has failed because the peer has disconnected. */
  private hasFailed = false;
  private isCorkable = true;
  /** Whether written bytes go to the kernel unchanged, that is without TLS. */
  private isPlain = true;
  /** The name of a peer on this machine in the kernel's table; empty until it is determined. */
  private peer: string | undefined = "";
  /** Set for a peer on this machine once it matters whether the peer reads. */
  private sureBytes: SureBytes | undefined;

  constructor(
    private socket: BunSocket,
    private readonly isClient: boolean,
  ) {}

  /** Continues on another socket, which takes over the one below it. */
  continueOn(takeOver: (below: BunSocket) => BunSocket): void {
    this.writtenBytes = 0;
    this.isPlain = false;
    this.socket = takeOver(this.socket);
    this.socket.timeout(0);
  }

  /** Resets a connection after its handshake, because its client may not connect. */
  refuse(): void {
    const { owner } = this;
    this.reset();
    owner.onClose();
  }

  get remoteAddress(): string {
    return this.socket.remoteAddress ?? "";
  }

  get ends(): Ends | undefined {
    const { remoteAddress, remotePort, localAddress, localPort } = this.socket;
    if (!remoteAddress || !localAddress) return undefined;
    return { address: remoteAddress, port: remotePort, localAddress, localPort };
  }

  get waitingBytes(): number {
    return this.waiting === null ? 0 : this.waiting.length;
  }

  get heldBytes(): number {
    return this.waiting === null ? 0 : this.waiting.heldBytes;
  }

  // Below zero for a unix socket until its peer has read, because the kernel counts more bytes than were written.
  get progressBytes(): number {
    const { localPeer } = this;
    return this.leftBytes - (localPeer === undefined ? 0 : unreadOfPeer(localPeer));
  }

  get locallyReadBytes(): number | undefined {
    const { localPeer } = this;
    if (localPeer === undefined) return undefined;
    this.sureBytes ??= new SureBytes();
    return this.sureBytes.note(this.leftBytes, unreadOfPeer(localPeer));
  }

  get stepBytes(): number | undefined {
    if (!seesOutgoing) return UNIX_BUFFER_BYTES;
    return this.remoteAddress === "" ? UNIX_PIECE_BYTES : undefined;
  }

  private get localPeer(): string | undefined {
    if (this.peer === "") this.peer = localPeer(this.socket);
    return this.peer;
  }

  get seesAcknowledgements(): boolean {
    return seesOutgoing;
  }

  get hasPeerLeft(): boolean {
    return this.closing !== "closed" && whosePeerLeft([this.descriptor]).length > 0;
  }

  // Not needed: Bun detects a reset even on a paused socket.
  lookIfReset(): void {}

  keepAsking(): void {
    if (this.closing !== "closed") this.socket.setKeepAlive(true, ASK_EVERY_MS);
  }

  private get descriptor(): number {
    // The types omit `fd`.
    return (this.socket as unknown as { fd: number }).fd;
  }

  acknowledgedBytes(): number {
    return Math.max(0, this.leftBytes);
  }

  /** How many bytes have left this process and the kernel's buffer. */
  private get leftBytes(): number {
    const outgoing = this.closing === "closed" ? 0 : outgoingBytes(this.descriptor);
    return this.writtenBytes - this.waitingBytes - outgoing;
  }

  write(bytes: Uint8Array): boolean {
    return this.writeTransient(bytes, bytes.length);
  }

  // Takes the length as an argument, because creating a view of the bytes would cost more than this call.
  writeTransient(bytes: Uint8Array, length: number, isLast = false): boolean {
    if (this.closing !== "open") return true;
    this.writtenBytes += length;
    if (this.waiting !== null) {
      this.waiting.add(length === bytes.length ? bytes : bytes.subarray(0, length));
      return false;
    }
    const isDirect = this.isPlain && length > 0 && (isLast || (this.isClient && length <= DIRECT_BYTES));
    const sent = isDirect ? sendNow(this.descriptor, bytes, length, isLast) : 0;
    if (sent === length) return true;
    const taken = this.socket.write(bytes, sent, length - sent);
    if (taken === length - sent) return true;
    if (taken < 0) this.peerGone();
    this.waiting = new WaitingBytes();
    this.waiting.add(bytes.subarray(sent + Math.max(taken, 0), length));
    return false;
  }

  cork(): void {
    // Only TCP has a cork. Bun removes it itself after it has waited for room.
    if (this.isCorkable && this.closing === "open") this.isCorkable = setCork(this.descriptor, true);
  }

  uncork(): void {
    if (this.isCorkable && this.closing !== "closed") setCork(this.descriptor, false);
  }

  /**
   * Called when a write has failed. Bun reports that a client has disconnected only if it is read, so a paused one is closed here. The
   * bytes of an upstream are read first.
   */
  private peerGone(): void {
    this.hasFailed = true;
    setImmediate(() => {
      if (this.closing === "closed" || !this.isClient || !this.isPaused) return;
      this.closed(new Error("a write failed"));
      this.socket.terminate();
    });
  }

  pause(): void {
    this.isPaused = true;
    if (this.closing !== "closed") this.socket.pause();
    if (this.hasFailed) this.peerGone();
  }

  resume(): void {
    this.isPaused = false;
    if (this.closing !== "closed") this.socket.resume();
  }

  readPiece(mostBytes: number): number {
    if (this.closing === "closed" || !this.isPaused) return 0;
    let bytes: Buffer | undefined;
    try {
      bytes = readNow(this.descriptor, mostBytes);
    } catch (error) {
      // The kernel reports an error only once, so Bun would take it for a FIN.
      this.closed(error as Error);
      this.socket.terminate();
      return 0;
    }
    if (bytes === undefined) return -1;
    if (bytes.length > 0) afterReceipt(bytes, this.owner.onData(bytes));
    return bytes.length;
  }

  limitReads(isLimited: boolean): void {
    if (this.closing !== "closed") limitReceipt(this.descriptor, isLimited);
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
    if (this.waiting === null) return this.closeSocket();
    if (!awaitsClose) this.socket.timeout(CLOSE_GRACE_SECONDS);
  }

  private closeSocket(): void {
    // Sends the FIN together with the bytes before it; `end()` would make the kernel send these bytes first.
    if (this.isPlain) this.socket.shutdown();
    // Closes immediately if nothing is queued. `close()` would close the descriptor twice (Bun 1.4.5).
    this.socket.end();
  }

  /** Resets a connection whose time to close is over. Other timeouts are not set by this file. */
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

  /** Called when the socket is writable. Sends queued bytes, then performs a pending end or close. */
  flush(): void {
    const waiting = this.waiting;
    if (waiting === null) return;
    for (let bytes = waiting.first(); bytes.length > 0; bytes = waiting.first()) {
      // A sent slab is freed, which empties its views.
      const { length } = bytes;
      const taken = this.socket.write(bytes);
      if (taken > 0) waiting.sent(taken);
      else if (taken < 0) this.peerGone();
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
        this.closeSocket();
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
    // After our FIN, Bun reports the peer's FIN as a close without an error, never as an end.
    const isEnd = this.closing === "ending" && this.waiting === null && error === undefined && !this.hasEnded;
    this.closing = "closed";
    this.forget();
    if (isEnd) this.owner.onEnd();
    const owner = this.owner;
    this.owner = NO_OWNER;
    owner.onClose();
  }
}

/** The handlers that Bun calls for every established connection. */
export const connectedHandlers = {
  data(socket: Bun.Socket<BunConnection>, bytes: Buffer): void {
    afterReceipt(bytes, socket.data.owner.onData(bytes));
  },
  drain(socket: Bun.Socket<BunConnection>): void {
    socket.data?.flush();
  },
  end(socket: Bun.Socket<BunConnection>): void {
    socket.data.ended();
  },
  timeout(socket: BunSocket): void {
    if (socket.data instanceof BunConnection) socket.data.graceOver();
  },
  // A `close` follows every error, and the owner needs only that.
  error(): void {},
  close(socket: BunSocket, error?: Error): void {
    // The attempt to connect has failed, or another socket has taken over the connection.
    if (!(socket.data instanceof BunConnection)) return;
    openSockets.count--;
    socket.data.closed(error);
  },
};

/** Creates the transport of this process. */
export function bunTransport(): Transport {
  return {
    name: "bun",
    get openSockets() {
      return openSockets.count;
    },
    // The kernel is asked about each connection directly, except for what peers on this machine have not read.
    lookAtPeers: readWhenStale,
    listen(fd, onConnection): Listener {
      // The types allow `fd` only for connect, but Bun.listen accepts it, too.
      const options = {
        fd,
        allowHalfOpen: true,
        socket: {
          ...connectedHandlers,
          open(socket: Bun.Socket<BunConnection>): void {
            openSockets.count++;
            // Bun sets a 120 s timeout on every accepted socket, even a busy one.
            socket.timeout(0);
            const connection = new BunConnection(socket as never, true);
            socket.data = connection;
            connection.owner = onConnection(connection);
          },
        },
      };
      const listener = Bun.listen(options as never);
      tuneListener(fd);
      return { deferClients: (isOn) => deferClients(fd, isOn), close: () => listener.stop() };
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
  ...connectedHandlers,
  open(socket: BunSocket): void {
    openSockets.count++;
    const connector = socket.data as Connector;
    const connection = new BunConnection(socket, false);
    tuneUpstream((socket as unknown as { fd: number }).fd, connector.sendsMuch === true);
    socket.data = connection;
    connection.owner = connector.onConnected(connection);
  },
  // The promise of Bun.connect reports this, too, but never before connect() has returned.
  connectError(): void {},
};

/** Buffers of at least this size are freed as soon as they are unused. */
const LARGE_BYTES = 8192;

/** Called after a received buffer was passed on. `isUsedUp` means that no code has kept any part of the buffer. */
function afterReceipt(bytes: Buffer, isUsedUp: boolean): void {
  if (isUsedUp && bytes.length >= LARGE_BYTES) free(bytes);
  else leaveToCollector(bytes.length);
}
