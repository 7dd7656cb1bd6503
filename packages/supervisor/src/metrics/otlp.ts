/**
 * Metrics and spans as OTLP in JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): ids are hexadecimal, 64-bit
 * integers are strings, enums are numbers. Pure.
 */
import type { RecordedSpan } from "@paceline/wire";
import type { Family, HistogramSample, Sample } from "./exposition.js";

/** The sender: attributes of the resource. */
export interface OtlpSource {
  /** The attribute `service.name`. */
  fleet: string;
  /** The attribute `host.name`. */
  host: string;
  /** The version of Paceline. */
  version: string;
  /** Further attributes of the resource. */
  attributes: Readonly<Record<string, string>>;
}

/** Numbers of the enums in opentelemetry/proto. */
const CUMULATIVE = 2;
const KIND_INTERNAL = 1;
const KIND_SERVER = 2;
const STATUS_ERROR = 2;

type Value = { stringValue: string } | { intValue: string } | { doubleValue: number };
interface Attribute {
  key: string;
  value: Value;
}

/** Returns the body of a request to `/v1/metrics`. Times are Unix times in milliseconds. */
export function metricsRequest(
  families: readonly Family[],
  source: OtlpSource,
  startedAt: number,
  now: number,
): object {
  const metrics = families
    .filter(({ samples }) => samples.length > 0)
    .map((family) => metricOf(family, startedAt, now));
  return { resourceMetrics: [{ resource: resourceOf(source), scopeMetrics: [{ scope: scopeOf(source), metrics }] }] };
}

function metricOf(family: Family, startedAt: number, now: number): object {
  const { name, help } = family;
  const base = { name: family.type === "info" ? `${name}_info` : name, description: help, unit: unitOf(name) };
  const times = { startTimeUnixNano: nanos(startedAt), timeUnixNano: nanos(now) };
  switch (family.type) {
    case "counter": {
      const dataPoints = family.samples.map((sample) => ({ ...pointOf(sample), ...times }));
      return { ...base, sum: { dataPoints, aggregationTemporality: CUMULATIVE, isMonotonic: true } };
    }
    case "gauge":
    case "info":
      return {
        ...base,
        gauge: { dataPoints: family.samples.map((sample) => ({ ...pointOf(sample), timeUnixNano: nanos(now) })) },
      };
    case "histogram": {
      const dataPoints = family.samples.map((sample) => ({ ...bucketsOf(sample), ...times }));
      return { ...base, histogram: { dataPoints, aggregationTemporality: CUMULATIVE } };
    }
    default:
      return family satisfies never;
  }
}

function pointOf({ labels, value }: Sample): object {
  return { attributes: attributesOf(labels), asDouble: value };
}

function bucketsOf({ labels, bounds, counts, sum }: HistogramSample): object {
  return {
    attributes: attributesOf(labels),
    count: String(counts.reduce((all, count) => all + count, 0)),
    sum,
    bucketCounts: counts.map(String),
    explicitBounds: [...bounds],
  };
}

/** Returns the unit by the end of the name, which the naming of the metrics determines. */
function unitOf(name: string): string {
  if (name.endsWith("_seconds")) return "s";
  if (name.endsWith("_bytes")) return "By";
  return "1";
}

/** @param makeId returns a new random id of 16 hexadecimal digits */
export function tracesRequest(spans: readonly RecordedSpan[], source: OtlpSource, makeId: () => string): object {
  const all = spans.flatMap((span) => spansOf(span, makeId));
  return { resourceSpans: [{ resource: resourceOf(source), scopeSpans: [{ scope: scopeOf(source), spans: all }] }] };
}

/**
 * Returns the span of a request at the balancer and its parts: the wait for an instance, the way to it and back, and the handler. The
 * handler is assumed to end with the wait for the first byte.
 */
function spansOf(span: RecordedSpan, makeId: () => string): object[] {
  const { traceId, at, queuedMs, foundMs, sentMs, firstByteMs, handlerMs } = span;
  const edgeId = span.spanId ?? makeId();
  const part = (name: string, parentSpanId: string, from: number, to: number) => ({
    ...{ traceId, spanId: makeId(), parentSpanId, name, kind: KIND_INTERNAL },
    ...{ startTimeUnixNano: nanos(at + from), endTimeUnixNano: nanos(at + Math.max(from, to)) },
    attributes: attributesOf({
      ...(span.pool && { "paceline.pool": span.pool }),
      ...(span.instance && { "paceline.instance": span.instance }),
    }),
  });
  const edge = {
    ...{ traceId, spanId: edgeId, ...(span.parentId !== undefined && { parentSpanId: span.parentId }) },
    ...{ name: `${span.method} ${span.pool ?? "paceline"}`, kind: KIND_SERVER },
    ...{ startTimeUnixNano: nanos(at), endTimeUnixNano: nanos(at + span.ms), attributes: edgeAttributes(span) },
    status: span.status >= 500 ? { code: STATUS_ERROR, message: `${span.status}, ${span.outcome}` } : {},
  };
  const parts: object[] = [];
  if (queuedMs !== undefined && foundMs !== undefined && foundMs >= queuedMs)
    parts.push(part("queue", edgeId, queuedMs, foundMs));
  if (sentMs !== undefined && firstByteMs !== undefined && firstByteMs >= sentMs) {
    const lane = part("lane", edgeId, sentMs, firstByteMs);
    parts.push(lane);
    if (handlerMs !== undefined)
      parts.push(part("handler", lane.spanId, Math.max(sentMs, firstByteMs - handlerMs), firstByteMs));
  }
  return [edge, ...parts];
}

/** Attributes with names from the semantic conventions for HTTP, and Paceline's own. */
function edgeAttributes(span: RecordedSpan): Attribute[] {
  const { method, path, status, requestBytes, bytes, retries, pool, instance, outcome, phase } = span;
  return [
    ...attributesOf({ "http.request.method": method, "url.path": path }),
    ...numbersOf({
      "http.response.status_code": status,
      "http.request.body.size": requestBytes,
      "http.response.body.size": bytes,
    }),
    ...(retries > 0 ? numbersOf({ "http.request.resend_count": retries }) : []),
    ...(status >= 500 ? attributesOf({ "error.type": String(status) }) : []),
    ...attributesOf({
      ...(pool !== undefined && { "paceline.pool": pool }),
      ...(instance !== undefined && { "paceline.instance": instance }),
      ...{ "paceline.outcome": outcome, "paceline.phase": phase },
    }),
  ];
}

function resourceOf({ fleet, host, version, attributes }: OtlpSource): object {
  const known = { "service.name": fleet, "host.name": host, "paceline.version": version };
  return { attributes: attributesOf({ ...known, ...attributes }) };
}

function scopeOf({ version }: OtlpSource): object {
  return { name: "paceline", version };
}

function attributesOf(texts: Readonly<Record<string, string>>): Attribute[] {
  return Object.entries(texts).map(([key, stringValue]) => ({ key, value: { stringValue } }));
}

function numbersOf(numbers: Readonly<Record<string, number>>): Attribute[] {
  return Object.entries(numbers).map(([key, value]) => ({ key, value: { intValue: String(Math.round(value)) } }));
}

/** A double does not have enough digits for today's time in nanoseconds. */
function nanos(ms: number): string {
  const whole = Math.floor(ms);
  return `${whole}${String(Math.min(999_999, Math.round((ms - whole) * 1e6))).padStart(6, "0")}`;
}
