/** The transport over node:net, for Node and for platforms without Bun. */
import { readSync } from "node:fs";
import net from "node:net";
import { free, readWhenStale, SocketAcknowledgements } from "@paceline/wire";
import { readNow, received, WaitingBytes } from "./buffers.js";
import { type Handle, limitSendBuffers } from "./node-internals.js";
import {
  ASK_EVERY_MS,
  CLOSE_GRACE_SECONDS,
  type Connection,
  type ConnectionOwner,
  type Ends,
  LISTEN_BACKLOG,
  type Listener,
  NO_OWNER,
  openSockets,
  type Transport,
  UNIX_BUFFER_BYTES,
} from "./transport.js";

/** Buffers of at least this size are freed as soon as they are unused. Node lets over 32 MB of them accumulate. */
const LARGE_BYTES = 8192;

/**
 * How many bytes of a connection are read in one turn of the event loop. Node reads up to 2 MB, such as the responses for many clients on
 * one lane. Until these are passed on, all other requests wait, and no client is accepted.
 */
const TURN_READ_BYTES = 131_072;

/** How many of a departed peer's remaining bytes are read at once. */
const REST_READ_BYTES = 65_536;

const NOTHING = new Uint8Array(0);

type Closing = "open" | "ending" | "closing" | "closed";

/** Connections with large reads in this turn. */
const readers: NodeConnection[] = [];

function onTurn(): void {
  for (const reader of readers.splice(0)) reader.onTurn();
}

export class NodeConnection implements Connection {
  owner: ConnectionOwner = NO_OWNER;
  private closing: Closing = "open";
  /** Bytes that were written during an earlier write, joined: Node would keep a buffer and an object for each piece. */
  private waiting: WaitingBytes | undefined;
  /** The buffer that Node is writing before `waiting`, if no other code uses it. */
  private borrowed: Uint8Array | undefined;
  /** Whether the last read was large, so that more bytes can be expected. */
  private hasMore = false;
  private isStopped = false;
  /** The size of the large reads in this turn, and whether the connection reads no more until the next turn. */
  private readInTurn = 0;
  private isTurnOver = false;
  /** How many bytes at the start of `waiting` Node is writing. */
  private beingWritten = 0;
  /** The peer's bytes that were received before a write failed, and whether they are complete. */
  private rest: Buffer[] = [];
  private isRestWhole = false;
  private acknowledgements: SocketAcknowledgements | undefined;

  private readonly events = {
    data: (bytes: Buffer) => this.data(bytes),
    end: () => this.owner.onEnd(),
    close: () => this.closed(),
  };

  constructor(private readonly socket: net.Socket) {
    openSockets.count++;
    for (const [event, listener] of Object.entries(this.events)) socket.on(event, listener as () => void);
    // A `close` follows every error, and the owner needs only that.
    socket.on("error", () => {});
  }

  /** Hands over the socket, paused. This connection must not be used any more. */
  release(): net.Socket {
    const { socket } = this;
    openSockets.count--;
    this.closing = "closed";
    this.owner = NO_OWNER;
    socket.pause();
    for (const [event, listener] of Object.entries(this.events)) socket.off(event, listener as () => void);
    return socket;
  }

  private data(bytes: Buffer): void {
    received.buffer = bytes.buffer;
    received.isLent = false;
    received.lends = 0;
    this.hasMore = bytes.length >= LARGE_BYTES;
    if (this.hasMore) this.countRead(bytes.length);
    const isUsedUp = this.owner.onData(bytes);
    received.buffer = undefined;
    if (!isUsedUp || bytes.length < LARGE_BYTES) return;
    if (!received.isLent) free(bytes);
    else if (received.lends === 1) received.borrower?.borrow(bytes);
  }

  private countRead(bytes: number): void {
    if (this.readInTurn === 0 && readers.push(this) === 1) setImmediate(onTurn);
    this.readInTurn += bytes;
    if (this.readInTurn < TURN_READ_BYTES) return;
    this.isTurnOver = true;
    this.stopHandle();
  }

  onTurn(): void {
    this.readInTurn = 0;
    this.isTurnOver = false;
    if (!this.socket.isPaused()) this.startHandle();
  }

  /** Takes over a buffer, and frees it after the write or the close. The garbage collector would let many of them accumulate. */
  borrow(bytes: Uint8Array): void {
    if (this.waiting !== undefined) this.borrowed = bytes;
  }

  private giveBack(): void {
    if (this.borrowed !== undefined) free(this.borrowed);
    this.borrowed = undefined;
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
    const { waiting, socket } = this;
    return waiting === undefined ? 0 : socket.writableLength - this.beingWritten + waiting.length;
  }

  get heldBytes(): number {
    const { waiting, socket, borrowed, beingWritten } = this;
    if (waiting === undefined) return 0;
    return waiting.heldBytes + (borrowed?.length ?? socket.writableLength - beingWritten);
  }

  get progressBytes(): number {
    return this.acknowledged.progressBytes;
  }

  get locallyReadBytes(): number | undefined {
    return this.acknowledged.locallyReadBytes;
  }

  get stepBytes(): number | undefined {
    return this.seesAcknowledgements ? undefined : UNIX_BUFFER_BYTES;
  }

  private get handle(): Handle {
    return (this.socket as unknown as { _handle?: Handle })._handle ?? {};
  }

  get seesAcknowledgements(): boolean {
    return this.acknowledged.seesAcknowledgements;
  }

  acknowledgedBytes(since: number, timeoutMs: number): number {
    return this.acknowledged.acknowledgedBytes(since, timeoutMs);
  }

