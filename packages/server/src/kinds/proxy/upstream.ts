/** The upstream as an instance sees it: the library, the kept connections, and the seam at which both meet. */
import type { Agent, ClientRequest } from "node:http";
import type { Duplex } from "node:stream";
import type Server from "http-proxy";
import { Connections } from "./connections.js";
import { FaultLog } from "./faults.js";
import { loadLibrary } from "./library.js";
import type { ProxySettings } from "./settings.js";
import { UpstreamWaits } from "./upstream-wait.js";

export class Upstream {
  readonly faults: FaultLog;
  private readonly connections: Connections;
  /** Makes a connection for each request: for upgrades, and where a kept one turned out to be closed. */
  readonly fresh: Agent;
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
    this.connections = new Connections(settings, (request) => this.onRequest?.(request));
    this.fresh = this.connections.fresh();
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

  /** Keeps connections for the requests of this client's connection alone. */
  kept(client: Duplex): Agent {
    return this.connections.of(client);
  }

  close(): void {
    this.fresh.destroy();
  }
}
