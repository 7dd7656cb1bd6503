/** The keys for a pool that gets more requests than it can run: how long they wait, and which go first. */
import type { RelayTraits } from "../core/model.js";
import { milliseconds, table, texts } from "./fields.js";
import { readRoute, routeKey } from "./route.js";

const MAX_QUEUE_TIMEOUT_MS = 60_000;

export const overloadFields = {
  queueTimeoutMs: milliseconds(
    0,
    "How long a request may wait for an instance; then it gets 503 with Retry-After and is not run. While the queue has not been empty for this long, the newest requests go first, and others get 503 after a twentieth of it. `0`: requests wait as long as `balancer.limits.upstreamConnectTimeoutMs` allows, and none is refused for the wait alone. See [balancing.md](balancing.md#overload).",
    { min: 0, max: MAX_QUEUE_TIMEOUT_MS },
  ),
  priority: table(
    {
      high: texts('Routes such as `["/healthz", "/checkout/"]` whose requests leave the request queue first.', []),
      low: texts('Routes such as `["/search/"]` whose requests leave it last, and get 503 first.', []),
    },
    "Which requests go first when they have to wait. See [balancing.md](balancing.md#overload).",
  ),
};

interface Input {
  queueTimeoutMs?: number | undefined;
  priority?: { high?: string[] | undefined; low?: string[] | undefined } | undefined;
  policy?: string | undefined;
  sticky?: string | undefined;
}

/** Resolves the keys; problems are reported by path. */
export function resolveOverload(
  { queueTimeoutMs = 0, priority, policy, sticky }: Input,
  report: (path: (string | number)[], message: string) => void,
): Pick<RelayTraits, "queueTimeoutMs" | "priority"> {
  const chooser = sticky === undefined ? `policy: "${policy}"` : "sticky";
  if (queueTimeoutMs > 0 && (sticky !== undefined || policy === "exact" || policy?.startsWith("hash:") === true))
    report(
      ["queueTimeoutMs"],
      `has no effect with \`${chooser}\`, where requests do not wait for any instance with room`,
    );
  const known = new Set<string>();
  const read = (key: "high" | "low") =>
    (priority?.[key] ?? []).map((route, at) => {
      const result = readRoute(route);
      if ("problem" in result) {
        report(["priority", key, at], result.problem);
        return route;
      }
      const same = routeKey(result.route);
      if (known.has(same)) report(["priority", key, at], `the route ${JSON.stringify(route)} is there twice`);
      known.add(same);
      return result.route;
    });
  const routes = { high: read("high"), low: read("low") };
  return {
    ...(queueTimeoutMs > 0 && { queueTimeoutMs }),
    ...(known.size > 0 && { priority: routes }),
  };
}
