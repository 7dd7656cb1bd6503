/**
 * OTLP in JSON, compared with the fields of the published messages (opentelemetry-proto 1.7, lowerCamelCase) and with the rules for ids and
 * integers.
 */
import type { RecordedSpan } from "@paceline/wire";
import { describe, expect, it } from "vitest";
import type { Family } from "./exposition.js";
import { metricsRequest, tracesRequest } from "./otlp.js";

type Kind = "text" | "number" | "int64" | "id16" | "id8" | "boolean" | readonly [string] | string;

/** Each message with its fields; a list is in brackets, other names are messages. */
const MESSAGES: Record<string, Record<string, Kind>> = {
  ExportMetricsServiceRequest: { resourceMetrics: ["ResourceMetrics"] },
  ResourceMetrics: { resource: "Resource", scopeMetrics: ["ScopeMetrics"], schemaUrl: "text" },
  ScopeMetrics: { scope: "InstrumentationScope", metrics: ["Metric"], schemaUrl: "text" },
  Metric: { name: "text", description: "text", unit: "text", gauge: "Gauge", sum: "Sum", histogram: "Histogram" },
  Gauge: { dataPoints: ["NumberDataPoint"] },
  Sum: { dataPoints: ["NumberDataPoint"], aggregationTemporality: "number", isMonotonic: "boolean" },
  Histogram: { dataPoints: ["HistogramDataPoint"], aggregationTemporality: "number" },
  NumberDataPoint: {
    attributes: ["KeyValue"],
    startTimeUnixNano: "int64",
    timeUnixNano: "int64",
    asDouble: "number",
    asInt: "int64",
  },
  HistogramDataPoint: {
    ...{ attributes: ["KeyValue"], startTimeUnixNano: "int64", timeUnixNano: "int64", count: "int64", sum: "number" },
    ...{ bucketCounts: ["int64"], explicitBounds: ["number"] },
  },
  ExportTraceServiceRequest: { resourceSpans: ["ResourceSpans"] },
  ResourceSpans: { resource: "Resource", scopeSpans: ["ScopeSpans"], schemaUrl: "text" },
  ScopeSpans: { scope: "InstrumentationScope", spans: ["Span"], schemaUrl: "text" },
  Span: {
    ...{
      traceId: "id16",
      spanId: "id8",
      traceState: "text",
      parentSpanId: "id8",
      flags: "number",
      name: "text",
      kind: "number",
    },
    ...{ startTimeUnixNano: "int64", endTimeUnixNano: "int64", attributes: ["KeyValue"], status: "Status" },
  },
  Status: { message: "text", code: "number" },
  Resource: { attributes: ["KeyValue"] },
  InstrumentationScope: { name: "text", version: "text", attributes: ["KeyValue"] },
  KeyValue: { key: "text", value: "AnyValue" },
  AnyValue: { stringValue: "text", boolValue: "boolean", intValue: "int64", doubleValue: "number" },
};

const SCALARS: Record<string, (value: unknown) => boolean> = {
  text: (value) => typeof value === "string",
  number: (value) => typeof value === "number" && Number.isFinite(value),
  boolean: (value) => typeof value === "boolean",
  int64: (value) => typeof value === "string" && /^\d{1,19}$/.test(value),
  id16: (value) => typeof value === "string" && /^[0-9a-f]{32}$/.test(value) && !/^0*$/.test(value),
  id8: (value) => typeof value === "string" && /^[0-9a-f]{16}$/.test(value) && !/^0*$/.test(value),
};

/** Returns the differences from the messages. */
export function problemsOf(value: unknown, kind: Kind, path = ""): string[] {
  if (Array.isArray(kind))
    return Array.isArray(value)
      ? value.flatMap((each, at) => problemsOf(each, kind[0] as string, `${path}[${at}]`))
      : [`${path} is no list`];
  const scalar = SCALARS[kind as string];
  if (scalar !== undefined) return scalar(value) ? [] : [`${path} is no ${kind}: ${JSON.stringify(value)}`];
  const fields = MESSAGES[kind as string];
  if (fields === undefined || typeof value !== "object" || value === null) return [`${path} is no ${kind}`];
  return Object.entries(value).flatMap(([key, each]) =>
    fields[key] === undefined
      ? [`${path}.${key} is no field of ${kind}`]
      : problemsOf(each, fields[key], `${path}.${key}`),
  );
}

const source = { fleet: "shop", host: "box1", version: "1.0.0", attributes: { "deployment.environment.name": "test" } };
const families: Family[] = [
  { name: "paceline_up", type: "gauge", help: "Up.", samples: [{ labels: {}, value: 1 }] },
  { name: "paceline_requests", type: "counter", help: "All.", samples: [{ labels: { pool: "web" }, value: 3 }] },
  { name: "paceline_build", type: "info", help: "What.", samples: [{ labels: { version: "1" }, value: 1 }] },
  { name: "paceline_none", type: "gauge", help: "Nothing.", samples: [] },
  {
    name: "paceline_request_duration_seconds",
    type: "histogram",
    help: "Time.",
    samples: [{ labels: { pool: "web" }, bounds: [0.1, 1], counts: [2, 0, 1], sum: 7.5 }],
  },
];

