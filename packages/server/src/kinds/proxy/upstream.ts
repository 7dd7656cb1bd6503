/** The upstream of an instance: http-proxy without its bugs and its warnings, the kept connections, waits and faults. */

import type { Agent, ClientRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { parse, type UrlWithStringQuery } from "node:url";
import { RunningTime } from "@paceline/wire";
import type Server from "http-proxy";
import { Connections } from "./connections.js";
import { bareHost, type ProxySettings } from "./settings.js";

export class Upstream {
  readonly faults: FaultLog;
  private readonly connections: Connections;
  /** Creates a connection per request. Used for upgrades, and for retries after a kept connection was closed. */
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
   * Lets the library send its request in `call`. The library reports the request only once it has a connection. `onStart` receives it
   * earlier, and so hears all events first.
   */
  request(target: string, onStart: (request: ClientRequest) => void, call: () => void): void {
    this.onRequest = (request) => {
      request.path = target;
      // By default, Node silently drops fields beyond 2000. The size limit of the head still applies.
      request.maxHeadersCount = 0;
      onStart(request);
    };
    try {
      call();
    } finally {
      this.onRequest = undefined;
    }
  }

  /** Keeps connections only for this client's connection. */
  kept(client: Duplex): Agent {
    return this.connections.of(client);
  }

  close(): void {
    this.fresh.destroy();
  }
}

interface WaitEvents {
  /** Called when the upstream is late. */
  onLate(fault: Fault): void;
  /** Whether the client causes the delay, as opposed to the upstream. */
  isClientSlow(): boolean;
}

/** How many bytes that belong to no head an upstream may send, because Node drops any number of empty lines before a head. */
const MAX_UNHEARD_BYTES = 131_072;

/** The limits of the check interval, in milliseconds. The interval is a quarter of the shorter timeout. */
const MIN_LOOK_MS = 20;
const MAX_LOOK_MS = 1000;

/**
 * Enforces the timeouts of upstream requests: until they are connected, and while a response is pending. All share one timer, because one
 * per request would cost more than the rest of it.
 */
export class UpstreamWaits {
  private readonly waits = new Set<UpstreamWait>();
  private timer: NodeJS.Timeout | undefined;
  private readonly time = new RunningTime();
  private readonly everyMs: number;

  constructor(readonly settings: ProxySettings) {
    const shorter = Math.min(settings.connectTimeoutMs, settings.responseTimeoutMs);
    this.everyMs = Math.min(MAX_LOOK_MS, Math.max(MIN_LOOK_MS, shorter / 4));
  }

  begin(request: ClientRequest, events: WaitEvents): UpstreamWait {
    if (this.timer === undefined) {
      this.time.restart();
      this.timer = setInterval(() => this.look(), this.everyMs);
    }
    const wait = new UpstreamWait(request, this, events, this.time.current);
    this.waits.add(wait);
    return wait;
  }

  end(wait: UpstreamWait): void {
    this.waits.delete(wait);
  }

  private look(): void {
    if (!this.time.count(performance.now(), this.everyMs)) return;
    for (const wait of this.waits) wait.look(this.time.now);
    if (this.waits.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}

export class UpstreamWait {
  private isConnected = false;
  private socket: Socket | undefined;
  /** The bytes received before this request. */
  private bytesBefore = 0;
  /** The number of bytes received up to the last head; undefined once the response has started. */
  private headBytes: number | undefined = 0;
  /** The number of bytes in both directions, and the time of its last change. Parts of a head do not count. */
  private bytes = 0;
  private movedAt = 0;

  constructor(
    request: ClientRequest,
    private readonly waits: UpstreamWaits,
    private readonly events: WaitEvents,
    private readonly beganAt: number,
  ) {
    request.once("socket", (socket) => this.onSocket(socket));
    request.once("close", () => this.end());
  }

  /** Whether any byte of a response arrived. */
  get hasHeard(): boolean {
    return this.socket !== undefined && this.socket.bytesRead > this.bytesBefore;
  }

  /** Removes all timeouts of this request. */
  end(): void {
    this.waits.end(this);
  }

  /** Called when a head has arrived: of the response, or of an interim one. */
  heard(isResponse: boolean): void {
    this.headBytes = isResponse ? undefined : this.socket?.bytesRead;
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
    const { bytesRead = 0, bytesWritten = 0 } = socket ?? {};
    const { headBytes = bytesRead } = this;
    if (bytesRead - headBytes > MAX_UNHEARD_BYTES)
      return this.events.onLate({ status: 502, reason: "it sent too much without a head" });
    const bytes = headBytes + bytesWritten;
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
    if (this.headBytes === 0) this.headBytes = this.bytesBefore;
  }
}

/** A failure of an upstream: the status for the client, and the log line. */
export interface Fault {
  status: 400 | 501 | 502 | 503 | 504;
  /** For the log. The client gets no information about the upstream. */
  reason: string;
}

/** Returns the fault for an error of the upstream connection. */
export function faultOf(error: NodeJS.ErrnoException): Fault {
  return { status: error.code === "ETIMEDOUT" ? 504 : 502, reason: error.message || String(error.code) };
}

/** A failed upstream fails every request. So there is one line per reason and period, with the number of failures. In milliseconds. */
const PERIOD_MS = 1000;
/** The maximum number of reasons per period. Others are not logged until it ends. */
const MAX_REASONS = 100;

class FaultLog {
  private readonly counts = new Map<string, number>();
  private timer: NodeJS.Timeout | undefined;

  /** @param name the name of the upstream */
  constructor(
    private readonly name: string,
    private readonly write: (line: string) => void = console.error,
  ) {}

  /** The query of a target is not logged, because it may be secret. */
  add(reason: string, method = "", target = ""): void {
    const count = this.counts.get(reason);
    if (count !== undefined) {
      this.counts.set(reason, count + 1);
      return;
    }
    if (this.counts.size >= MAX_REASONS) return;
    this.counts.set(reason, 0);
    this.write(`proxy ${this.name}: ${reason} (${method} ${target.split("?")[0]?.slice(0, 200)})`);
    this.timer ??= setTimeout(() => this.endPeriod(), PERIOD_MS).unref();
  }

  private endPeriod(): void {
    this.timer = undefined;
    for (const [reason, more] of this.counts)
      if (more > 0) this.write(`proxy ${this.name}: ${reason} (${more} more within ${PERIOD_MS} ms)`);
    this.counts.clear();
  }
}

type Pass = (...args: never[]) => unknown;

/** The library's steps for each request, in order; `@types` lacks them. */
interface Passes {
  webPasses: Pass[];
  wsPasses: Pass[];
}

/** Creates the library's proxy for one upstream. Head and path are decided elsewhere. */
async function loadLibrary(settings: ProxySettings): Promise<Server> {
  // The library calls deprecated functions; this process runs no user code whose warnings this would hide.
  process.noDeprecation = true;
  const { default: Library } = await import("http-proxy");
  const target = upstreamOf(settings);
  const { changeOrigin, secure, ca, cookieDomainRewrite, cookiePathRewrite } = settings;
  const library = new Library({
    target: target as never,
    changeOrigin,
    secure,
    ...(ca === undefined ? {} : { ssl: { ca } }),
    cookieDomainRewrite: (cookieDomainRewrite ?? false) as never,
    cookiePathRewrite: (cookiePathRewrite ?? false) as never,
    // Keeps the path unchanged: the library would merge slashes and rewrite it.
    toProxy: true,
    ignorePath: true,
    prependPath: false,
  });
  const passes = library as unknown as Passes;
  // Two passes are left out: `deleteLength` removes the framing of a body; `checkMethodAndHeader` disconnects clients that request an
  // upgrade it does not know.
  passes.webPasses = passes.webPasses.filter(({ name }) => name !== "deleteLength");
  passes.wsPasses = passes.wsPasses.filter(({ name }) => name !== "checkMethodAndHeader");
  // The upstream request reports failures; without a listener the library throws them.
  library.on("error", () => {});
  return library;
}

/** The library accepts only the result of Node's legacy parser. */
function upstreamOf({ url }: ProxySettings): UrlWithStringQuery {
  return Object.assign(parse(url.origin), { hostname: bareHost(url), path: null });
}

/** Gives the library a message with these `headers`. */
export function setFields(message: IncomingMessage, headers: IncomingMessage["headers"]): void {
  message.headers = headers;
}
