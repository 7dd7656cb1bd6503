/** The upstream as an instance sees it: the library, the kept connections, and the seam at which both meet. */
import http, { type ClientRequest } from "node:http";
import https from "node:https";
import type Server from "http-proxy";
import { FaultLog } from "./faults.js";
import { loadLibrary } from "./library.js";
import type { ProxySettings } from "./settings.js";
import { UpstreamWaits } from "./upstream-wait.js";

/** The method by which node:http gives a request to its agent, before anything of it is written; `@types` leave it out. */
type AddRequest = (request: ClientRequest, ...rest: unknown[]) => void;

type UpstreamAgent = http.Agent & { addRequest: AddRequest };

export class Upstream {
  readonly faults: FaultLog;
  /** Keeps connections. */
  readonly kept: http.Agent;
  /** Makes a connection for each request: for upgrades, and where a kept one turned out to be closed. */
  readonly fresh: http.Agent;
  readonly waits: UpstreamWaits;
  private onRequest: ((request: ClientRequest) => void) | undefined;

  static async open(settings: ProxySettings, isBehindBalancer: boolean): Promise<Upstream> {
    return new Upstream(settings, isBehindBalancer, await loadLibrary(settings));
  }

  private constructor(
    readonly settings: ProxySettings,
    readonly isBehindBalancer: boolean,
    readonly library: Server,
  ) {
    this.faults = new FaultLog(settings.name);
    this.waits = new UpstreamWaits(settings);
    this.kept = this.agent({ keepAlive: true, timeout: settings.idleTimeoutMs, scheduling: "lifo" });
    this.fresh = this.agent({ keepAlive: false });
  }

  /**
   * Has the library make its request to the upstream in `call`. The library tells of it only when it has a connection, and
   * then without a word of its path: `begun` gets it before that, so that it hears of everything first.
   */
  request(target: string, begun: (request: ClientRequest) => void, call: () => void): void {
    this.onRequest = (request) => {
      request.path = target;
      // More fields than 2000 would be left out in silence; the bound of the head's bytes holds all the same.
      request.maxHeadersCount = 0;
      begun(request);
    };
    try {
      call();
    } finally {
      this.onRequest = undefined;
    }
  }

  close(): void {
    this.kept.destroy();
    this.fresh.destroy();
  }

  private agent(options: http.AgentOptions): http.Agent {
    const { isTls, secure, ca, serverName, maxConnections } = this.settings;
    const common = { ...options, maxSockets: maxConnections, maxTotalSockets: maxConnections };
    // Without a servername it would be the Host that the client asked for, and the certificate held against that.
    const tls = { rejectUnauthorized: secure, servername: serverName, ...(ca === undefined ? {} : { ca }) };
    const agent = (isTls ? new https.Agent({ ...common, ...tls }) : new http.Agent(common)) as UpstreamAgent;
    const { addRequest } = agent;
    agent.addRequest = (request, ...rest) => {
      this.onRequest?.(request);
      addRequest.call(agent, request, ...rest);
    };
    return agent;
  }
}
