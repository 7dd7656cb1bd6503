/** Decides what happens to a new connection: it is reset, refused with a response, or served over HTTP/1.1 or by a pool in tcp mode. */
import { descriptorLimit, descriptorNotice, maxSockets, type Snapshot } from "@paceline/wire";
import { Door } from "../admission/door.js";
import type { Relay } from "../exchange/relay.js";
import { type Peer, SECURE } from "../http1/forwarded.js";
import { UNKNOWN } from "../http1/trusted-proxies.js";
import type { Counters } from "../stats/counters.js";
import { type TcpClient, TcpDownstream, type TcpServices } from "../tcp/tcp-downstream.js";
import { Handshake, HandshakeTurns, type TlsService } from "../tls/handshake.js";
import { type Connection, type ConnectionOwner, type Ends, NO_OWNER, type Transport } from "../transport/transport.js";
import type { UpstreamRegistry } from "../upstreams/registry.js";
import { Http1Downstream } from "./http1.js";
import { Http2Downstream } from "./http2.js";
import { Http2Scratch } from "./http2-scratch.js";
import { ClosedClients, ProxiedClient } from "./proxied.js";

type Client = Http1Downstream | Http2Downstream | ProxiedClient | TcpDownstream | Handshake;

/** An address at which clients connect. */
export interface Entrance {
  fd: number;
  isUnix: boolean;
  /** Whether each connection begins with a PROXY header. */
  isProxied: boolean;
  /** Starts TLS; undefined: clients speak plain HTTP. */
  tls: TlsService | undefined;
  /** The https port to which requests are redirected; undefined: requests are not redirected. */
  redirect: number | undefined;
}

interface AcceptorOptions {
  transport: Transport;
  relay: Relay;
  counters: Counters;
  tcp: TcpServices;
  registry: UpstreamRegistry;
  /** Called when a client has connected. */
  onEntered(): void;
  /** Called when a client has disconnected, or was reset at once. */
  onLeft(): void;
  /** Receives a line for the operator. */
  onNotice(message: string): void;
}

export class Acceptor {
  readonly clients = new Set<Client>();
  private readonly descriptors = descriptorLimit();
  /** Above this number of sockets, new clients are reset. Bun would busy-loop while it cannot accept a waiting client. */
  private readonly maxSockets = maxSockets(this.descriptors);
  private hasReportedDescriptorLimit = false;
  /** The pools in tcp mode, by the descriptors of their addresses. */
  private tcpPools: ReadonlyMap<number, string> = new Map();
  private readonly door: Door;
  private readonly proxyProblems: ClosedClients;
  private readonly floods: ClosedClients;
  private readonly handshakeTurns = new HandshakeTurns();
  /** Clients that get their refusal once TLS is established. They do not count as clients. If there are too many, the oldest is reset. */
  private readonly refused = new Set<Handshake>();
  private http2Scratch: Http2Scratch | undefined;

  constructor(private readonly options: AcceptorOptions) {
    const { limits, deadlines } = options.relay;
    this.door = new Door(limits, deadlines, this.clients);
    this.proxyProblems = new ClosedClients(options.onNotice, "without a good PROXY header");
    this.floods = new ClosedClients(options.onNotice, "for a flood of HTTP/2 frames");
  }

  follow({ listen }: Snapshot): void {
    this.tcpPools = new Map(listen.flatMap(({ fd, pool }) => (pool === undefined ? [] : [[fd, pool]])));
  }

  /** Whether the clients of this descriptor belong to a pool in tcp mode. */
  isTcp(fd: number): boolean {
    return this.tcpPools.has(fd);
  }

  accept(connection: Connection, entrance: Entrance): ConnectionOwner {
    const { isUnix, isProxied } = entrance;
    const { counters, relay, transport } = this.options;
    counters.connectionsTotal++;
    if (transport.openSockets > this.maxSockets) {
      // Makes room for the next client.
      if (!this.dropRefused()) this.door.makeRoom();
      connection.reset();
      this.reportDescriptorLimit();
      return NO_OWNER;
    }
    if (this.door.isOverrun(counters.connections) && !this.dropRefused()) {
      connection.reset();
      return NO_OWNER;
    }
    const peer = relay.forwarded.peer(connection.remoteAddress, isUnix);
    if (isProxied && !peer.isTrusted) {
      connection.reset();
      // A client that has already disconnected has no address.
      if (peer.node !== UNKNOWN) this.proxyProblems.note(peer.node, "it is not in `balancer.trustedProxies`");
      return NO_OWNER;
    }
    counters.connections++;
    this.options.onEntered();
    return isProxied ? this.awaitHeader(connection, peer, entrance) : this.addClient(connection, peer, entrance, null);
  }

  /** @param ends the addresses from a PROXY header; null if there is no proxy, or if the proxy itself is the client */
  private addClient(
    connection: Connection,
    peer: Peer,
    entrance: Entrance,
    ends: Ends | undefined | null,
  ): ConnectionOwner {
    const { counters } = this.options;
    const { fd, tls, redirect } = entrance;
    const entry = this.door.enter(peer, counters.connections - this.refused.size);
    const tcp = this.tcpPools.get(fd);
    if (tcp !== undefined && entry === "stays") return this.addTcpClient({ connection, peer, ends }, tcp);
    // In tcp mode there is no response that could give the reason.
    if (tcp !== undefined && entry !== "reset") this.door.leave(peer);
    if (tcp !== undefined || entry === "reset") {
      counters.connections--;
      connection.reset();
      this.options.onLeft();
      return NO_OWNER;
    }
    const add = (plain: Connection, known: Peer, protocol: string) => {
      const client = { connection: plain, peer: known, ends };
      return protocol === "h2" ? this.addHttp2(client, entry, redirect) : this.addHttp1(client, entry, redirect);
    };
    return tls === undefined
      ? add(connection, peer, "")
      : this.shakeHands(tls, connection, peer, entry !== "stays", add);
  }

