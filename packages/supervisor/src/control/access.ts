/** Who may ask the admin listener and the control socket for what: hosts, origins, the token, and the routes of each. Pure. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { BodyShape, Route } from "./route.js";

/** What is served by a TCP address, which every user of the machine can reach: to everybody, with the token, or with `admin.write`, too. */
export type Access = "open" | "read" | "write";

interface AdminRoute {
  access: Access;
  /** The keys that its body may have there; default: those of the control socket. */
  keys?: readonly string[];
}

const READ: AdminRoute = { access: "read" };
const WRITE: AdminRoute = { access: "write" };

/** By the route's path. Everything else is for the control socket alone: a deploy or an environment is a program of the caller's choice. */
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

/** Returns the shape of a route's body with these keys alone. */
export function narrowed({ body }: Pick<Route, "body">, keys: readonly string[] | undefined): BodyShape {
  if (keys === undefined) return body;
  return Object.fromEntries(Object.entries(body).filter(([key]) => keys.includes(key)));
}

/** The fields of a request that tell where it comes from. */
export interface From {
  host?: string | undefined;
  origin?: string | undefined;
  /** The field that a browser adds, about who has asked it for the request. */
  "sec-fetch-site"?: string | string[] | undefined;
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i;
/** What programs write where there is no host: `http://paceline/v1/status`. A page's host has a dot or a port. */
const WORD = /^[a-z0-9_-]*$/i;

/** A page of another site whose name resolves to a loopback address would send that name (DNS rebinding). */
export function isLoopbackHost(host: string): boolean {
  return LOOPBACK.test(host);
}

/** Whether a request over a unix socket names a host that no page of another site could name. */
export function isSocketHost(host: string): boolean {
  return WORD.test(host) || isLoopbackHost(host);
}

/** Whether a browser sent the request for a page of another site. Programs send neither field. */
export function isForeign({ host = "", origin, "sec-fetch-site": site }: From): boolean {
  if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`) return true;
  return site !== undefined && site !== "same-origin" && site !== "none";
}

/** Compares in a time that does not depend on where they differ. */
export function hasToken(authorization: string | undefined, token: string | undefined): boolean {
  const [, given] = /^Bearer +(\S{1,512})$/i.exec(authorization ?? "") ?? [];
  if (given === undefined || token === undefined || token === "") return false;
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}
