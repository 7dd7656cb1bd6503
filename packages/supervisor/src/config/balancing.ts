/**
 * The keys of a pool, except `sticky`, that decide which of its instances gets a request, and which requests go first if there are too
 * many.
 */
import { clientFieldRule, HOP_BY_HOP_FIELDS, POLICY_NAMES, type PolicyName, type StickyRule } from "@paceline/wire";
import type { RelayTraits } from "../core/model.js";
import { count, milliseconds, table, textLike, texts } from "./fields.js";
import { readRoute, routeKey } from "./route.js";

const NAME = "[!#$%&'*+.^`|~\\w-]{1,64}";
const HASH = `hash:(?:address|path|cookie:${NAME}|header:${NAME})`;
const POLICY = new RegExp(`^(?:${POLICY_NAMES.join("|")}|${HASH})$`);
const TYPE = [...POLICY_NAMES, "hash:address", "hash:path", "hash:cookie:NAME", "hash:header:NAME"];

const listed = (mark: string) => {
  const quoted = TYPE.map((each) => `${mark}"${each}"${mark}`);
  return `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}`;
};

export const balancingFields = {
  policy: textLike(
    POLICY,
    { type: listed("`"), rule: `must be ${listed("")}` },
    'How the balancer picks an instance. `"round-robin"`: the next instance in turn; a request that would wait behind a busy instance goes to the first free one, and if requests take long, to the instance with the fewest requests. `"exact"`: always the next in turn, however busy it is. `"least-busy"`: the one with the fewest requests in flight. `"random-two"`: of two random instances, the one that responds faster and has fewer requests. `"hash:…"`: requests with the same address, path, cookie or field go to the same instance, unless it has many more requests than the others. Default: `"round-robin"`. See [balancing.md](balancing.md).',
  ),
  backups: count(
    0,
    "How many of the last instances are backups: they get requests only while every other instance has crashed, is drained or is ejected. See [balancing.md](balancing.md#backups).",
    { min: 0, max: 1023 },
  ),
};

/** Returns what balancers must know of a pool's policy, or the problem with it. */
export function relayedPolicy(text: string): Pick<RelayTraits, "policy" | "sticky"> | string {
  if (!text.startsWith("hash:")) return text === "round-robin" ? {} : { policy: text as PolicyName };
  const [, by = "", name = ""] = text.split(":");
  switch (by as "address" | "path" | "cookie" | "header") {
    case "address":
    case "path":
      return { sticky: { by: by as "address" | "path", isLoose: true } };
    case "cookie":
      return { sticky: { by: "cookie-value", name, isLoose: true } };
    default: {
      const field = fieldRule(name);
      return typeof field === "string" ? field : { sticky: { ...field, isLoose: true } };
    }
  }
}

const NEVER_PASS: readonly string[] = [...HOP_BY_HOP_FIELDS, "content-length"];

/** Returns the rule that recognizes clients by a field, or why instances do not get that field from a client. */
export function fieldRule(name: string): StickyRule | string {
  const field = name.toLowerCase();
  const rule = clientFieldRule(field);
  if (rule === "made") return `cannot use ${name}, which Paceline makes itself: use "address" for the client's address`;
  if (rule === "never" || NEVER_PASS.includes(field)) return `cannot use ${name}: instances never get it from a client`;
  return { by: "header", name: field };
}

/** The keys for a pool that gets more requests than it can run: how long they wait, and which go first. */
const MAX_QUEUE_TIMEOUT_MS = 60_000;

export const overloadFields = {
  queueTimeoutMs: milliseconds(
    0,
    "How long a request may wait for an instance; then it gets 503 with Retry-After and is not run. If the queue has not been empty for this long, the newest requests go first, and others get 503 after a twentieth of this time. `0`: only `balancer.limits.upstreamConnectTimeoutMs` limits the wait. See [balancing.md](balancing.md#overload).",
    { min: 0, max: MAX_QUEUE_TIMEOUT_MS },
  ),
  priority: table(
    {
      high: texts('Routes such as `["/healthz", "/checkout/"]` whose requests leave the request queue first.', []),
      low: texts('Routes such as `["/search/"]` whose requests leave the request queue last, and get 503 first.', []),
    },
    "Which waiting requests go first. See [balancing.md](balancing.md#overload).",
  ),
};

interface OverloadInput {
  queueTimeoutMs?: number | undefined;
  priority?: { high?: string[] | undefined; low?: string[] | undefined } | undefined;
  policy?: string | undefined;
  sticky?: string | undefined;
}

/** Resolves the keys; problems are reported by path. */
export function resolveOverload(
  { queueTimeoutMs = 0, priority, policy, sticky }: OverloadInput,
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
