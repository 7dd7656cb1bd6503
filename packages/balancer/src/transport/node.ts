/** The transport over node:net, for Node and for platforms without Bun. */
import { readSync } from "node:fs";
import net from "node:net";
import { free, SocketAcknowledgements } from "@paceline/wire";
import { received } from "./buffers.js";
import {
  CLOSE_GRACE_SECONDS,
  type Connection,
  type ConnectionOwner,
  DRAIN_ABOVE_BYTES,
  type Ends,
  LISTEN_BACKLOG,
  type Listener,
  NO_OWNER,
  openSockets,
  type Transport,
} from "./transport.js";

/** Buffers of at least this size are freed as soon as they are unused; Node lets over 32 MB of them pile up. */
const LARGE_BYTES = 8192;

/**
 * While earlier bytes wait for the kernel, shorter pieces are joined: Node keeps a buffer and an object for each write, which for bytes
 * written one by one would be a thousand times their size.
 */
const JOIN_BELOW_BYTES = 4096;

/** How much is read at once of a departed peer's remaining bytes. */
const REST_READ_BYTES = 65_536;

const NOTHING = new Uint8Array(0);

/** The internals of node:net sockets that its types omit. */
interface Handle {
  readonly fd?: number;
}

/** Small pieces in one buffer that grows up to DRAIN_ABOVE_BYTES. */
class JoinedPieces {
  length = 0;
  private buffer = Buffer.allocUnsafeSlow(2 * JOIN_BELOW_BYTES);

  constructor(first: Uint8Array) {
    this.append(first);
  }

  /** Returns false if it is full. */
  append(piece: Uint8Array): boolean {
    const length = this.length + piece.length;
    if (length > this.buffer.length) {
      if (length > DRAIN_ABOVE_BYTES) return false;
      const larger = Buffer.allocUnsafeSlow(Math.min(DRAIN_ABOVE_BYTES, 2 * this.buffer.length));
      larger.set(this.bytes());
      this.buffer = larger;
    }
    this.buffer.set(piece, this.length);
    this.length = length;
    return true;
  }

  bytes(): Uint8Array {
    return this.buffer.subarray(0, this.length);
  }
}

export class NodeConnection implements Connection {
  owner: ConnectionOwner = NO_OWNER;
  private isClosing = false;
  /** Whether so much is (or was) queued that `onDrain` must be called. */
  private owesDrain = false;
  /** The peer's bytes that were received before a write failed, and whether they are complete. */
  private rest: Buffer[] = [];
  private isRestWhole = false;
  private acknowledgements: SocketAcknowledgements | undefined;
  /** Joined pieces, which are written when what waits before them has left. */
  private joined: JoinedPieces | undefined;

  private readonly events = {
    data: (bytes: Buffer) => this.data(bytes),
    drain: () => this.settle(),
    end: () => this.owner.onEnd(),
    close: () => this.closed(),
  };

  constructor(private readonly socket: net.Socket) {
    openSockets.count++;
    for (const [event, listener] of Object.entries(this.events)) socket.on(event, listener as () => void);
    // `close` follows every error and is enough for the owner.
    socket.on("error", () => {});
  }

  /** Gives the socket away, paused: this connection is not used any more. */
  release(): net.Socket {
    const { socket } = this;
    openSockets.count--;
    this.isClosing = true;
    this.owner = NO_OWNER;
    socket.pause();
    for (const [event, listener] of Object.entries(this.events)) socket.off(event, listener as () => void);
    return socket;
  }

  private data(bytes: Buffer): void {
    received.buffer = bytes.buffer;
    received.isLent = false;
    const isUsedUp = this.owner.onData(bytes);
    received.buffer = undefined;
    if (isUsedUp && bytes.length >= LARGE_BYTES && !received.isLent) free(bytes);
  }

  get remoteAddress(): string {
    return this.socket.remoteAddress ?? "";
  }

  get ends(): Ends | undefined {
    const { remoteAddress, remotePort, localAddress, localPort } = this.socket;
    if (remoteAddress === undefined || remotePort === undefined) return undefined;
    if (localAddress === undefined || localPort === undefined) return undefined;
    return { address: remoteAddress, port: remotePort, localAddress, localPort };
  }

  get waitingBytes(): number {
    const { writableLength } = this.socket;
    return this.joined === undefined ? writableLength : writableLength + this.joined.length;
  }

  private get handle(): Handle {
    return (this.socket as unknown as { _handle?: Handle })._handle ?? {};
  }

  get seesAcknowledgements(): boolean {
    return this.acknowledged.seesAcknowledgements;
  }

  acknowledgedBytes(since: number): number {
    return this.acknowledged.acknowledgedBytes(since);
  }

  get hasPeerLeft(): boolean {
    if (this.isClosing) return false;
    this.lookIfReset();
    return this.acknowledged.hasPeerEnded;
  }

  lookIfReset(): void {
    // An empty write fails if the peer is gone, and the socket closes. Queued bytes fail by themselves.
    if (!this.isClosing && this.waitingBytes === 0) this.socket.write(NOTHING);
  }

  private get acknowledged(): SocketAcknowledgements {
    this.acknowledgements ??= new SocketAcknowledgements(this.socket);
    return this.acknowledgements;
  }

