/** The listening sockets of a balancer, and whether the kernel keeps new clients until they have sent something. */
import { TICK_MS } from "../deadlines.js";
import type { Listener } from "../transport/transport.js";

/**
 * If this many clients connect within a tick (1,000 a second), the kernel hands over each client with its first bytes, so that the balancer
 * is woken once for both. A client that sends nothing follows a second later.
 */
const MANY = 100;
/** With fewer clients than this per tick, each client is again handed over at once. */
const FEW = 50;

/**
 * After this time, in milliseconds, the kernel has handed over every client that it kept. Linux hands a client over at the end of the first
 * timeout of the handshake, which is 1 s, and after a further round trip.
 */
export const SETTLE_MS = 1500;

interface OpenSocket {
  readonly fd: number;
  readonly listener: Listener;
  isDeferred: boolean;
}

export class ListeningSockets {
  private sockets: OpenSocket[] = [];
  private acceptedBefore = 0;
  private isCrowded = false;
  private isClosing = false;
  /** The number of ticks for which clients may still be kept by the kernel. */
  private settleTicks = 0;

  /** @param mayWait whether clients of a descriptor may wait for the server to send first */
  constructor(private readonly mayWait: (fd: number) => boolean) {}

  get areOpen(): boolean {
    return this.sockets.length > 0;
  }

  add(fd: number, listener: Listener): void {
    this.sockets.push({ fd, listener, isDeferred: false });
  }

  /** Called at each tick. @param accepted the number of clients so far */
  tick(accepted: number): void {
    const arrived = accepted - this.acceptedBefore;
    this.acceptedBefore = accepted;
    this.isCrowded = arrived >= (this.isCrowded ? FEW : MANY);
    if (this.settleTicks > 0) this.settleTicks--;
    if (!this.isClosing) this.defer(this.isCrowded);
  }

  private defer(isOn: boolean): void {
    for (const socket of this.sockets) {
      const { fd, listener } = socket;
      if (listener.deferClients === undefined) continue;
      const isDeferred = isOn && !this.mayWait(fd);
      if (isDeferred) this.settleTicks = SETTLE_MS / TICK_MS;
      if (isDeferred !== socket.isDeferred) listener.deferClients(isDeferred);
      socket.isDeferred = isDeferred;
    }
  }

  /**
   * Called before `close`. From now on, each client is handed over at once. Returns whether the kernel may still keep clients: if so,
   * closing the socket within SETTLE_MS would reset them.
   */
  beginClosing(): boolean {
    this.isClosing = true;
    this.defer(false);
    return this.settleTicks > 0;
  }

  close(): void {
    for (const { listener } of this.sockets) listener.close();
    this.sockets = [];
  }
}
