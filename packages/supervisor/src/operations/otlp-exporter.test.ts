/** The exporter, tested with a collector. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { RecordedSpan } from "@paceline/wire";
import { expect, it, onTestFinished, vi } from "vitest";
import type { OtlpConfig } from "../core/model.js";
import { EventLog } from "../logs/event-log.js";
import { OtlpExporter } from "./otlp-exporter.js";

const span: RecordedSpan = {
  ...{
    traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
    spanId: "00f067aa0ba902b7",
    at: 1,
    ms: 1,
    method: "GET",
    path: "/",
  },
  ...{ status: 200, requestBytes: 0, bytes: 1, retries: 0, outcome: "whole", phase: "response" },
};

interface Got {
  path: string;
  headers: IncomingHttpHeaders;
  spans: number;
}

async function exporting(answer: (response: ServerResponse, count: number) => void) {
  const got: Got[] = [];
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (part) => {
      text += part;
    });
    request.on("end", () => {
      const spans = JSON.parse(text).resourceSpans?.[0].scopeSpans[0].spans.length ?? 0;
      got.push({ path: request.url ?? "", headers: request.headers, spans });
      answer(response, got.length);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  onTestFinished(() => void server.closeAllConnections());
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const config: OtlpConfig = {
    endpoint,
    headers: { "x-key": "abc" },
    sampleRatio: 1,
    metricsEveryMs: 0,
    timeoutMs: 5_000,
    attributes: {},
  };
  const log = new EventLog();
  const up = { name: "paceline_up", type: "gauge", help: "Up.", samples: [{ labels: {}, value: 1 }] } as const;
  const exporter = new OtlpExporter({
    ...{ log, config: () => config, fleet: () => "shop", version: "1.0.0", startedAt: 0, families: () => [up] },
    ...{ batchMs: 1, retryDelayMs: () => 1 },
  });
  onTestFinished(() => exporter.close());
  return { exporter, got, log };
}

const settled = (check: () => void) => vi.waitFor(check, { timeout: 60_000, interval: 5 });

it("sends spans in batches, again after a failure, and metrics", async () => {
  const { exporter, got } = await exporting((response, count) => response.writeHead(count === 1 ? 503 : 200).end("{}"));
  exporter.heard({ spans: [span, span], lost: 0 });
  await settled(() =>
    expect(got.map(({ path, spans }) => [path, spans])).toEqual([
      ["/v1/traces", 2],
      ["/v1/traces", 2],
    ]),
  );
  await exporter.sendMetrics();
  expect(got[2]).toMatchObject({
    path: "/v1/metrics",
    headers: { "x-key": "abc", "content-type": "application/json" },
  });
});

it("keeps a bounded number of spans while the collector does not respond, and reports once that spans are lost", async () => {
  const waiting: ServerResponse[] = [];
  const { exporter, got, log } = await exporting((response) => void waiting.push(response));
  for (let n = 0; n < 100; n++) exporter.heard({ spans: new Array(100).fill(span), lost: 1 });
  expect((exporter as unknown as { waiting: unknown[] }).waiting.length).toBeLessThanOrEqual(4_096);
  await settled(() => expect(got.length).toBe(1));
  expect(got[0]?.spans).toBeLessThanOrEqual(512);
  for (const response of waiting) response.writeHead(400).end("bad");
  await settled(() =>
    expect(log.recentEvents()[0]?.message).toMatch(
      /^the collector of otlp does not get the spans: the server responded 400: bad; \d+ spans are lost so far$/,
    ),
  );
});