  write(bytes: Uint8Array): boolean {
    if (this.isClosing) return true;
    if (this.waitingBytes > 0) {
      if (bytes.length < JOIN_BELOW_BYTES) return this.join(bytes);
      this.writeJoined();
    }
    this.socket.write(bytes);
    // Already zero if the kernel took everything within the call.
    if (this.socket.writableLength === 0) return true;
    if (bytes.buffer === received.buffer) received.isLent = true;
    return this.isTaken();
  }

  /** Returns what `write` returns while bytes wait. */
  private isTaken(): boolean {
    if (this.waitingBytes > DRAIN_ABOVE_BYTES) this.owesDrain = true;
    return !this.owesDrain;
  }

  private join(bytes: Uint8Array): boolean {
    if (this.joined?.append(bytes) === false) this.writeJoined();
    if (this.joined === undefined) {
      this.joined = new JoinedPieces(bytes);
      // Called when everything before it has been written.
      this.socket.write(NOTHING, () => this.writeJoined());
    }
    return this.isTaken();
  }

  private writeJoined(): void {
    const { joined } = this;
    if (joined === undefined) return;
    this.joined = undefined;
    if (!this.socket.destroyed) this.socket.write(joined.bytes(), () => this.settle());
  }

  writeTransient(bytes: Uint8Array, length: number): boolean {
    const written = bytes.subarray(0, length);
    if (length < JOIN_BELOW_BYTES && this.waitingBytes > 0) return this.isClosing || this.join(written);
    if (length < LARGE_BYTES) return this.write(Buffer.from(written));
    const copy = Buffer.allocUnsafeSlow(length);
    copy.set(written);
    const isTaken = this.write(copy);
    if (this.socket.writableLength === 0) free(copy);
    return isTaken;
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    this.writeJoined();
    if (!this.isClosing) this.socket.end();
    this.isClosing = true;
  }

  close(awaitsClose = false): void {
    this.writeJoined();
    this.isClosing = true;
    if (!awaitsClose) this.owner = NO_OWNER;
    if (!awaitsClose && this.socket.writableLength > 0) {
      // The socket's own timeout would restart with each byte.
      const timer = setTimeout(() => this.socket.destroy(), CLOSE_GRACE_SECONDS * 1000);
      this.socket.once("close", () => clearTimeout(timer));
    }
    this.socket.destroySoon();
  }

  reset(): void {
    this.isClosing = true;
    this.owner = NO_OWNER;
    // Only TCP can be reset; a unix socket is destroyed.
    if (this.socket.remoteAddress === undefined) this.socket.destroy();
    else this.socket.resetAndDestroy();
  }

  /** Bytes have left. */
  private settle(): void {
    if (!this.owesDrain || this.waitingBytes > 0) return;
    this.owesDrain = false;
    this.owner.onDrain();
  }

  /**
   * Reads pending bytes before a failed write makes Node destroy the socket: an upstream that died has sent which requests had
   * started.
   */
  readRestBeforeGivingUp(): void {
    const { socket } = this;
    const { destroy } = socket;
    socket.destroy = (error?: Error & { syscall?: string }) => {
      if (error?.syscall === "write" && !socket.destroyed && !socket.isPaused()) this.readRest();
      return destroy.call(socket, error);
    };
  }

  private readRest(): void {
    const { fd = -1 } = this.handle;
    if (fd < 0) return;
    try {
      for (;;) {
        const bytes = Buffer.allocUnsafe(REST_READ_BYTES);
        const count = readSync(fd, bytes);
        this.isRestWhole = count === 0;
        if (this.isRestWhole) return;
        this.rest.push(bytes.subarray(0, count));
      }
    } catch {
      // Nothing more is there; `close` follows.
    }
  }

  private closed(): void {
    openSockets.count--;
    for (const bytes of this.rest.splice(0)) this.owner.onData(bytes);
    if (this.isRestWhole) this.owner.onEnd();
    const owner = this.owner;
    this.owner = NO_OWNER;
    owner.onClose();
  }
}

/** Creates the transport of this process. */
export function nodeTransport(): Transport {
  return {
    name: "node",
    get openSockets() {
      return openSockets.count;
    },
    listen(fd, onConnection): Listener {
      const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        const connection = new NodeConnection(socket);
        connection.owner = onConnection(connection);
      });
      // For example out of descriptors: clients stay in the queue until one is free.
      server.on("error", (error) => console.error(`cannot accept: ${error.message}`));
      // With `fd`, Node accepts the backlog only as an argument.
      server.listen({ fd }, LISTEN_BACKLOG as never);
      return { close: () => void server.close() };
    },
    connect(address, connector): void {
      const place = typeof address === "string" ? { path: address } : { ...address, noDelay: true };
      const socket = net.connect({ ...place, allowHalfOpen: true });
      const failed = (error: Error): void => connector.onConnectFailed(error);
      socket.once("error", failed);
      socket.once("connect", () => {
        socket.removeListener("error", failed);
        const connection = new NodeConnection(socket);
        connection.readRestBeforeGivingUp();
        connection.owner = connector.onConnected(connection);
      });
    },
  };
}
