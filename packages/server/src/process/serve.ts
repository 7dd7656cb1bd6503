/** Starts a server for an app on the runtime it runs on. */
import type { RequestLog, RunningServer, RuntimeOptions, ServeAddress } from "../http1/running-server.js";
import { serveLanes, withControlLane } from "../lane/lane-server.js";
import type { ResponseReader } from "../lane/response-reader.js";
import type { App } from "../shared/app.js";
import { ServerError } from "../shared/errors.js";
import { DEFAULT_LIMITS, type ServerLimits } from "../shared/limits.js";

export interface ServeOptions {
  address: ServeAddress;
  limits?: Partial<ServerLimits>;
  /** Whether the balancer is the client; see RuntimeOptions. Default false. */
  behindBalancer?: boolean;
  /** Serve a fetch app over lanes, with what `prepareAnswers` gave; the address must be a unix socket. Default: HTTP/1.1. */
  lanes?: ResponseReader;
  /** The path of a lane for control beside HTTP/1.1. Default: none. */
  controlLane?: string;
  /** Hears of the requests that come in HTTP/1.1. Default: none. */
  requestLog?: RequestLog | undefined;
  /** Takes the errors of handlers and bodies; by default their stack goes to stderr. */
  onError?: (error: unknown) => void;
  /** Takes what whoever runs the server should know, a line at a time; by default that goes to stderr. */
  onNotice?: (message: string) => void;
}

/**
 * Listens and serves. The app's start() and stop() are the caller's to run: `startApp`, `stopApp`.
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

async function start(app: App, options: ServeOptions, runtime: RuntimeOptions): Promise<RunningServer> {
  if (options.address.kind === "unix" && !runtime.behindBalancer) await clearStaleSocket(options.address.path);
  if (app.style === "fetch" && options.lanes !== undefined) return serveLanes(app.handler, options.lanes, runtime);
  // Not loaded before it is needed: idle memory counts, and node:http alone is 2 MB.
  if (app.style === "fetch" && process.versions.bun !== undefined) {
    const { serveOnBun } = await import("../http1/bun.js");
    return serveOnBun(options.requestLog?.wrap(app.handler) ?? app.handler, runtime, app.bunServer);
  }
  const { serveOnNode } = await import("../http1/node.js");
  return serveOnNode(runtime);
}

/**
 * Removes a socket file that nobody listens on any more.
 *
 * @throws ServerError `address-in-use` when somebody does, and when another kind of file is there.
 */
export async function clearStaleSocket(path: string): Promise<void> {
  // Not needed under a supervisor, whose socket paths are new for each process: there it would only cost memory.
  const { removeStaleSocket } = await import("@paceline/wire/socket-file");
  const found = await removeStaleSocket(path).catch((cause: Error) => {
    throw new ServerError("cannot-listen", `cannot listen on unix:${path}: ${cause.message}`, { cause });
  });
  if (found === "held") throw new ServerError("address-in-use", `cannot listen on unix:${path}: it is in use`);
  if (found === "other")
    throw new ServerError("address-in-use", `cannot listen on unix:${path}: the file there is not a socket`);
}
