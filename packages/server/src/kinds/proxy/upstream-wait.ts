/** Holds requests to the upstream to their deadlines: until they are connected, and while a response is owed. */
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

/** How often all waits are looked at: in a quarter of the shorter deadline, but no more often nor more rarely than this. */
const MIN_LOOK_MS = 20;
const MAX_LOOK_MS = 1000;

/** All waits of an instance: one timer looks after them, since one for each request would cost more than the rest of it. */
export class UpstreamWaits {
  private readonly waits = new Set<UpstreamWait>();
  private timer: NodeJS.Timeout | undefined;
  private readonly everyMs: number;

  constructor(readonly settings: ProxySettings) {
    const shorter = Math.min(settings.connectTimeoutMs, settings.responseTimeoutMs);
    this.everyMs = Math.min(MAX_LOOK_MS, Math.max(MIN_LOOK_MS, shorter / 4));
  }

  begin(request: ClientRequest, events: WaitEvents): UpstreamWait {
    const wait = new UpstreamWait(request, this, events);
    this.waits.add(wait);
    this.timer ??= setInterval(() => this.look(), this.everyMs);
    return wait;
  }

  end(wait: UpstreamWait): void {
    this.waits.delete(wait);
  }

  private look(): void {
    const now = performance.now();
    for (const wait of this.waits) wait.look(now);
    if (this.waits.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}

export class UpstreamWait {
  private readonly beganAt = performance.now();
  private isConnected = false;
  private socket: Socket | undefined;
  /** What the connection had received before this request. */
  private bytesBefore = 0;
  /** The bytes both ways, and when there were last more of them. */
  private bytes = 0;
  private movedAt = 0;

  constructor(
    request: ClientRequest,
    private readonly waits: UpstreamWaits,
    private readonly events: WaitEvents,
  ) {
    request.once("socket", (socket) => this.onSocket(socket));
    request.once("close", () => this.end());
  }

  /** Whether a byte of a response came. */
  get hasHeard(): boolean {
    return this.socket !== undefined && this.socket.bytesRead > this.bytesBefore;
  }

  /** No deadline of this request holds any more. */
  end(): void {
    this.waits.end(this);
  }

  look(now: number): void {
    const { connectTimeoutMs, responseTimeoutMs, maxConnections } = this.waits.settings;
    const { socket } = this;
    if (!this.isConnected) {
      if (now - this.beganAt < connectTimeoutMs) return;
      const fault: Fault =
        socket === undefined
          ? { status: 503, reason: `all of its ${maxConnections} connections were busy for ${connectTimeoutMs} ms` }
          : { status: 504, reason: `no connection within ${connectTimeoutMs} ms` };
      this.events.onLate(fault);
      return;
    }
    const bytes = (socket?.bytesRead ?? 0) + (socket?.bytesWritten ?? 0);
    if (bytes !== this.bytes || this.movedAt === 0 || this.events.isClientSlow()) {
      this.bytes = bytes;
      this.movedAt = now;
    } else if (now - this.movedAt >= responseTimeoutMs)
      this.events.onLate({ status: 504, reason: `it sent nothing for ${responseTimeoutMs} ms` });
  }

  private onSocket(socket: Socket): void {
    this.socket = socket;
    if (socket.connecting) socket.once(this.waits.settings.isTls ? "secureConnect" : "connect", () => this.connected());
    else this.connected();
  }

  private connected(): void {
    this.isConnected = true;
    this.bytesBefore = this.socket?.bytesRead ?? 0;
  }
}
