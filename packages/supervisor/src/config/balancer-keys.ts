/** Keys of `balancer` about requests: who may state their origin, how many are accepted, their ids, and their log. */
import { statSync } from "node:fs";
import { isIP } from "node:net";
import { dirname, resolve } from "node:path";
import type { IdentityRules, RateLimitRule } from "@paceline/wire";
import { type AccessLogRule, COMBINED, parseTemplate } from "@paceline/wire/access-log";
import {
  count,
  expected,
  fieldOf,
  flag,
  fraction,
  milliseconds,
  table,
  tables,
  text,
  textLike,
  texts,
  word,
} from "./fields.js";
import { readRoute } from "./route.js";

const accessLogFields = {
  format: text(
    'Default: `"combined"`, the format of Apache and nginx, followed by the duration in seconds and the instance. `"json"`: one object per line with all fields. Otherwise a template such as `"{time} {method} {target} {status}"`; see [access-log.md](access-log.md#fields).',
  ),
  file: text(
    "The file to append to, relative to the config file's folder; its folder must exist. All balancers write to it, and reopen it on SIGUSR1 to the supervisor. Default: the balancer's output, which `paceline logs balancer` shows.",
  ),
  sample: fraction(1, "The share of requests that are logged, such as `0.01`. 5xx responses are always logged.", {
    min: 0,
    max: 1,
  }),
  except: texts(
    'Routes whose requests are not logged, such as `["/healthz", "/static/"]`. They need not be routes of a pool. 5xx responses are always logged. Default: none.',
  ),
};

export const accessLog = fieldOf(
  [flag(false, "").unwrap(), table(accessLogFields, "").unwrap()],
  expected("must be true, false, or a table with `format`, `file`, `sample` and `except`"),
  {
    type: "true, false or table",
    default: false,
    description:
      "Log one line per request, for every kind of pool. `true`: in the combined format to the balancer's output. A table may have `format`, `file`, `sample` and `except`. See [access-log.md](access-log.md).",
  },
);

interface AccessLogTable {
  format?: string | undefined;
  file?: string | undefined;
  sample?: number | undefined;
  except?: string[] | undefined;
}

/** Returns undefined without an access log. */
export function resolveAccessLog(
  given: boolean | AccessLogTable | undefined,
  baseDir: string,
  report: (path: (string | number)[], message: string) => void,
): AccessLogRule | undefined {
  if (given === undefined || given === false) return undefined;
  const { format = "combined", file, sample = 1, except } = given === true ? {} : given;
  const template = format === "combined" ? COMBINED : format;
  const parsed = template === "json" ? [] : parseTemplate(template);
  if (typeof parsed === "string") report(["format"], parsed);
  const omitted = except?.map((route, at) => routeOf(route, (message) => report(["except", at], message)));
  const rule = { format: template, sample, ...(omitted !== undefined && { except: omitted }) };
  if (file === undefined) return rule;
  const path = resolve(baseDir, file);
  if (statSync(dirname(path), { throwIfNoEntry: false })?.isDirectory() !== true)
    report(["file"], `there is no folder ${dirname(path)}`);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) report(["file"], `${path} is a folder`);
  return { ...rule, file: path };
}

/** Returns a route in the balancers' form, or reports its problem. */
function routeOf(text: string, report: (problem: string) => void): string {
  const read = readRoute(text);
  if ("route" in read) return read.route;
  report(read.problem);
  return text;
}