  get hasPeerLeft(): boolean {
    if (this.closing !== "open") return false;
    this.lookIfReset();
    return this.acknowledged.hasPeerEnded;
  }

  lookIfReset(): void {
    // If the peer has disconnected, an empty write fails and the socket closes. Queued bytes fail by themselves.
    if (this.closing === "open" && this.waiting === undefined) this.socket.write(NOTHING);
  }

  keepAsking(): void {
    this.socket.setKeepAlive(true, ASK_EVERY_MS);
  }

  private get acknowledged(): SocketAcknowledgements {
    this.acknowledgements ??= new SocketAcknowledgements(this.socket);
    return this.acknowledgements;
  }

  write(bytes: Uint8Array): boolean {
    if (this.closing !== "open") return true;
    if (this.waiting !== undefined) {
      this.waiting.add(bytes);
      return false;
    }
    this.socket.write(bytes);
    // The queue is already empty if the kernel took everything within the call.
    if (this.socket.writableLength === 0) return true;
    if (bytes.buffer === received.buffer) {
      received.isLent = true;
      received.lends++;
      received.borrower = this;
    }
    this.waiting = new WaitingBytes();
    // Called when everything before it has been written.
    this.socket.write(NOTHING, this.onWritten);
    return false;
  }

  writeTransient(bytes: Uint8Array, length: number): boolean {
    const written = bytes.subarray(0, length);
    // `write` joins these bytes with the waiting ones, which copies them.
    if (this.waiting !== undefined) return this.write(written);
    if (length < LARGE_BYTES) return this.write(Buffer.from(written));
    const copy = Buffer.allocUnsafeSlow(length);
    copy.set(written);
    const isTaken = this.write(copy);
    if (isTaken) free(copy);
    else this.borrow(copy);
    return isTaken;
  }

  /** Called when Node has finished a write. Starts the next one, or performs a pending end or close. */
  private readonly onWritten = (error?: Error | null): void => {
    const { waiting, socket } = this;
    // `close` follows.
    if (waiting === undefined || error || socket.destroyed) return;
    this.giveBack();
    if (this.beingWritten > 0) waiting.sent(this.beingWritten);
    const next = waiting.first();
    this.beingWritten = next.length;
    if (next.length > 0) return void socket.write(next, this.onWritten);
    this.waiting = undefined;
    switch (this.closing) {
      case "open":
        return this.owner.onDrain();
      case "ending":
        return void socket.end();
      case "closing":
        return socket.destroySoon();
      case "closed":
        return;
      default:
        return this.closing satisfies never;
    }
  };

  /**
   * A paused socket of Node continues to read until its own buffer is full: 64 KB for each peer that has more to send. So the handle is
   * stopped. Node must not notice that, because it would start the handle again.
   */
  pause(isFirm = false): void {
    this.socket.pause();
    if (this.hasMore || isFirm) this.stopHandle();
  }

  private stopHandle(): void {
    const { handle } = this;
    if (this.isStopped || handle.reading !== true) return;
    this.isStopped = true;
    handle.readStop?.();
  }

  readPiece(mostBytes: number): number {
    const { socket } = this;
    // Node had already read these. To take them may start the handle.
    const early = Math.min(mostBytes, socket.readableLength);
    if (early > 0) socket.read(early);
    this.stopHandle();
    if (early > 0) return early;
    const { fd = -1 } = this.handle;
    if (fd < 0) return 0;
    let bytes: Buffer | undefined;
    try {
      bytes = readNow(fd, mostBytes);
    } catch (error) {
      socket.destroy(error as Error);
      return 0;
    }
    if (bytes === undefined) return -1;
    if (bytes.length > 0) this.data(bytes);
    return bytes.length;
  }

  resume(): void {
    this.socket.resume();
    if (!this.isTurnOver) this.startHandle();
  }

  private startHandle(): void {
    if (!this.isStopped) return;
    this.isStopped = false;
    this.handle.readStart?.();
  }

  end(): void {
    if (this.closing !== "open") return;
    this.closing = "ending";
    if (this.waiting === undefined) this.socket.end();
  }

  close(awaitsClose = false): void {
    if (this.closing === "closing" || this.closing === "closed") return;
    this.closing = "closing";
    if (!awaitsClose) this.owner = NO_OWNER;
    if (this.waiting === undefined) return this.socket.destroySoon();
    if (awaitsClose) return;
    // The socket's own timeout would restart with each byte.
    const timer = setTimeout(() => this.socket.destroy(), CLOSE_GRACE_SECONDS * 1000);
    this.socket.once("close", () => clearTimeout(timer));
  }

  reset(): void {
    this.closing = "closed";
    this.owner = NO_OWNER;
    // Only TCP can be reset. A unix socket is destroyed.
    if (this.socket.remoteAddress === undefined) this.socket.destroy();
    else this.socket.resetAndDestroy();
  }

  /**
   * Reads pending bytes before a failed write makes Node destroy the socket. An upstream that exits may have reported which requests had
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
      // No more bytes are available; `close` follows.
    }
  }

  private closed(): void {
    openSockets.count--;
    // Not earlier, because until then Node may be writing from the buffer.
    this.giveBack();
    this.waiting?.clear();
    this.waiting = undefined;
    this.closing = "closed";
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
    lookAtPeers: readWhenStale,
    listen(fd, onConnection): Listener {
      const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        const connection = new NodeConnection(socket);
        connection.owner = onConnection(connection);
      });
      // For example, there are no free descriptors. Clients then stay in the accept queue until there is one.
      server.on("error", (error) => console.error(`cannot accept: ${error.message}`));
      limitSendBuffers(fd);
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
