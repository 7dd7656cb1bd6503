/** The key `balancer.rateLimits`: how often clients may send requests. */
import type { RateLimitRule } from "@paceline/wire";
import { count, milliseconds, tables, textLike, texts } from "./fields.js";
import { readRoute } from "./route.js";

const PERIOD_MS = 1_000;
const MAX_PERIOD_MS = 3_600_000;
const MAX_RULES = 16;
/** Whom a rule tells apart. */
const BY = /^(?:address|route|header:[!#$%&'*+.^`|~\w-]{1,64})$/;

const ruleFields = {
  by: textLike(
    BY,
    {
      type: '`"address"`, `"header:NAME"` or `"route"`',
      rule: 'must be "address", "header:NAME" or "route"',
    },
    'Who has a bucket: each client address (an IPv6 address by its first 64 bits), each value of a request field such as `"header:x-api-key"` (a request without it, or with it twice, counts by its address), or each of the `routes`, all clients together. Default: `"address"`.',
  ),
  requests: count(undefined, "How many requests come back to a bucket in `periodMs`. Required.", { max: 1_000_000 }),
  periodMs: milliseconds(PERIOD_MS, "The time in which they come back, evenly.", { max: MAX_PERIOD_MS }),
  burst: count(undefined, "How many requests may come at once: the size of a bucket. Default: `requests`."),
  routes: texts(
    'Only for requests of these routes, such as `["/login", "example.com/api/"]`; the best match of the list counts. They need not be routes of a pool. Default: all requests.',
  ),
};

/** A key of `balancer`. */
export const rateLimits = tables(
  ruleFields,
  "How often clients may send requests, such as `[{ requests: 20, periodMs: 1000, burst: 50 }]`: each client has a bucket of tokens, a request takes one, and without one the response is 429. Each rule that a request meets takes a token. See [security.md](security.md#limits-for-clients). Default: no limit.",
);

type Input = NonNullable<ReturnType<typeof rateLimits.parse>>;

/** Resolves the rules; problems are reported by path. */
export function resolveRateLimits(
  given: Input | undefined,
  report: (path: (string | number)[], message: string) => void,
): RateLimitRule[] {
  if (given === undefined) return [];
  if (given.length > MAX_RULES) report([], `cannot have more than ${MAX_RULES} rules`);
  return given.map(({ by: text = "address", requests, periodMs = PERIOD_MS, burst, routes }, at) => {
    if (requests === undefined) report([at, "requests"], "is missing: how many requests may come in `periodMs`");
    const read = routes?.map((route, index) => {
      const result = readRoute(route);
      if ("route" in result) return result.route;
      report([at, "routes", index], result.problem);
      return route;
    });
    if (read?.length === 0) report([at, "routes"], "must have at least one route");
    const colon = text.indexOf(":");
    const by = (colon < 0 ? text : "header") as RateLimitRule["by"];
    return {
      by,
      ...(colon >= 0 && { name: text.slice(colon + 1).toLowerCase() }),
      requests: requests ?? 1,
      periodMs,
      burst: burst ?? requests ?? 1,
      ...(read !== undefined && { routes: read }),
    };
  });
}