/** The default period of `balancer.rateLimits`, which limits how often clients may send requests. In milliseconds. */
const PERIOD_MS = 1_000;
const MAX_PERIOD_MS = 3_600_000;
const MAX_RULES = 16;
/** How a rule distinguishes clients. */
const BY = /^(?:address|route|header:[!#$%&'*+.^`|~\w-]{1,64})$/;

const rateLimitFields = {
  by: textLike(
    BY,
    {
      type: '`"address"`, `"header:NAME"` or `"route"`',
      rule: 'must be "address", "header:NAME" or "route"',
    },
    'Which requests share a bucket: those of one client address (an IPv6 address by its first 64 bits), those with the same value of a request field such as `"header:x-api-key"` (a request counts by its address if it has the field twice or not at all), or all requests of one of the `routes`. Default: `"address"`.',
  ),
  requests: count(undefined, "How many tokens a bucket regains in `periodMs`. Required.", { max: 1_000_000 }),
  periodMs: milliseconds(PERIOD_MS, "The time in which the bucket regains these tokens, evenly.", {
    max: MAX_PERIOD_MS,
  }),
  burst: count(undefined, "How many requests may arrive at once: the size of a bucket. Default: `requests`."),
  routes: texts(
    'The rule applies only to requests of these routes, such as `["/login", "example.com/api/"]`; the best match in the list is used. They need not be routes of a pool. Default: all requests.',
  ),
};

/** A key of `balancer`. */
export const rateLimits = tables(
  rateLimitFields,
  "How often clients may send requests, such as `[{ requests: 20, periodMs: 1000, burst: 50 }]`: each client has a bucket of tokens, a request takes one token, and without a token the response is 429. A request takes a token of each rule that applies to it. See [security.md](security.md#limits-for-clients). Default: no limit.",
);

type RateLimitInput = NonNullable<ReturnType<typeof rateLimits.parse>>;

/** Resolves the rules; problems are reported by path. */
export function resolveRateLimits(
  given: RateLimitInput | undefined,
  report: (path: (string | number)[], message: string) => void,
): RateLimitRule[] {
  if (given === undefined) return [];
  if (given.length > MAX_RULES) report([], `cannot have more than ${MAX_RULES} rules`);
  return given.map(({ by: text = "address", requests, periodMs = PERIOD_MS, burst, routes }, at) => {
    if (requests === undefined) report([at, "requests"], "is missing: how many requests may come in `periodMs`");
    const read = routes?.map((route, index) => routeOf(route, (problem) => report([at, "routes", index], problem)));
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

/** The keys for ids of requests: `balancer.requestId` and `balancer.trace`. */
const idFields = {
  inResponse: flag(false, "Send the request id to the client too, unless the app's response has an X-Request-Id."),
};

const traceFields = {
  keep: word(
    ["trusted", "always"],
    'Whose traceparent and tracestate pass unchanged: those of `trustedProxies`, or those of all clients. Default: `"trusted"`.',
  ),
  sampled: fraction(
    1,
    "The share of new traces that are marked as sampled. The samplers of most tracing libraries follow this mark.",
    { min: 0, max: 1 },
  ),
};

/** Keys of `balancer`. */
export const identityFields = {
  requestId: fieldOf(
    [flag(false, "").unwrap(), table(idFields, "").unwrap()],
    expected("must be true, false, or a table with `inResponse`"),
    {
      type: "true, false or table",
      default: false,
      description:
        "Give each request an X-Request-Id, a UUID. The id of a trusted proxy is kept, all others are replaced. By default the client's id passes unchanged. See [apps.md](apps.md#request-ids-and-traces).",
    },
  ),
  trace: fieldOf(
    [flag(false, "").unwrap(), table(traceFields, "").unwrap()],
    expected("must be true, false, or a table with `keep` and `sampled`"),
    {
      type: "true, false or table",
      default: false,
      description:
        "Give each request a traceparent (W3C Trace Context), unless its own is kept (`keep`). By default the client's traceparent passes unchanged. See [apps.md](apps.md#request-ids-and-traces).",
    },
  ),
};

interface GivenIdentity {
  requestId?: boolean | { inResponse?: boolean | undefined } | undefined;
  trace?: boolean | { keep?: "trusted" | "always" | undefined; sampled?: number | undefined } | undefined;
}

interface IdentityConfig {
  requestId?: { inResponse: boolean };
  trace?: NonNullable<IdentityRules["trace"]>;
}

/** Returns the enabled settings. */
export function resolveIdentity({ requestId = false, trace = false }: GivenIdentity): IdentityConfig {
  const { inResponse = false } = typeof requestId === "boolean" ? {} : requestId;
  const { keep = "trusted", sampled = 1 } = typeof trace === "boolean" ? {} : trace;
  return {
    ...(requestId !== false && { requestId: { inResponse } }),
    ...(trace !== false && { trace: { keep, sampled } }),
  };
}

/** Reads `balancer.trustedProxies`: addresses and networks, as CIDR blocks. */
export function resolveTrustedProxies(
  texts: readonly string[],
  report: (at: number, message: string) => void,
): string[] {
  return texts.map((text, at) => {
    const network = normalizeNetwork(text);
    if (network === undefined) report(at, `must be an IP address, a CIDR block or "unix", not ${JSON.stringify(text)}`);
    return network ?? text;
  });
}

/** Returns `text` as a CIDR block. A single address becomes a block of one, `unix` stays. Returns undefined if `text` is invalid. */
function normalizeNetwork(text: string): string | undefined {
  if (text === "unix") return text;
  const [address = "", prefix, more] = text.split("/");
  const family = isIP(address);
  if (family === 0 || more !== undefined) return undefined;
  const bits = family === 4 ? 32 : 128;
  if (prefix === undefined) return `${address}/${bits}`;
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bits) return undefined;
  // IPv4 clients are matched by their IPv4 addresses, so a wider IPv4-mapped block would match none of them.
  if (isMapped(address) && Number(prefix) < 96) return undefined;
  return `${address}/${Number(prefix)}`;
}

function isMapped(address: string): boolean {
  return address.includes(":") && new URL(`http://[${address.replace(/%.*/, "")}]`).hostname.startsWith("[::ffff:");
}
