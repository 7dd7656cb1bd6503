/** Decides who may ask the admin listener and the control socket for what: hosts, origins, the token, and the routes of each. Pure. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { BodyShape, Route } from "./route.js";

/**
 * The access to a route over a TCP address, which every user of the machine can reach: for everybody, with the token, or only with
 * `admin.write`.
 */
export type Access = "open" | "read" | "write";

interface AdminRoute {
  access: Access;
  /** The keys that a body may have there. Default: the keys that the control socket accepts. */
  keys?: readonly string[];
}

const READ: AdminRoute = { access: "read" };
const WRITE: AdminRoute = { access: "write" };

/**
 * By the path of the route. All other routes are only for the control socket, because a deploy or an environment can run any program of the
 * caller.
 */
export const ADMIN_ROUTES: Readonly<Record<string, AdminRoute>> = {
  "/": { access: "open" },
  "/metrics": { access: "open" },
  "/v1/status": READ,
  "/v1/stream": READ,
  "/v1/history": READ,
  "/v1/logs": READ,
  "/v1/events": READ,
  "/v1/open-requests": READ,
  "/v1/deaths": READ,
  "/v1/deaths/:id": READ,
  "/v1/certificates": READ,
  "/v1/operations": READ,
  "/v1/operations/:id": READ,
  "/v1/restart": WRITE,
  "/v1/reload": { access: "write", keys: ["pool"] },
  "/v1/deploy/promote": WRITE,
  "/v1/deploy/hold": WRITE,
  "/v1/rollback": { access: "write", keys: [] },
  "/v1/pools/:pool/scale": WRITE,
  "/v1/instances/:name/drain": WRITE,
  "/v1/instances/:name/undrain": WRITE,
};

/** Returns the shape of a route's body, reduced to these keys. */
export function narrowed({ body }: Pick<Route, "body">, keys: readonly string[] | undefined): BodyShape {
  if (keys === undefined) return body;
  return Object.fromEntries(Object.entries(body).filter(([key]) => keys.includes(key)));
}

/** The fields of a request that show its origin. */
export interface From {
  host?: string | undefined;
  origin?: string | undefined;
  /** The field with which a browser states which site caused the request. */
  "sec-fetch-site"?: string | string[] | undefined;
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i;
/** Hosts of programs that have no real host: `http://paceline/v1/status`. The host of a web page has a dot or a port. */
const WORD = /^[a-z0-9_-]*$/i;

/** If the name of another site resolves to a loopback address, a page of that site would send that name (DNS rebinding). */
export function isLoopbackHost(host: string): boolean {
  return LOOPBACK.test(host);
}

/** Whether a request over a unix socket has a host that no page of another site can have. */
export function isSocketHost(host: string): boolean {
  return WORD.test(host) || isLoopbackHost(host);
}

/** Whether a browser sent the request for a page of another site. Programs send neither field. */
export function isForeign({ host = "", origin, "sec-fetch-site": site }: From): boolean {
  if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`) return true;
  return site !== undefined && site !== "same-origin" && site !== "none";
}

/** Compares in a time that does not depend on the position of the first difference. */
export function hasToken(authorization: string | undefined, token: string | undefined): boolean {
  const [, given] = /^Bearer +(\S{1,512})$/i.exec(authorization ?? "") ?? [];
  if (given === undefined || token === undefined || token === "") return false;
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}
