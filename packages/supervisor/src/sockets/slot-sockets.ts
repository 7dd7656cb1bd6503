/**
 * The sockets of pools in direct mode. Each slot has its own socket for each address, shared by SO_REUSEPORT (socket(7)). The kernel
 * spreads connections over these sockets. The processes of a slot inherit them one after another, so that a replacement accepts the
 * connections that wait there.
 */
import { closeSync } from "node:fs";
import { formatListenAddress } from "../config/listen-address.js";
import type { PoolConfig } from "../core/model.js";
import type { BoundSocket } from "./bind-node.js";
import { bindShared, checkUnused, copySocket, type TcpListenAddress } from "./listening-sockets.js";

/** How long the connections that wait for an exited process are kept for the next one; during this time the slot gets more connections. */
const KEPT_MS = 1000;

interface SlotSocketsOptions {
  /** Whether a process of this slot is running. */
  isAlive(slot: string): boolean;
  keptMs?: number;
}

type Held = Pick<BoundSocket, "fd" | "close">;

interface Slot {
  readonly sockets: readonly Held[];
  timer: NodeJS.Timeout | undefined;
}

export class SlotSockets {
  /** Sockets that never listen: they keep other users from taking the addresses. */
  private readonly reserved: BoundSocket[] = [];
  private readonly slots = new Map<string, Slot>();
  /** For example `http://127.0.0.1:8080`. */
  readonly urls: string[] = [];

  constructor(private readonly options: SlotSocketsOptions) {}

  /**
   * Reserves the addresses of the pools.
   * @param isShared whether processes of this fleet may already listen there
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

  /**
   * Returns the descriptors for a new process of a slot, in the order of its addresses.
   * @throws PacelineError with the system's code
   */
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

  /** Continues with the sockets of a process that an earlier supervisor has started, if the system allows us to copy them. */
  recover(slot: string, pid: number, addresses: readonly TcpListenAddress[]): void {
    if (this.slots.has(slot)) return;
    const sockets: Held[] = [];
    for (const address of addresses) {
      const fd = copySocket(pid, address);
      if (fd !== undefined) sockets.push({ fd, close: () => closeSync(fd) });
    }
    if (sockets.length === addresses.length) this.slots.set(slot, { sockets, timer: undefined });
    else for (const socket of sockets) socket.close();
  }

  /** Called when a process of the slot accepts connections. */
  ready(slot: string): void {
    const known = this.slots.get(slot);
    if (known === undefined) return;
    clearTimeout(known.timer);
    known.timer = undefined;
  }

  /** Called when a process of the slot has exited; another process may already have replaced it. */
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
