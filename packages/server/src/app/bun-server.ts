/** Gives an app for Bun.serve its server object; Paceline decides where it listens. */
import type { AppServer, BunServeOptions, FetchApp, RequestInfo } from "../shared/app.js";

/** The used part of Bun.Server. Its own type would require Bun's types in every project that imports ours. */
interface BunServer {
  pendingRequests: number;
  pendingWebSockets: number;
  upgrade(request: Request, options?: never): boolean;
  timeout(request: Request, seconds: number): void;
  publish(...args: never[]): number;
  subscriberCount(topic: string): number;
  fetch(request: Request): Response | Promise<Response>;
}

const DEFAULT_PORT = 3000;

/** The app's server object: exists before the real server, and shows the address the app asked for. */
export class BunAppServer implements AppServer {
  readonly development = false;
  readonly id = "";
  readonly protocol = "http";
  private real: BunServer | undefined;
  private onReload: (() => void) | undefined;
  /** For each request changed by Paceline: the original and its client. */
  private readonly known = new WeakMap<Request, { original: Request; info: RequestInfo }>();

  constructor(public options: BunServeOptions) {}

  /** @param onReload called after the app has replaced its options */
  attach(real: BunServer, onReload: () => void): void {
    this.real = real;
    this.onReload = onReload;
  }

  remember(request: Request, original: Request, info: RequestInfo): void {
    this.known.set(request, { original, info });
  }

  get port(): number | undefined {
    const { port, unix } = this.options;
    return unix === undefined ? Number(port ?? process.env.BUN_PORT ?? process.env.PORT ?? DEFAULT_PORT) : undefined;
  }

  get hostname(): string | undefined {
    return this.options.unix === undefined ? (this.options.hostname ?? "localhost") : undefined;
  }

  get address(): object | string {
    return this.options.unix ?? { address: this.hostname, family: "IPv4", port: this.port };
  }

  get url(): URL {
    const { unix } = this.options;
    return new URL(unix === undefined ? `http://${this.hostname}:${this.port}/` : `unix://${unix}`);
  }

  get pendingRequests(): number {
    return this.real?.pendingRequests ?? 0;
  }

  get pendingWebSockets(): number {
    return this.real?.pendingWebSockets ?? 0;
  }

  requestIP(request: Request): { address: string; family: string; port: number } | null {
    const address = this.known.get(request)?.info.clientAddress;
    if (address === undefined) return null;
    return { address, family: address.includes(":") ? "IPv6" : "IPv4", port: 0 };
  }

  upgrade(request: Request, options?: object): boolean {
    return this.real?.upgrade(this.originalOf(request), options as never) ?? false;
  }

  timeout(request: Request, seconds: number): void {
    this.real?.timeout(this.originalOf(request), seconds);
  }

  publish(...args: unknown[]): number {
    return (this.real?.publish as ((...args: unknown[]) => number) | undefined)?.apply(this.real, args) ?? 0;
  }

  subscriberCount(topic: string): number {
    return this.real?.subscriberCount(topic) ?? 0;
  }

  async fetch(request: Request | string): Promise<Response> {
    if (this.real === undefined) throw new Error("the server does not listen yet");
    return this.real.fetch(request as Request);
  }

  reload(options: BunServeOptions): this {
    this.options = { ...this.options, ...options };
    this.onReload?.();
    return this;
  }

  /** Does nothing: Paceline stops the server, after its last response. */
  async stop(): Promise<void> {}

  ref(): void {}

  unref(): void {}

  [Symbol.dispose](): void {}

  async [Symbol.asyncDispose](): Promise<void> {}

  private originalOf(request: Request): Request {
    return this.known.get(request)?.original ?? request;
  }
}

/** Returns the app that serves with the `fetch` of this server's options. */
export function appOfBunServer(server: BunAppServer): FetchApp {
  return {
    style: "fetch",
    bunServer: server,
    handler: (request) => {
      const { fetch } = server.options;
      return fetch?.call(server, request, server) ?? new Response("Not Found\n", { status: 404 });
    },
  };
}
