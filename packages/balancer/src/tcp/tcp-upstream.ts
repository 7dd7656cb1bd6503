/** The upstream client of a pool in tcp mode: one connection for each client's connection, and no requests. */
import type { ProxyVersion, SocketAddress } from "@paceline/wire";
import type { Connector, Transport } from "../transport/transport.js";
import type { TcpConnections, UpstreamClient, UpstreamStream } from "../upstreams/upstream-client.js";

/**
 * How many connections may be in progress at once. If the kernel's accept queue overflows, it refuses connections as if the program had
 * exited.
 */
const MAX_CONNECTING = 128;

interface TcpClientOptions {
  maxConnections: number;
  sendProxy: ProxyVersion | undefined;
  /** Called when there is room again. */
  onRoom(): void;
}

export class TcpUpstreamClient implements UpstreamClient, TcpConnections {
  connections = 0;
  private connecting = 0;
  private onEmpty: (() => void) | undefined;

  constructor(
    private readonly transport: Transport,
    private readonly address: SocketAddress,
    private readonly options: TcpClientOptions,
  ) {}

  readonly tcp = this;

  get sendProxy(): ProxyVersion | undefined {
    return this.options.sendProxy;
  }

  hasRoom(): boolean {
    return this.connections < this.options.maxConnections && this.connecting < MAX_CONNECTING;
  }

  connect(connector: Connector): void {
    this.connections++;
    this.connecting++;
    this.transport.connect(this.address, {
      sendsMuch: typeof this.address === "string",
      onConnected: (connection) => {
        this.connecting--;
        const owner = connector.onConnected(connection);
        if (!this.isLeaving) this.options.onRoom();
        return owner;
      },
      onConnectFailed: (error) => {
        this.connecting--;
        connector.onConnectFailed(error);
      },
    });
  }

  closed(): void {
    this.connections--;
    if (this.isLeaving) {
      if (this.connections === 0) this.onEmpty?.();
    } else if (this.connections === this.options.maxConnections - 1) this.options.onRoom();
  }

  private get isLeaving(): boolean {
    return this.onEmpty !== undefined;
  }

  leave(onEmpty: () => void): void {
    this.onEmpty = onEmpty;
    if (this.connections === 0) onEmpty();
  }

  // Only requests have these:

  readonly pending = 0;
  readonly notStarted = 0;

  open(): UpstreamStream {
    throw new TypeError("a pool in tcp mode gets no requests");
  }

  closeIdleSince(): void {}

  countStall(): number {
    return 0;
  }

  reassign(): void {}

  runningRequest(): undefined {
    return undefined;
  }

  overdue(): undefined {
    return undefined;
  }
}
