/** Takes over listen() and Bun.serve() while an app's module loads: Paceline serves the first server that listens. */
import type { Server } from "node:http";
import type { AddressInfo, Server as NetServer } from "node:net";
import { ownServers } from "../http1/running-server.js";
import type { BunServeOptions, FetchApp } from "../shared/app.js";
import { appOfBunServer, BunAppServer } from "./bun-server.js";

/** The program's services while the app loads. */
export interface LoadHooks {
  /** Receives a line for the operator. */
  onNotice(message: string): void;
  /** Receives the reason why the start waits, as the rest of a sentence about the app. Default: the reason is not determined. */
  onWait?(awaited: string): void;
  /** Receives the settings that an app's own server asked for, once Paceline serves it. Default: reports unused TLS on stderr. */
  onAdopted?(asked: AskedFor): void;
  /** Sets whether the program keeps the process alive. It does not while an app is expected to listen. */
  keepAlive(isKept: boolean): void;
}

/** The settings that an adopted server asked for and does not get. */
export interface AskedFor {
  /** For example `port 3000`. */
  place: string;
  /** Undefined for a unix socket. */
  port: number | undefined;
  isTls: boolean;
}

/** The address a server asked for. */
type Asked = { path: string } | { host: string; port: number };

/** An adopted server of node:http or Bun.serve. To the app it seems to listen. */
interface AdoptedServer {
  server: Server | BunAppServer;
  asked: Asked;
}

export class ListenWatch {
  /** Whether the server is the app, as opposed to the module's export. */
  isServed = false;
  private adopted: AdoptedServer | undefined;
  /** The number of running listen() calls: on Bun they call Bun.serve. */
  private listening = 0;
  private isDecided = false;
  private hasHttp2 = false;
  private onChange: (() => void) | undefined;
  /** The adopted servers of node:http, which seem to the app to listen. */
  private readonly pretending = new WeakSet<NetServer>();
  private readonly restores: (() => void)[] = [];

  /**
   * @param prototypes whose `listen` is replaced until `end()`
   * @param onNotice receives a line about a server that listens without Paceline
   */
  constructor(
    prototypes: readonly NetServer[],
    private readonly onNotice: (message: string) => void,
  ) {
    const watch = this;
    for (const prototype of prototypes) {
      const listen = prototype.listen as (...args: unknown[]) => NetServer;
      this.restores.push(() => {
        prototype.listen = listen as never;
      });
      prototype.listen = function (this: NetServer, ...args: unknown[]) {
        if (watch.take(this, args)) return this;
        watch.listening++;
        try {
          return listen.apply(this, args);
        } finally {
          watch.listening--;
        }
      } as never;
    }
  }

  /** Also replaces Bun.serve. */
  watchBun(): void {
    const { serve } = Bun;
    Bun.serve = ((options: BunServeOptions) => {
      const taken = this.takeBun(options);
      if (taken !== undefined) return taken;
      const server = serve(options as never);
      const isOfApp = !ownServers.has(options) && this.listening === 0;
      if (isOfApp && server.port !== undefined) this.report(`${server.hostname}:${server.port}`);
      return server;
    }) as never;
    this.restores.push(() => {
      Bun.serve = serve;
    });
  }

  /** Restores listen() and Bun.serve(). */
  end(): void {
    for (const restore of this.restores.splice(0)) restore();
  }

  /** The adopted server, if there is one now. */
  get current(): AdoptedServer | undefined {
    return this.adopted;
  }

  /** Resolves after a server has listened and its callbacks have run. @throws Error if only node:http2 listens. */
  async first(): Promise<AdoptedServer> {
    for (;;) {
      if (this.adopted === undefined && !this.hasHttp2) {
        await new Promise<void>((resolve) => {
          this.onChange = resolve;
        });
      }
      await new Promise((resolve) => setImmediate(resolve));
      // A server that only tested for a free port has closed by now.
      if (this.adopted !== undefined) return this.adopted;
      if (this.hasHttp2) throw new Error("listens with node:http2, which Paceline does not support: use node:http");
    }
  }

  /** Ends the adoption: every further server listens for real. Reports an adopted server that is not served because the export is. */
  decide(path: string, exported: unknown): void {
    this.isDecided = true;
    if (this.adopted === undefined || this.isServed) return;
    const { server, asked } = this.adopted;
    const isListener = !(server instanceof BunAppServer) && server.listeners("request").includes(exported as never);
    if (isListener || this.isOf(exported)) return;
    this.onNotice(
      `${path} exports an app and also calls listen(): Paceline serves the export, and nothing listens on ${placeOf(asked)}`,
    );
  }

  /** The settings that the app's server asked for; undefined if the app is not a server. */
  get servedInstead(): AskedFor | undefined {
    if (this.adopted === undefined || !this.isServed) return undefined;
    const { server, asked } = this.adopted;
    return { place: placeOf(asked), port: "port" in asked ? asked.port : undefined, isTls: hasTls(server) };
  }

  /** The app of an adopted Bun.serve server, which is then served. */
  get bunApp(): FetchApp | undefined {
    const server = this.adopted?.server;
    if (!(server instanceof BunAppServer)) return undefined;
    this.isServed = true;
    return appOfBunServer(server);
  }

  /** Returns whether a module's export is the server, or a framework's app with this server. */
  isOf(exported: unknown): boolean {
    if (this.adopted === undefined || exported === undefined || exported === null) return false;
    return exported === this.adopted.server || (exported as { server?: unknown }).server === this.adopted.server;
  }

