/**
 * The sockets of pools in direct mode. Each slot has its own for each address, shared by SO_REUSEPORT: the kernel spreads connections over
 * them, and the slot's processes inherit them one after another, so that a replacement goes on with what waits.
 */
import { closeSync } from "node:fs";
import { formatListenAddress } from "../config/listen-address.js";
import type { PoolConfig } from "../core/model.js";
import type { BoundSocket } from "./bind-node.js";
import { bindShared, checkUnused, copyOf, type TcpListenAddress } from "./listening-sockets.js";

/** How long the connections that wait for an ended process are kept for the next one; meanwhile the slot gets more. */
const KEPT_MS = 1000;

interface SlotSocketsOptions {
  /** Whether a process of this slot runs. */
  isAlive(slot: string): boolean;
  keptMs?: number;
}

type Held = Pick<BoundSocket, "fd" | "close">;

interface Slot {
  readonly sockets: readonly Held[];
  timer: NodeJS.Timeout | undefined;
}

export class SlotSockets {
  /** Sockets that never listen: nobody else gets the addresses. */
  private readonly reserved: BoundSocket[] = [];
  private readonly slots = new Map<string, Slot>();
  /** Such as `http://127.0.0.1:8080`. */
  readonly urls: string[] = [];

  constructor(private readonly options: SlotSocketsOptions) {}

  /**
   * Reserves the addresses of the pools.
   * @param isShared whether processes of this fleet may listen there
   * @throws PacelineError with the system's code, or `ENOTSUP`
   */
  reserve(pools: readonly Pick<PoolConfig, "bind">[], isShared: boolean): void {
    const all = pools.flatMap(({ bind = [] }) => bind);
    for (const address of all) {
      if (!isShared) checkUnused(address, all);
      this.reserved.push(bindShared(address, all));
      this.urls.push(formatListenAddress(address));
    }
  }

  /** Returns the descriptors for a new process of a slot, in the order of its addresses. @throws PacelineError with the system's code */
  take(slot: string, addresses: readonly TcpListenAddress[]): number[] {
    const known = this.slots.get(slot);
    if (known !== undefined) return known.sockets.map(({ fd }) => fd);
    const sockets: BoundSocket[] = [];
    try {
      for (const address of addresses) sockets.push(bindShared(address, addresses));
    } catch (error) {
      for (const socket of sockets) socket.close();
      throw error;
    }
    this.slots.set(slot, { sockets, timer: undefined });
    return sockets.map(({ fd }) => fd);
  }

  /** Goes on with the sockets of a process that an earlier supervisor has started, if the system lets us have copies of them. */
  recover(slot: string, pid: number, addresses: readonly TcpListenAddress[]): void {
    if (this.slots.has(slot)) return;
    const sockets: Held[] = [];
    for (const address of addresses) {
      const fd = copyOf(pid, address);
      if (fd !== undefined) sockets.push({ fd, close: () => closeSync(fd) });
    }
    if (sockets.length === addresses.length) this.slots.set(slot, { sockets, timer: undefined });
    else for (const socket of sockets) socket.close();
  }

  /** A process of the slot accepts. */
  ready(slot: string): void {
    const known = this.slots.get(slot);
    if (known === undefined) return;
    clearTimeout(known.timer);
    known.timer = undefined;
  }

  /** A process of the slot has ended, and another may have taken its place or not. */
  ended(slot: string): void {
    const known = this.slots.get(slot);
    if (known === undefined || known.timer !== undefined) return;
    known.timer = setTimeout(() => {
      known.timer = undefined;
      if (this.options.isAlive(slot)) this.ended(slot);
      else this.release(slot);
    }, this.options.keptMs ?? KEPT_MS);
    known.timer.unref();
  }

  /** Closes our copies: the slot's last process closes the sockets, and connections go to the other slots. */
  release(slot: string): void {
    const known = this.slots.get(slot);
    if (known === undefined) return;
    clearTimeout(known.timer);
    this.slots.delete(slot);
    for (const socket of known.sockets) socket.close();
  }

  close(): void {
    for (const slot of [...this.slots.keys()]) this.release(slot);
    for (const socket of this.reserved.splice(0)) socket.close();
  }
}
