/** The keys for what requests are called: `balancer.requestId` and `balancer.trace`. */
import type { IdentityRules } from "@paceline/wire";
import { expected, fieldOf, flag, fraction, table, word } from "./fields.js";

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
    "The share of the traces made here that are marked as sampled. The samplers of most tracing libraries follow that mark.",
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
        "Give each request an X-Request-Id, a UUID. That of a trusted proxy is kept, that of others replaced. By default the client's passes unchanged. See [apps.md](apps.md#request-ids-and-traces).",
    },
  ),
  trace: fieldOf(
    [flag(false, "").unwrap(), table(traceFields, "").unwrap()],
    expected("must be true, false, or a table with `keep` and `sampled`"),
    {
      type: "true, false or table",
      default: false,
      description:
        "Give each request a traceparent (W3C Trace Context) if it has none that is kept. By default the client's passes unchanged. See [apps.md](apps.md#request-ids-and-traces).",
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

/** Returns the keys that are on. */
export function resolveIdentity({ requestId = false, trace = false }: GivenIdentity): IdentityConfig {
  const { inResponse = false } = typeof requestId === "boolean" ? {} : requestId;
  const { keep = "trusted", sampled = 1 } = typeof trace === "boolean" ? {} : trace;
  return {
    ...(requestId !== false && { requestId: { inResponse } }),
    ...(trace !== false && { trace: { keep, sampled } }),
  };
}