  /** Returns the app's result of Bun.serve; undefined if a real server must listen. */
  private takeBun(options: BunServeOptions): BunAppServer | undefined {
    if (ownServers.has(options) || this.listening > 0 || this.adopted !== undefined || this.isDecided) return undefined;
    const server = new BunAppServer(options);
    const { unix } = options;
    const asked = unix === undefined ? { port: server.port ?? 0, host: options.hostname ?? "" } : { path: unix };
    this.adopted = { server, asked };
    process.nextTick(() => this.onChange?.());
    return server;
  }

  /** Returns true if the server was adopted. */
  private take(server: NetServer, args: unknown[]): boolean {
    if (ownServers.has(server)) return false;
    if (this.pretending.has(server) && server.listening) throw alreadyListens();
    const asked = addressOf(args);
    if (asked === undefined) return false;
    const isFirst = this.adopted === undefined && !this.isDecided;
    if (server.constructor.name.startsWith("Http2")) {
      // This server cannot be served. In the next instance it would fail with a less clear error: the port is in use.
      if (!isFirst) return false;
      this.hasHttp2 = true;
      this.onChange?.();
      return true;
    }
    // Fastify creates a second server for the other address of localhost.
    const isSame = this.adopted !== undefined && isSamePlace(this.adopted.asked, asked);
    if (isHttp(server) && (isFirst || isSame)) {
      this.pretend(server, asked, args);
      return true;
    }
    if ("port" in asked) server.once("listening", () => this.reportSoon(server));
    return false;
  }

  private reportSoon(server: NetServer): void {
    const address = server.address() as AddressInfo | null;
    // A library that looks for a free port closes its server at once.
    setImmediate(() => {
      if (address === null || !server.listening) return;
      const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
      this.report(`${host}:${address.port}`);
    });
  }

  private report(place: string): void {
    this.onNotice(
      `the app also listens on ${place}: clients there bypass Paceline, and the next instance needs another port`,
    );
  }

  private pretend(server: Server, asked: Asked, args: unknown[]): void {
    const callback = args.findLast((each) => typeof each === "function") as (() => void) | undefined;
    if (callback !== undefined) server.once("listening", callback);
    const address = "path" in asked ? asked.path : addressInfo(asked);
    const define = (name: string, value: unknown) =>
      Object.defineProperty(server, name, { value, writable: true, configurable: true });
    this.pretending.add(server);
    define("listening", true);
    define("address", () => (server.listening ? address : null));
    define("close", (closed?: (error?: Error) => void) => {
      define("listening", false);
      if (this.adopted?.server === server && !this.isDecided) this.adopted = undefined;
      process.nextTick(() => {
        closed?.();
        server.emit("close");
      });
      return server;
    });
    const { signal } = (args[0] ?? {}) as { signal?: AbortSignal };
    signal?.addEventListener("abort", () => server.close(), { once: true });
    this.adopted ??= { server, asked };
    process.nextTick(() => {
      if (server.listening) server.emit("listening");
      this.onChange?.();
    });
  }
}

/** Starts watching. Call it before the app's module is imported. */
export function watchListening(onNotice: (message: string) => void): ListenWatch {
  const net = process.getBuiltinModule("node:net");
  if (process.versions.bun === undefined) return new ListenWatch([net.Server.prototype], onNotice);
  // On Bun node:http servers have their own listen().
  const http = process.getBuiltinModule("node:http");
  const watch = new ListenWatch([net.Server.prototype, http.Server.prototype], onNotice);
  watch.watchBun();
  return watch;
}

function isHttp(server: NetServer): server is Server {
  return "headersTimeout" in server;
}

/** Returns the address in the arguments of listen(); undefined for a handle or descriptor. */
function addressOf(args: unknown[]): Asked | undefined {
  const [first] = args;
  if (typeof first === "object" && first !== null) {
    const { path, port, host } = first as { path?: unknown; port?: unknown; host?: unknown };
    if (typeof path === "string" && port === undefined) return { path };
    if ("fd" in first || "_handle" in first || "handle" in first) return undefined;
    return { port: Number(port ?? 0), host: typeof host === "string" ? host : "" };
  }
  if (typeof first === "string" && Number.isNaN(Number(first))) return { path: first };
  const host = typeof args[1] === "string" ? args[1] : "";
  return { port: typeof first === "function" ? 0 : Number(first ?? 0), host };
}

function placeOf(asked: Asked): string {
  return "path" in asked ? asked.path : `port ${asked.port}`;
}

/** The message that Node would throw. */
function alreadyListens(): Error {
  const error = new Error("Listen method has been called more than once without closing.");
  return Object.assign(error, { code: "ERR_SERVER_ALREADY_LISTEN" });
}

function hasTls(server: Server | BunAppServer): boolean {
  if (server instanceof BunAppServer) return server.options.tls !== undefined;
  if ("setSecureContext" in server) return true;
  // On Bun, servers of node:https are servers of node:http with their certificate under this symbol.
  const symbol = Object.getOwnPropertySymbols(server).find(({ description }) => description === "tls");
  const tls = symbol && (server as unknown as Record<symbol, unknown>)[symbol];
  return typeof tls === "object" && tls !== null;
}

function isSamePlace(one: Asked, other: Asked): boolean {
  if ("path" in one || "path" in other) return "path" in one && "path" in other && one.path === other.path;
  return one.port === other.port && one.port !== 0;
}

function addressInfo({ host, port }: { host: string; port: number }): AddressInfo {
  const isV4 = /^\d+\.\d+\.\d+\.\d+$/.test(host);
  if (isV4) return { address: host, family: "IPv4", port };
  if (host === "localhost") return { address: "127.0.0.1", family: "IPv4", port };
  return { address: host.includes(":") ? host : "::", family: "IPv6", port };
}