it("has the metrics of the text formats", () => {
  const request = metricsRequest(families, source, 1_000, 1_800_000_000_123.5);
  expect(problemsOf(request, "ExportMetricsServiceRequest")).toEqual([]);
  const { resourceMetrics } = request as {
    resourceMetrics: { resource: object; scopeMetrics: { metrics: Record<string, unknown>[] }[] }[];
  };
  const metrics = resourceMetrics[0]?.scopeMetrics[0]?.metrics ?? [];
  expect(metrics.map(({ name, unit }) => [name, unit])).toEqual([
    ["paceline_up", "1"],
    ["paceline_requests", "1"],
    ["paceline_build_info", "1"],
    ["paceline_request_duration_seconds", "s"],
  ]);
  expect(metrics[1]?.sum).toMatchObject({
    isMonotonic: true,
    aggregationTemporality: 2,
    dataPoints: [{ asDouble: 3, startTimeUnixNano: "1000000000", timeUnixNano: "1800000000123500000" }],
  });
  expect(metrics[3]?.histogram).toMatchObject({
    dataPoints: [{ count: "3", sum: 7.5, bucketCounts: ["2", "0", "1"], explicitBounds: [0.1, 1] }],
  });
  expect(resourceMetrics[0]?.resource).toMatchObject({
    attributes: expect.arrayContaining([{ key: "service.name", value: { stringValue: "shop" } }]),
  });
});

describe("a request's spans", () => {
  const recorded: RecordedSpan = {
    ...{ traceId: "4bf92f3577b34da6a3ce929d0e0e4736", spanId: "00f067aa0ba902b7", at: 1_800_000_000_000, ms: 50 },
    ...{
      queuedMs: 1,
      foundMs: 11,
      sentMs: 12,
      firstByteMs: 42,
      handlerMs: 20,
      method: "GET",
      path: "/cart",
      status: 200,
    },
    ...{
      requestBytes: 0,
      bytes: 5_124,
      retries: 0,
      pool: "web",
      instance: "web.3",
      outcome: "whole",
      phase: "response",
    },
  };
  let made = 0;
  const makeId = () => (++made).toString(16).padStart(16, "0");
  const spansIn = (...spans: RecordedSpan[]) => {
    const request = tracesRequest(spans, source, makeId);
    expect(problemsOf(request, "ExportTraceServiceRequest")).toEqual([]);
    const { resourceSpans } = request as { resourceSpans: { scopeSpans: { spans: Record<string, unknown>[] }[] }[] };
    return resourceSpans[0]?.scopeSpans[0]?.spans ?? [];
  };
  const times = (span: Record<string, unknown> | undefined) =>
    [span?.startTimeUnixNano, span?.endTimeUnixNano].map(
      (nanos) => Number(BigInt(nanos as string) / 1_000_000n) - 1_800_000_000_000,
    );

  it("are edge, queue, lane and handler, one within the other", () => {
    const [edge, queue, lane, handler] = spansIn(recorded);
    expect([edge, queue, lane, handler].map((span) => span?.name)).toEqual(["GET web", "queue", "lane", "handler"]);
    expect([edge, queue, lane, handler].map(times)).toEqual([
      [0, 50],
      [1, 11],
      [12, 42],
      [22, 42],
    ]);
    expect(edge).toMatchObject({ spanId: "00f067aa0ba902b7", kind: 2, status: {} });
    expect(edge).not.toHaveProperty("parentSpanId");
    expect([queue, lane].map((span) => span?.parentSpanId)).toEqual(["00f067aa0ba902b7", "00f067aa0ba902b7"]);
    expect(handler?.parentSpanId).toBe(lane?.spanId);
  });

  it("have the client's span as their parent, if it was kept", () => {
    const { spanId: _, ...kept } = recorded;
    const [edge] = spansIn({ ...kept, parentId: "b7ad6b7169203331" });
    expect(edge).toMatchObject({ parentSpanId: "b7ad6b7169203331", spanId: expect.stringMatching(/^[0-9a-f]{16}$/) });
  });

  it("of a failed request are fewer, and an error", () => {
    const { foundMs, sentMs, firstByteMs, handlerMs, instance, ...refused } = recorded;
    const [edge, ...parts] = spansIn({ ...refused, status: 503, outcome: "refused", phase: "queue" });
    expect(parts).toEqual([]);
    expect(edge?.status).toEqual({ code: 2, message: "503, refused" });
  });
});
