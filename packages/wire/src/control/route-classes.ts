/**
 * The route classes of a pool under judgement: its routes, each with reads (GET, HEAD) and writes apart. Their number follows
 * from the configuration, so no client can add one.
 */

/** Routes beyond this number share one class for reads and one for writes. */
export const MAX_JUDGED_ROUTES = 4;

/** Returns the names of a pool's classes, by number. */
export function routeClassNames(routes: readonly string[]): string[] {
  const names =
    routes.length > MAX_JUDGED_ROUTES ? [...routes.slice(0, MAX_JUDGED_ROUTES - 1), "other routes"] : routes;
  return names.flatMap((name) => [`reads ${name}`, `writes ${name}`]);
}

/** @param ordinal the place of the route in the pool's list, from 0 */
export function routeClassOf(ordinal: number, isRead: boolean): number {
  return 2 * Math.min(ordinal, MAX_JUDGED_ROUTES - 1) + (isRead ? 0 : 1);
}
