/** The values of RequestInfo: from the balancer's fields behind one, otherwise from the connection. */

import type { TrailerFields } from "../shared/added-trailers.js";
import type { RequestInfo } from "../shared/app.js";
import { drainSignal, HAS_ENDED } from "../shared/bridge.js";

/** The facts that a runtime has about one request. */
export interface RequestSource {
  header(name: string): string | null | undefined;
  remoteAddress(): string | undefined;
  /** Returns whether its response was sent or its client has left; undefined if that is unknown. */
  hasEnded?(): boolean | undefined;
  /** Returns a signal that aborts when the client leaves. */
  signal(): AbortSignal;
  /** Returns the trailers of the request that have arrived. This method and the next one are absent if the runtime has no trailers. */
  requestTrailers?(): Headers;
  addTrailers?(fields: TrailerFields): void;
}

/** Reads each fact on demand, since most handlers need none. */
export class ConnectionInfo implements RequestInfo {
  declare private madeId: string | undefined;

  constructor(protected readonly source: RequestSource) {}

  get clientAddress(): string {
    return this.source.remoteAddress() ?? "";
  }

  get protocol(): string {
    return "http";
  }

  get host(): string {
    return this.innerHost;
  }

  get innerProtocol(): string {
    return "http";
  }

  get innerHost(): string {
    return this.source.header("host") || "localhost";
  }

  get requestId(): string {
    this.madeId ??= this.source.header("x-request-id") || newRequestId();
    return this.madeId;
  }

  get signal(): AbortSignal {
    return this.source.signal();
  }

  get draining(): AbortSignal {
    return drainSignal();
  }

  get trailers(): RequestInfo["trailers"] {
    return this.source.requestTrailers?.();
  }

  get addTrailers(): RequestInfo["addTrailers"] {
    const { source } = this;
    return source.addTrailers && ((fields) => source.addTrailers?.(fields));
  }

  [HAS_ENDED](): boolean | undefined {
    return this.source.hasEnded?.();
  }
}

/**
 * The facts behind a balancer, which sets these fields for each request. Only the balancer can connect, because the socket's mode is 0600.
 * The list of addresses begins with the client. The balancer has removed addresses before it, which only the client itself has stated.
 */
export class ForwardedInfo extends ConnectionInfo {
  override get clientAddress(): string {
    return first(this.source.header("x-forwarded-for")) ?? "";
  }

  override get protocol(): string {
    return first(this.source.header("x-forwarded-proto")) ?? "http";
  }

  override get host(): string {
    return first(this.source.header("x-forwarded-host")) ?? super.host;
  }
}

function first(list: string | null | undefined): string | undefined {
  if (!list) return undefined;
  const comma = list.indexOf(",");
  return (comma === -1 ? list : list.slice(0, comma)).trim();
}

let idPrefix = "";
let idsMade = 0;

/** Random for the process, then counted. */
function newRequestId(): string {
  if (idPrefix === "") idPrefix = crypto.randomUUID().replaceAll("-", "").slice(0, 16);
  idsMade++;
  return `${idPrefix}-${idsMade.toString(36)}`;
}
