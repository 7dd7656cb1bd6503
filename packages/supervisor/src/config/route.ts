/** Reads routes: an optional host, then a path prefix. */

/** `route` with its host in small letters; undefined when it is none. */
export function normalizeRoute(route: string): string | undefined {
  const slash = route.indexOf("/");
  if (slash < 0) return undefined;
  const host = route.slice(0, slash).toLowerCase();
  const path = route.slice(slash);
  if (host !== "" && !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(host)) return undefined;
  // Only what a request target's path can hold, so that a route that never matches is told at once.
  if (!/^[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*$/.test(path)) return undefined;
  return host + path;
}

/** Equal for routes that match the same requests: `/api` and `/api/` do. */
export function routeKey(route: string): string {
  return route.replace(/\/+$/, "/").replace(/(?<=.)\/$/, (end, at, whole) => (whole.indexOf("/") === at ? end : ""));
}
