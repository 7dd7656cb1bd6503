/** Decides whether a client that connects may stay, by the limits of connections in total and for each address. */
import type { BalancerLimits, RunningTime } from "@paceline/wire";
import type { Peer } from "../http1/forwarded.js";
import { networkOf } from "../http1/trusted-proxies.js";

/** How many connections beyond the limit get a 503 at once; more are reset, because each takes a socket until the 503 is sent. */
const MAX_REFUSED = 256;
/** How many connections of one address beyond its limit get a 429 at once; more are reset. */
const MAX_REFUSED_OF_ADDRESS = 16;
/** A client without a request in progress may be chosen after this time, in milliseconds. */
export const MIN_WAIT_MS = 1000;
/** How many clients are checked for each new one, which limits the work of a full balancer. */
const LOOKS = 64;

export interface Guest {
  /** Since when the client owes a request or the rest of a head, in milliseconds of `Deadlines.now`; Infinity if it owes nothing. */
  readonly owesRequestSince: number;
  /** Whether the client has had a response and has not begun a further request. */
  readonly isKept: boolean;
  /** Closes its connection to make room for another client. */
  closeForOthers(): void;
}

export class Door {
  private readonly crowd: Crowd<Guest>;
  /** Undefined: one address may have as many connections as the total limit allows. */
  private readonly addresses: AddressConnections | undefined;

  constructor(
    private readonly limits: Pick<BalancerLimits, "maxConnections" | "maxConnectionsPerAddress">,
    private readonly deadlines: Pick<RunningTime, "now">,
    clients: Iterable<Guest>,
  ) {
    this.crowd = new Crowd(clients);
    if (limits.maxConnectionsPerAddress > 0) this.addresses = new AddressConnections();
  }

  /**
   * Counts a client that connects. Returns whether the client stays or is reset, or the status of its response before it is closed. Unless
   * this call has reset the client, `leave` must be called when it is closed.
   * @param connections the number of connections, including the new one
   */
  enter(peer: Peer, connections: number): "stays" | "reset" | 429 | 503 {
    const { maxConnections, maxConnectionsPerAddress } = this.limits;
    const beyond = (this.addresses?.enter(peer) ?? 0) - maxConnectionsPerAddress;
    if (this.addresses !== undefined && beyond > 0) {
      if (beyond <= MAX_REFUSED_OF_ADDRESS) return 429;
      this.addresses.leave(peer);
      return "reset";
    }
    return connections <= maxConnections || this.makeRoom() ? "stays" : 503;
  }

  /**
   * Whether a further client is reset, because MAX_REFUSED clients are being refused already.
   * @param connections the number of connections, without the new one
   */
  isOverrun(connections: number): boolean {
    return connections >= this.limits.maxConnections + MAX_REFUSED;
  }

  leave(peer: Peer): void {
    this.addresses?.leave(peer);
  }

  /** Closes the client that has waited longest without a request in progress. Returns false if there is none. */
  makeRoom(): boolean {
    const client = this.crowd.choose(this.deadlines.now);
    client?.closeForOthers();
    return client !== undefined;
  }
}

/** Chooses the client whose connection is closed for a new one when connections are at their limit. */
export class Crowd<Client extends Guest> {
  /** The position at which the last search ended. */
  private rest: Iterator<Client> | undefined;

  constructor(private readonly clients: Iterable<Client>) {}

  /**
   * Checks some clients and returns the one to be closed: preferably one that has not sent a whole head, otherwise one that is idle between
   * requests. Among equals, it is the one that has waited longest. Undefined if each checked client has a request in progress, or is new.
   */
  choose(now: number): Client | undefined {
    let chosen: Client | undefined;
    for (let looks = 0; looks < LOOKS; looks++) {
      const client = this.next();
      if (client === undefined) break;
      if (now - client.owesRequestSince < MIN_WAIT_MS) continue;
      if (chosen === undefined || comesBefore(client, chosen)) chosen = client;
    }
    return chosen;
  }

  /** Returns the next client. Each search continues where the last one ended, and starts over after the last client. */
  private next(): Client | undefined {
    const known = this.rest?.next();
    if (known?.done === false) return known.value;
    this.rest = this.clients[Symbol.iterator]();
    const first = this.rest.next();
    return first.done === true ? undefined : first.value;
  }
}

function comesBefore(one: Guest, other: Guest): boolean {
  return one.isKept === other.isKept ? one.owesRequestSince < other.owesRequestSince : other.isKept;
}

/** Counts the open connections of each client address. The IPv6 addresses of one /64 count as one. */
export class AddressConnections {
  /** The number of entries is at most the number of open connections. */
  private readonly counts = new Map<string, number>();

  /** The number of addresses with connections. */
  get size(): number {
    return this.counts.size;
  }

  /**
   * Counts a new connection. Returns the number of connections of its address. Returns 0 if no limit applies, which is so for a trusted
   * proxy and for a client without an address.
   */
  enter(peer: Peer): number {
    const network = limitedNetwork(peer);
    if (network === undefined) return 0;
    const count = (this.counts.get(network) ?? 0) + 1;
    this.counts.set(network, count);
    return count;
  }

  /** Counts a closed connection. */
  leave(peer: Peer): void {
    const network = limitedNetwork(peer);
    if (network === undefined) return;
    const count = (this.counts.get(network) ?? 0) - 1;
    if (count > 0) this.counts.set(network, count);
    else this.counts.delete(network);
  }
}

function limitedNetwork({ node, isTrusted }: Peer): string | undefined {
  return isTrusted ? undefined : networkOf(node);
}
