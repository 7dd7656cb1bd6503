/** Holds one request to the upstream to its deadlines: until it is connected, and while an answer is owed. */
import type { ClientRequest } from "node:http";
import type { Socket } from "node:net";
import type { Fault } from "./faults.js";
import type { ProxySettings } from "./settings.js";

export interface WaitEvents {
  /** The upstream is late. */
  onLate(fault: Fault): void;
  /** Whether the client holds things up, and not the upstream. */
  isClientSlow(): boolean;
}

/**
 * Whether an upstream is silent is told by its socket alone, which knows of the last byte in either direction; so the wait
 * for a slow client must be told apart from it.
 */
export class UpstreamWait {
  /** What the connection had received before this request. */
  private bytesBefore = 0;
  private socket: Socket | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly request: ClientRequest,
    private readonly settings: ProxySettings,
    private readonly events: WaitEvents,
  ) {
    this.timer = setTimeout(() => this.connectLate(), settings.connectTimeoutMs);
    request.once("socket", (socket) => this.onSocket(socket));
    request.once("close", () => this.end());
  }

  /** Whether a byte of an answer came. */
  get hasHeard(): boolean {
    return this.socket !== undefined && this.socket.bytesRead > this.bytesBefore;
  }

  /** No deadline of this request holds any more. */
  end(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private onSocket(socket: Socket): void {
    this.socket = socket;
    this.bytesBefore = socket.bytesRead;
    if (socket.connecting) socket.once(this.settings.isTls ? "secureConnect" : "connect", () => this.connected());
    else this.connected();
  }

  private connected(): void {
    if (this.timer === undefined) return;
    this.end();
    // A TLS socket's count begins with the handshake.
    this.bytesBefore = this.socket?.bytesRead ?? 0;
    const { responseTimeoutMs } = this.settings;
    this.request.on("timeout", () => {
      if (this.events.isClientSlow()) this.socket?.setTimeout(responseTimeoutMs);
      else this.events.onLate({ status: 504, reason: `it sent nothing for ${responseTimeoutMs} ms` });
    });
    this.request.setTimeout(responseTimeoutMs);
  }

  private connectLate(): void {
    const { connectTimeoutMs, maxConnections } = this.settings;
    this.events.onLate(
      this.socket === undefined
        ? { status: 503, reason: `all of its ${maxConnections} connections were busy for ${connectTimeoutMs} ms` }
        : { status: 504, reason: `it could not be connected within ${connectTimeoutMs} ms` },
    );
  }
}