  private addHttp1(
    { connection, peer, ends }: TcpClient,
    entry: "stays" | 429 | 503,
    redirect: number | undefined,
  ): ConnectionOwner {
    const { relay } = this.options;
    const mayTurn = relay.limits.maxStreamsPerConnection > 0 && entry === "stays";
    const onHttp2 = mayTurn ? this.turnToHttp2 : undefined;
    const client = new Http1Downstream(relay, connection, peer, this.onClientGone, onHttp2);
    client.proxyEnds = ends;
    client.redirectPort = redirect;
    this.clients.add(client);
    if (entry !== "stays") client.refuse(entry);
    return client;
  }

  /** Called when a client starts with the preface of HTTP/2 (RFC 9113 §3.3). */
  private readonly turnToHttp2 = (from: Http1Downstream, connection: Connection, received: Buffer): void => {
    this.clients.delete(from);
    const client = this.addHttp2({ connection, peer: from.peer, ends: from.proxyEnds }, "stays", from.redirectPort);
    connection.owner = client;
    client.onData(received);
  };

  private addHttp2(
    { connection, peer, ends }: TcpClient,
    entry: "stays" | 429 | 503,
    redirect: number | undefined,
  ): Http2Downstream {
    const { relay } = this.options;
    this.http2Scratch ??= new Http2Scratch(relay);
    const client = new Http2Downstream(relay, connection, peer, this.http2Scratch, this.onClientGone);
    client.proxyEnds = ends;
    client.redirectPort = redirect;
    this.clients.add(client);
    if (entry !== "stays") client.refuse(entry);
    return client;
  }

  /** A client in a TLS handshake counts like one that has not sent a whole head: it has a deadline, and may be closed to make room. */
  private shakeHands(
    tls: TlsService,
    connection: Connection,
    peer: Peer,
    isRefused: boolean,
    add: (secured: Connection, peer: Peer, protocol: string) => ConnectionOwner,
  ): Handshake {
    const { relay } = this.options;
    const { forwarded, deadlines, limits } = relay;
    const handshake: Handshake = new Handshake({
      ...{ connection, tls, peer, deadlines, timeoutMs: limits.handshakeTimeoutMs, turns: this.handshakeTurns },
      onSecure: (secured, { protocol, certificate }) => {
        this.clients.delete(handshake);
        this.refused.delete(handshake);
        return add(secured, forwarded.secured(peer, certificate.length === 0 ? SECURE : { certificate }), protocol);
      },
      onGone: () => {
        this.refused.delete(handshake);
        this.onClientGone(handshake);
      },
    });
    (isRefused ? this.refused : this.clients).add(handshake);
    return handshake;
  }

  /** Resets the client that has waited longest for its refusal over TLS. Returns false if there is none. */
  private dropRefused(): boolean {
    for (const oldest of this.refused) {
      oldest.closeForOthers();
      return true;
    }
    return false;
  }

  private addTcpClient(client: TcpClient, poolName: string): ConnectionOwner {
    const { tcp, registry } = this.options;
    const downstream = new TcpDownstream(tcp, client, registry.pool(poolName), this.onClientGone);
    this.clients.add(downstream);
    downstream.find();
    return downstream;
  }

  /**
   * Reads the PROXY header at the start of a trusted proxy's connection. If it has no address, the client counts as unknown and untrusted.
   */
  private awaitHeader(connection: Connection, peer: Peer, entrance: Entrance): ProxiedClient {
    const { relay } = this.options;
    const proxied = new ProxiedClient({
      ...{ connection, deadlines: relay.deadlines, timeoutMs: relay.limits.headTimeoutMs },
      onHeader: (header) => {
        this.clients.delete(proxied);
        if (header.kind === "local") return this.addClient(connection, peer, entrance, null);
        const { ends } = header;
        return this.addClient(connection, relay.forwarded.peer(ends?.address ?? "", false), entrance, ends);
      },
      onGone: (problem) => {
        if (problem !== undefined) this.proxyProblems.note(peer.node, problem);
        this.onClientGone(proxied);
      },
    });
    this.clients.add(proxied);
    return proxied;
  }

  /** Called when this process exits before its clients have everything. */
  cutParts(): void {
    for (const client of [...this.clients])
      if (client instanceof Http1Downstream || client instanceof TcpDownstream) client.cutIfPart();
  }

  private reportDescriptorLimit(): void {
    if (this.hasReportedDescriptorLimit) return;
    this.hasReportedDescriptorLimit = true;
    this.options.onNotice(descriptorNotice(this.maxSockets, this.descriptors));
  }

  private readonly onClientGone = (client: Client): void => {
    this.options.counters.connections--;
    this.clients.delete(client);
    if (client instanceof Http2Downstream && client.wasFlood)
      this.floods.note(client.peer.node, "more than its requests and responses allow");
    if (!(client instanceof ProxiedClient)) this.door.leave(client.peer);
    this.options.onLeft();
  };
}
