/** The key `otlp`: where metrics and spans are sent. */
import type { OtlpConfig } from "../core/model.js";
import { resolveHeaders, urlProblem } from "./alerts.js";
import { fraction, milliseconds, text, textTable, variables } from "./fields.js";
import type { EnvValue, SecretContext } from "./secrets.js";

const DEFAULTS = { sampleRatio: 0.01, metricsEveryMs: 60_000, timeoutMs: 10_000 };

export const otlpFields = {
  endpoint: text(
    'The URL of an OpenTelemetry collector that takes OTLP in JSON over HTTP, such as `"http://127.0.0.1:4318"`. `/v1/traces` and `/v1/metrics` are appended.',
  ),
  headers: variables(
    "Further header fields, such as an `Authorization`; a value may be `{ file: … }` or `{ credential: … }`.",
  ),
  sampleRatio: fraction(
    DEFAULTS.sampleRatio,
    "The share of requests whose spans are sent; `0`: none. A traceparent that is kept decides for its request. `balancer.trace` has a share of its own, which counts if it is on.",
    { min: 0, max: 1 },
  ),
  metricsEveryMs: milliseconds(DEFAULTS.metricsEveryMs, "How often the metrics are sent. `0`: never.", { min: 0 }),
  timeoutMs: milliseconds(DEFAULTS.timeoutMs, "How long one attempt may take.", { max: 300_000 }),
  attributes: textTable(
    "Further attributes of the resource, such as `deployment.environment.name`. `service.name` is the name of the fleet unless it is here.",
  ),
};

interface OtlpInput {
  endpoint?: string | undefined;
  headers?: Record<string, EnvValue> | undefined;
  sampleRatio?: number | undefined;
  metricsEveryMs?: number | undefined;
  timeoutMs?: number | undefined;
  attributes?: Record<string, string> | undefined;
}

/** @param context whose `report` gets paths below `otlp` */
export function resolveOtlp(given: OtlpInput | undefined, context: SecretContext): OtlpConfig | undefined {
  if (given === undefined) return undefined;
  const { endpoint, headers = {}, attributes = {} } = given;
  if (endpoint === undefined) {
    context.report([], "must have `endpoint`");
    return undefined;
  }
  const problem = urlProblem(endpoint);
  if (problem !== undefined) context.report(["endpoint"], problem);
  const {
    sampleRatio = DEFAULTS.sampleRatio,
    metricsEveryMs = DEFAULTS.metricsEveryMs,
    timeoutMs = DEFAULTS.timeoutMs,
  } = given;
  if (metricsEveryMs > 0 && metricsEveryMs < 1000) context.report(["metricsEveryMs"], "must be 0, or at least 1000");
  return {
    endpoint,
    headers: resolveHeaders(headers, ["headers"], context),
    sampleRatio,
    metricsEveryMs,
    timeoutMs,
    attributes,
  };
}
