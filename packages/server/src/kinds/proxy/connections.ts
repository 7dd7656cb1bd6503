/** Connections to the upstream: kept for the client whose requests they carried, and no more at once than the upstream is to have. */
import http from "node:http";
import https from "node:https";
import type { Duplex } from "node:stream";
import type { ProxySettings } from "./settings.js";

/** What node:http asks of its agent; `@types` leave these out. */
interface AgentParts {
  addRequest(request: http.ClientRequest, ...rest: unknown[]): void;
  createConnection(options: object, done: Done): Duplex | null | undefined;
  keepSocketAlive(socket: Duplex): boolean;
  reuseSocket(socket: Duplex, request: http.ClientRequest): void;
  /** Of https: TLS sessions, by upstream. */
  _sessionCache?: unknown;
}
type Done = (error: Error | null, socket?: Duplex) => void;
type UpstreamAgent = Omit<http.Agent, keyof AgentParts> & AgentParts;

/** A request that waits for a connection to be made. */
interface Waiting {
  request: http.ClientRequest | undefined;
  connect(): void;
}

export class Connections {
  private open = 0;
  /** Those that wait for room. */
  private readonly waiting: Waiting[] = [];
  /** The one that is given to an agent just now. */
  private current: http.ClientRequest | undefined;
  /** Those without a request, the longest idle first. */
  private readonly idle = new Set<Duplex>();
  private readonly byClient = new WeakMap<object, UpstreamAgent>();
  private sessions: unknown;

  /** @param onRequest hears of each request before it has a connection. */
  constructor(
    private readonly settings: ProxySettings,
    private readonly onRequest: (request: http.ClientRequest) => void,
  ) {}

  /** Keeps connections for the requests of this client's connection. What a response left behind on them reaches nobody else. */
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

  /** One that keeps no connection. */
  fresh(): http.Agent {
    return this.agent({ keepAlive: false, maxSockets: this.settings.maxConnections }) as unknown as http.Agent;
  }

  private agent(options: http.AgentOptions): UpstreamAgent {
    const { isTls, secure, ca, serverName } = this.settings;
    // Without a servername it would be the Host that the client asked for, and the certificate held against that.
    const tls = { rejectUnauthorized: secure, servername: serverName, ...(ca === undefined ? {} : { ca }) };
    const agent = (isTls
      ? new https.Agent({ ...options, ...tls })
      : new http.Agent(options)) as unknown as UpstreamAgent;
    if (isTls) {
      // A session that one client's connection began spares another's the whole handshake.
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

  /** Has an agent open no connection while all are in use. */
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
      // A response to no request.
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
    // One that was refused meanwhile needs none.
    while (next?.request?.destroyed === true) next = this.waiting.shift();
    if (next !== undefined) next.connect();
    else this.open--;
  }
}

function destroySelf(this: Duplex): void {
  this.destroy();
}
