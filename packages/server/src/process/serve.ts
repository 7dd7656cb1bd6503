/** Starts a server for an app on the current runtime. */
import type { RequestLog, RunningServer, RuntimeOptions, ServeAddress } from "../http1/running-server.js";
import { serveLanes, withControlLane } from "../lane/lane-server.js";
import type { ResponseReader } from "../lane/response-reader.js";
import type { App } from "../shared/app.js";
import { ServerError } from "../shared/errors.js";
import { DEFAULT_LIMITS, type ServerLimits } from "../shared/limits.js";

export interface ServeOptions {
  address: ServeAddress;
  limits?: Partial<ServerLimits>;
  /** Whether the balancer is the client; see RuntimeOptions. Default: false. */
  behindBalancer?: boolean;
  /** Serves a fetch app over lanes, with the result of `prepareResponses`. Needs a unix socket. Default: HTTP/1.1. */
  lanes?: ResponseReader;
  /** The path of a control lane beside HTTP/1.1. Default: none. */
  controlLane?: string;
  /** Observes HTTP/1.1 requests. Default: none. */
  requestLog?: RequestLog | undefined;
  /** Receives the errors of handlers and bodies. Default: writes the stack to stderr. */
  onError?: (error: unknown) => void;
  /** Receives a line for the operator. Default: writes it to stderr. */
  onNotice?: (message: string) => void;
}

/**
 * Listens and serves. The caller runs the app's start() and stop(): `startApp`, `stopApp`.
 *
 * @throws ServerError `address-in-use` or `cannot-listen`
 */
export async function serve(app: App, options: ServeOptions): Promise<RunningServer> {
  const runtime = runtimeOptions(app, options);
  if (options.controlLane === undefined) return start(app, options, runtime);
  return withControlLane(options.controlLane, runtime, (watched) => start(app, options, watched));
}

function runtimeOptions(app: App, options: ServeOptions): RuntimeOptions {
  return {
    app,
    address: options.address,
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    behindBalancer: options.behindBalancer ?? false,
    requestLog: options.requestLog,
    onError: options.onError ?? ((error) => console.error(error)),
    onNotice: options.onNotice ?? ((message) => console.error(message)),
  };
}

/** On Bun, an inherited socket replaces one that the server has opened itself. */
async function start(app: App, options: ServeOptions, runtime: RuntimeOptions): Promise<RunningServer> {
  const { address } = runtime;
  if (address.kind !== "inherited" || process.versions.bun === undefined) return startAt(app, options, runtime);
  const server = await startAt(app, options, { ...runtime, address: { kind: "tcp", host: "127.0.0.1", port: 0 } });
  const { takeListener } = await import("../http1/bun-listener.js");
  const leaveSocket = takeListener("port" in server.address ? server.address.port : 0, address);
  return { ...server, address, leaveSocket };
}

async function startAt(app: App, options: ServeOptions, runtime: RuntimeOptions): Promise<RunningServer> {
  if (options.address.kind === "unix" && !runtime.behindBalancer) await clearStaleSocket(options.address.path);
  if (app.style === "fetch" && options.lanes !== undefined) return serveLanes(app.handler, options.lanes, runtime);
  // Loaded on demand: idle memory counts, and node:http alone is 2 MB.
  if (app.style === "fetch" && process.versions.bun !== undefined) {
    const { serveOnBun } = await import("../http1/bun.js");
    return serveOnBun(options.requestLog?.wrap(app.handler) ?? app.handler, runtime, app.bunServer);
  }
  const { serveOnNode } = await import("../http1/node.js");
  return serveOnNode(runtime);
}

/**
 * Removes a stale socket file.
 * @throws ServerError `address-in-use` if a process listens there, or the file is of another kind
 */
export async function clearStaleSocket(path: string): Promise<void> {
  // Not needed under a supervisor, where each process has a new socket path, and this code would only cost memory.
  const { removeStaleSocket } = await import("@paceline/wire/socket-file");
  const found = await removeStaleSocket(path).catch((cause: Error) => {
    throw new ServerError("cannot-listen", `cannot listen on unix:${path}: ${cause.message}`, { cause });
  });
  if (found === "held") throw new ServerError("address-in-use", `cannot listen on unix:${path}: it is in use`);
  if (found === "other")
    throw new ServerError("address-in-use", `cannot listen on unix:${path}: the file there is not a socket`);
}
