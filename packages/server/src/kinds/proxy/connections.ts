/** Connections to the upstream: kept for one client's requests, and limited in number. */
import http from "node:http";
import https from "node:https";
import type { Duplex } from "node:stream";
import type { ProxySettings } from "./settings.js";

/** Members of node:http agents; `@types` lacks them. */
interface AgentParts {
  addRequest(request: http.ClientRequest, ...rest: unknown[]): void;
  createConnection(options: object, done: Done): Duplex | null | undefined;
  keepSocketAlive(socket: Duplex): boolean;
  reuseSocket(socket: Duplex, request: http.ClientRequest): void;
  /** For https: TLS sessions, by upstream. */
  _sessionCache?: unknown;
}
type Done = (error: Error | null, socket?: Duplex) => void;
type UpstreamAgent = Omit<http.Agent, keyof AgentParts> & AgentParts;

/** A request that waits for a connection. */
interface Waiting {
  request: http.ClientRequest | undefined;
  connect(): void;
}

export class Connections {
  private open = 0;
  /** Requests that wait for room. */
  private readonly waiting: Waiting[] = [];
  /** The request being passed to an agent. */
  private current: http.ClientRequest | undefined;
  /** Idle connections, the longest idle first. */
  private readonly idle = new Set<Duplex>();
  private readonly byClient = new WeakMap<object, UpstreamAgent>();
  private sessions: unknown;

  /** @param onRequest called with each request before it has a connection */
  constructor(
    private readonly settings: ProxySettings,
    private readonly onRequest: (request: http.ClientRequest) => void,
  ) {}

  /** Returns an agent for this client's connection. Data left on its connections cannot reach another client. */
  of(client: Duplex): http.Agent {
    let agent = this.byClient.get(client);
    if (agent === undefined) {
      const own = this.agent({ keepAlive: true, timeout: this.settings.idleTimeoutMs, scheduling: "lifo" });
      this.bound(own);
      this.byClient.set(client, own);
      client.once("close", () => own.destroy());
      agent = own;
    }
    return agent as unknown as http.Agent;
  }

  /** Returns an agent that keeps no connection. */
  fresh(): http.Agent {
    return this.agent({ keepAlive: false, maxSockets: this.settings.maxConnections }) as unknown as http.Agent;
  }

  private agent(options: http.AgentOptions): UpstreamAgent {
    const { isTls, secure, ca, serverName } = this.settings;
    // Without a servername the client's Host would be used, and checked against the certificate.
    const tls = { rejectUnauthorized: secure, servername: serverName, ...(ca === undefined ? {} : { ca }) };
    const agent = (isTls
      ? new https.Agent({ ...options, ...tls })
      : new http.Agent(options)) as unknown as UpstreamAgent;
    if (isTls) {
      // Shares TLS sessions, so that other clients skip the full handshake.
      this.sessions ??= agent._sessionCache;
      agent._sessionCache = this.sessions;
    }
    const { addRequest } = agent;
    agent.addRequest = (request, ...rest) => {
      this.onRequest(request);
      this.current = request;
      addRequest.call(agent, request, ...rest);
      this.current = undefined;
    };
    return agent;
  }

  /** Keeps an agent from opening connections beyond the limit. */
  private bound(agent: UpstreamAgent): void {
    const { createConnection, keepSocketAlive, reuseSocket } = agent;
    agent.createConnection = (options, done) => {
      this.whenRoom(this.current, () => {
        const socket = createConnection.call(agent, options, done) as Duplex;
        socket.once("close", () => this.closed(socket));
        done(null, socket);
      });
      return undefined;
    };
    agent.keepSocketAlive = (socket) => {
      if (this.waiting.length > 0 || !keepSocketAlive.call(agent, socket)) return false;
      this.idle.add(socket);
      // Data has arrived without a request.
      socket.on("data", destroySelf);
      return true;
    };
    agent.reuseSocket = (socket, request) => {
      this.idle.delete(socket);
      socket.removeListener("data", destroySelf);
      reuseSocket.call(agent, socket, request);
    };
  }

  private whenRoom(request: http.ClientRequest | undefined, connect: () => void): void {
    if (this.open < this.settings.maxConnections) {
      this.open++;
      return connect();
    }
    this.waiting.push({ request, connect });
    for (const socket of this.idle) {
      this.idle.delete(socket);
      socket.destroy();
      return;
    }
  }

  private closed(socket: Duplex): void {
    this.idle.delete(socket);
    let next = this.waiting.shift();
    // A request that was destroyed meanwhile needs no connection.
    while (next?.request?.destroyed === true) next = this.waiting.shift();
    if (next !== undefined) next.connect();
    else this.open--;
  }
}

function destroySelf(this: Duplex): void {
  this.destroy();
}
