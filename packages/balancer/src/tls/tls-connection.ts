/** A client's connection over TLS: a socket of node:tls behind the transport's interface, on both runtimes. */
import type { TLSSocket } from "node:tls";
import { type AcknowledgingConnection, free } from "@paceline/wire";
import { received, WaitingBytes } from "../transport/buffers.js";
import {
  ASK_EVERY_MS,
  CLOSE_GRACE_SECONDS,
  type Connection,
  type ConnectionOwner,
  type Ends,
  NO_OWNER,
  openSockets,
  UNIX_BUFFER_BYTES,
} from "../transport/transport.js";

/** Buffers of at least this size are freed as soon as they are unused. */
const LARGE_BYTES = 8192;
/** If more bytes than this wait, `onDrain` follows. */
const DRAIN_ABOVE_BYTES = 65_536;

/** Operations on the socket below TLS, which differ between runtimes. */
export interface Below {
  /** Closes the connection with a reset. */
  reset(): void;
  readonly acknowledgements: AcknowledgingConnection & {
    readonly progressBytes: number;
    readonly surelyReadBytes?: number;
    readonly locallyReadBytes?: number | undefined;
  };
  /** Whether the peer has sent FIN, which causes no event while the connection is paused. */
  readonly hasPeerEnded: boolean;
  /** Closes the connection if the peer has reset it. */
  lookIfReset(): void;
}

type Closing = "open" | "ending" | "closing" | "closed";

export class TlsConnection implements Connection {
  owner: ConnectionOwner = NO_OWNER;
  private closing: Closing = "open";
  /** Bytes that follow those being written. Pieces that arrive meanwhile are sent in one TLS record, or in a few. */
  private queue: WaitingBytes | null = null;
  /** The number of bytes that are being written, and whether they are the first bytes of the queue. */
  private writing = 0;
  private isOfQueue = false;
  private owesDrain = false;
  private isAskedFor = false;
  private graceTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly socket: TLSSocket,
    private readonly below: Below,
    readonly remoteAddress: string,
    private readonly knownEnds: Ends | undefined,
  ) {
    openSockets.count++;
    socket.on("data", (bytes: Buffer) => this.data(bytes));
    socket.on("end", () => this.owner.onEnd());
    // A `close` follows every error, and the owner needs only that.
    socket.on("error", () => {});
    socket.on("close", () => this.closed());
  }

  private data(bytes: Buffer): void {
    received.buffer = bytes.buffer;
    received.isLent = false;
    const isUsedUp = this.owner.onData(bytes) && !received.isLent;
    received.buffer = undefined;
    if (isUsedUp && bytes.length >= LARGE_BYTES && bytes.length === bytes.buffer.byteLength) free(bytes);
  }

  get ends(): Ends | undefined {
    return this.closing === "closed" ? undefined : this.knownEnds;
  }

  get waitingBytes(): number {
    return this.queue === null ? this.writing : this.queue.length + (this.isOfQueue ? 0 : this.writing);
  }

  // The bytes being written are in memory in encrypted form. If they come from the queue, the queue still has them, too. The caller's own
  // bytes are free.
  get heldBytes(): number {
    return this.writing + (this.queue === null ? 0 : this.queue.heldBytes);
  }

  get progressBytes(): number {
    return this.below.acknowledgements.progressBytes;
  }

  // Over TLS, bytes wait during every write, long before the kernel's buffer is full.
  get surelyReadBytes(): number | undefined {
    return this.below.acknowledgements.surelyReadBytes;
  }

  get locallyReadBytes(): number | undefined {
    return this.below.acknowledgements.locallyReadBytes;
  }

  get stepBytes(): number | undefined {
    return this.seesAcknowledgements ? undefined : UNIX_BUFFER_BYTES;
  }

  get seesAcknowledgements(): boolean {
    return this.below.acknowledgements.seesAcknowledgements;
  }

  acknowledgedBytes(since: number, timeoutMs: number): number {
    return this.below.acknowledgements.acknowledgedBytes(since, timeoutMs);
  }

  get hasPeerLeft(): boolean {
    if (this.closing === "closed") return false;
    this.lookIfReset();
    return this.below.hasPeerEnded;
  }

  lookIfReset(): void {
    if (this.closing !== "closed" && this.waitingBytes === 0) this.below.lookIfReset();
  }

  keepAsking(): void {
    if (this.closing !== "closed") this.socket.setKeepAlive(true, ASK_EVERY_MS);
  }

  write(bytes: Uint8Array): boolean {
    return this.writeTransient(bytes, bytes.length);
  }

  // node:tls encrypts the given bytes within the call if no other write is in progress.
  writeTransient(bytes: Uint8Array, length: number): boolean {
    if (this.closing !== "open" || length === 0) return true;
    const given = length === bytes.length ? bytes : bytes.subarray(0, length);
    if (this.writing === 0) this.pass(given);
    else {
      this.queue ??= new WaitingBytes();
      this.queue.add(given);
    }
    if (this.waitingBytes > DRAIN_ABOVE_BYTES) this.owesDrain = true;
    return !this.owesDrain;
  }

  asksDrain(): void {
    this.isAskedFor = true;
  }

  private pass(bytes: Uint8Array): void {
    this.writing = bytes.length;
    this.socket.write(bytes, this.passed);
  }

  private readonly passed = (): void => {
    if (this.closing === "closed") return;
    if (this.isOfQueue) this.queue?.sent(this.writing);
    this.writing = 0;
    const next = this.queue?.first();
    this.isOfQueue = next !== undefined && next.length > 0;
    if (next !== undefined && this.isOfQueue) return this.pass(next);
    this.queue = null;
    switch (this.closing) {
      case "open":
        if (!this.owesDrain && !this.isAskedFor) return;
        this.owesDrain = this.isAskedFor = false;
        return this.owner.onDrain();
      case "ending":
        return void this.socket.end();
      case "closing":
        return this.socket.destroySoon();
    }
  };

  pause(): void {
    if (this.closing !== "closed") this.socket.pause();
  }

  resume(): void {
    if (this.closing !== "closed") this.socket.resume();
  }

  end(): void {
    if (this.closing !== "open") return;
    this.closing = "ending";
    if (this.writing === 0) this.socket.end();
  }

  close(awaitsClose = false): void {
    if (this.closing === "closed" || this.closing === "closing") return;
    this.closing = "closing";
    if (!awaitsClose) {
      this.owner = NO_OWNER;
      this.graceTimer = setTimeout(() => this.reset(), CLOSE_GRACE_SECONDS * 1000);
    }
    if (this.writing === 0) this.socket.destroySoon();
  }

  reset(): void {
    if (this.closing === "closed") return;
    this.owner = NO_OWNER;
    this.closing = "closing";
    this.below.reset();
  }

  /** Resets a connection after its handshake, because its client may not connect. */
  refuse(): void {
    const { owner } = this;
    this.reset();
    owner.onClose();
  }

  private closed(): void {
    if (this.closing === "closed") return;
    this.closing = "closed";
    openSockets.count--;
    clearTimeout(this.graceTimer);
    this.queue?.clear();
    this.queue = null;
    this.writing = 0;
    const owner = this.owner;
    this.owner = NO_OWNER;
    owner.onClose();
  }
}
