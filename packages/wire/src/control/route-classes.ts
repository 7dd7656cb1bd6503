/**
 * The route classes of a pool with a release being judged: its routes, each with reads (GET, HEAD) and writes apart. Their number follows
 * from the configuration, so no client can add one.
 */

/** Routes beyond this number share one class for reads and one for writes. */
const MAX_JUDGED_ROUTES = 4;

/** Returns the names of a pool's classes, by number. */
export function routeClassNames(routes: readonly string[]): string[] {
  const names =
    routes.length > MAX_JUDGED_ROUTES ? [...routes.slice(0, MAX_JUDGED_ROUTES - 1), "other routes"] : routes;
  return names.flatMap((name) => [`reads ${name}`, `writes ${name}`]);
}

/** The status classes that are counted for each route. The last class is for requests whose client left. */
export const STATUS_CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx", "abandoned"] as const;

/** Routes of a pool beyond this number are counted together. */
const MAX_COUNTED_ROUTES = 16;
export const OTHER_ROUTES = "other routes";
/** The name for requests without a route, such as malformed ones. They have no pool. */
export const NO_ROUTE = "none";

/** Returns the names under which the routes of a pool are counted. */
export function countedRoutes(routes: readonly string[]): string[] {
  return routes.length < MAX_COUNTED_ROUTES ? [...routes] : [...routes.slice(0, MAX_COUNTED_ROUTES - 1), OTHER_ROUTES];
}

/**
 * Whether a route is counted as one of the others.
 * @param ordinal its position in the pool's list, from 0
 */
export function isOtherRoute(ordinal: number): boolean {
  return ordinal >= MAX_COUNTED_ROUTES - 1;
}

/** @param ordinal the position of the route in the pool's list, from 0 */
export function routeClassOf(ordinal: number, isRead: boolean): number {
  return 2 * Math.min(ordinal, MAX_JUDGED_ROUTES - 1) + (isRead ? 0 : 1);
}
