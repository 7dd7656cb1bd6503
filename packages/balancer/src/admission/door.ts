/** Whether a client that connects may stay: the limits of connections, of all clients together and of each address. */
import type { BalancerLimits, RunningTime } from "@paceline/wire";
import type { Peer } from "../http1/forwarded.js";
import { networkOf } from "../upstreams/slot-hash.js";

/** How many connections beyond the limit get a 503 at once; more are reset, because each takes a socket until the 503 is sent. */
const MAX_REFUSED = 256;
/** How many connections of one address beyond its limit get a 429 at once; more are reset. */
const MAX_REFUSED_OF_ADDRESS = 16;
/** A client without a request in progress may be chosen after this time, in milliseconds. */
export const MIN_WAIT_MS = 1000;
/** How many clients are looked at for each new one, so that a full balancer does no more work than that. */
const LOOKS = 64;

export interface Guest {
  /** Since when the client owes a request, or the rest of a head, in milliseconds of `Deadlines.now`; Infinity: it does not. */
  readonly owesRequestSince: number;
  /** Whether it has had a response, and owes nothing of a further request. */
  readonly isKept: boolean;
  /** Closes its connection, for another client. */
  giveWay(): void;
}

export class Door {
  private readonly crowd: Crowd<Guest>;
  /** Undefined: an address may have as many connections as all together. */
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
   * Counts a client that connects. Returns whether it stays, its connection is reset, or it gets a response of that status as its last.
   * `leave` follows when it is closed, unless it was reset here.
   * @param connections how many there are with it
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

  /** Whether so many clients are being refused that a further one is reset. @param connections how many there are without it */
  isOverrun(connections: number): boolean {
    return connections >= this.limits.maxConnections + MAX_REFUSED;
  }

  leave(peer: Peer): void {
    this.addresses?.leave(peer);
  }

  /** Closes the client that has waited longest without a request in progress. Returns false if there is none. */
  makeRoom(): boolean {
    const client = this.crowd.choose(this.deadlines.now);
    client?.giveWay();
    return client !== undefined;
  }
}

/** Chooses the client that gives way to a new one when connections are at their limit. */
export class Crowd<Client extends Guest> {
  /** Where the last look ended. */
  private rest: Iterator<Client> | undefined;

  constructor(private readonly clients: Iterable<Client>) {}

  /**
   * Returns the client to be closed: first one that has not sent a whole head, then one that is idle between requests; of each kind the
   * one that has waited longest among those that were looked at. Undefined if each of them has a request in progress, or is new.
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

  /** Goes round: the next look goes on where the last one ended. */
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

/** Counts the open connections of each client address; an IPv6 address counts with the others of its /64. */
export class AddressConnections {
  /** As large as the number of open connections at most. */
  private readonly counts = new Map<string, number>();

  /** The number of addresses with connections. */
  get size(): number {
    return this.counts.size;
  }

  /** Counts a new connection. Returns the connections of its address, 0 if that has no limit: a trusted proxy's, or none. */
  enter(peer: Peer): number {
    const network = limitedNetwork(peer);
    if (network === undefined) return 0;
    const count = (this.counts.get(network) ?? 0) + 1;
    this.counts.set(network, count);
    return count;
  }

  /** The connection is closed. */
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
