/** Finds the pool whose route fits a request's host and path: the longest prefix on segment boundaries wins. */

interface Route<Target> {
  /** Lower case; empty for any host. `*.example.com` is kept as `.example.com`. */
  host: string;
  isWildcard: boolean;
  /** Without its last slash; empty for `/`. */
  prefix: string;
  target: Target;
}

export class Router<Target> {
  private readonly routes: Route<Target>[] = [];

  /** @param routes pairs of a route such as `/`, `/api/` or `example.com/docs/`, and what it leads to. */
  constructor(routes: readonly (readonly [string, Target])[]) {
    for (const [text, target] of routes) this.routes.push(parseRoute(text, target));
    this.routes.sort((a, b) => rank(b) - rank(a) || b.host.length - a.host.length || b.prefix.length - a.prefix.length);
  }

  /** What every request leads to, when there is one route and it is `/`; saves the look at host and path. */
  get only(): Target | undefined {
    const [first, second] = this.routes;
    return first !== undefined && second === undefined && first.host === "" && first.prefix === ""
      ? first.target
      : undefined;
  }

  /** @param host as it came, with a port or without; @param path the target up to the query. */
  match(host: string, path: string): Target | undefined {
    const name = host.replace(/:\d*$/, "").toLowerCase();
    for (const route of this.routes) {
      if (matchesHost(route, name) && matchesPath(route, path)) return route.target;
    }
    return undefined;
  }
}

function parseRoute<Target>(text: string, target: Target): Route<Target> {
  const slash = text.indexOf("/");
  const host = text.slice(0, slash).toLowerCase();
  const isWildcard = host.startsWith("*.");
  return { host: isWildcard ? host.slice(1) : host, isWildcard, prefix: text.slice(slash).replace(/\/$/, ""), target };
}

/** An exact host before a wildcard before any. */
function rank(route: Route<unknown>): number {
  if (route.host === "") return 0;
  return route.isWildcard ? 1 : 2;
}

function matchesHost(route: Route<unknown>, name: string): boolean {
  if (route.host === "") return true;
  return route.isWildcard ? name.endsWith(route.host) : name === route.host;
}

function matchesPath(route: Route<unknown>, path: string): boolean {
  const { prefix } = route;
  if (!path.startsWith(prefix)) return false;
  return path.length === prefix.length || path[prefix.length] === "/" || prefix === "";
}
