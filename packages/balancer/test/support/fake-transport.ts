/** A transport without sockets: it keeps the written bytes; the test connects, takes bytes and closes. */
import type { Connection, ConnectionOwner, Connector, Ends, Transport } from "../../src/transport/transport.js";
import { NO_OWNER } from "../../src/transport/transport.js";

export class FakeConnection implements Connection {
  owner: ConnectionOwner = NO_OWNER;
  readonly remoteAddress = "";
  ends: Ends | undefined;
  isClosed = false;
  isPaused = false;
  /** The kernel accepts only this many bytes; the rest waits until `drain`. */
  room = Number.POSITIVE_INFINITY;
  /** As on Node, `write` returns true up to this many queued bytes, and then no `onDrain` follows. */
  highWater = 0;
  /** How often it was written to. */
  writes = 0;
  /** What the peer has sent and `readPiece` has not read. */
  arrived = Buffer.alloc(0);
  private isOverfull = false;
  private taken: Buffer[] = [];
  private waiting: Buffer[] = [];

  get waitingBytes(): number {
    return this.waiting.reduce((sum, { length }) => sum + length, 0);
  }

  readonly seesAcknowledgements = false;
  readonly hasPeerLeft = false;

  acknowledgedBytes(): number {
    return 0;
  }

  write(bytes: Uint8Array): boolean {
    if (this.isClosed) return true;
    this.writes++;
    this.waiting.push(Buffer.from(bytes));
    this.move();
    if (this.waitingBytes <= this.highWater) return true;
    this.isOverfull = true;
    return false;
  }

  writeTransient(bytes: Uint8Array, length: number): boolean {
    return this.write(bytes.subarray(0, length));
  }

  private move(): void {
    const bytes = Buffer.concat(this.waiting);
    const size = Math.min(bytes.length, this.room);
    this.room -= size;
    if (size > 0) this.taken.push(bytes.subarray(0, size));
    this.waiting = size < bytes.length ? [bytes.subarray(size)] : [];
  }

  /** Makes room for this many bytes in the kernel. */
  drain(room = Number.POSITIVE_INFINITY): void {
    this.room = room;
    this.move();
    if (this.waiting.length > 0 || !this.isOverfull) return;
    this.isOverfull = false;
    this.owner.onDrain();
  }

  /** Returns all bytes that the kernel accepted since the last call. */
  take(): Buffer {
    return Buffer.concat(this.taken.splice(0));
  }

  get heldBytes(): number {
    return this.waitingBytes;
  }

  get progressBytes(): number {
    return this.taken.reduce((sum, { length }) => sum + length, 0);
  }

  lookIfReset(): void {}
  keepAsking(): void {}
  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  readPiece(mostBytes: number): number {
    const piece = this.arrived.subarray(0, mostBytes);
    this.arrived = this.arrived.subarray(piece.length);
    if (piece.length > 0) this.owner.onData(piece);
    return piece.length > 0 ? piece.length : -1;
  }

  end(): void {}

  close(): void {
    this.isClosed = true;
    this.owner = NO_OWNER;
  }

  reset(): void {
    this.close();
  }
}

export class FakeTransport implements Transport {
  readonly name = "node";
  readonly openSockets = 0;
  lookAtPeers(): number {
    return Number.POSITIVE_INFINITY;
  }
  readonly connections: FakeConnection[] = [];
  /** Callers that wait for their connection. */
  readonly connecting: Connector[] = [];

  listen(): never {
    throw new Error("nobody listens here");
  }

  connect(_path: string, connector: Connector): void {
    this.connecting.push(connector);
  }

  /** Accepts the connection that was requested first. */
  accept(): FakeConnection {
    const connector = this.connecting.shift();
    if (connector === undefined) throw new Error("no connection was asked for");
    const connection = new FakeConnection();
    this.connections.push(connection);
    connection.owner = connector.onConnected(connection);
    return connection;
  }
}
