/** Sends metrics and spans to an OpenTelemetry collector: in batches, limited, with deadlines, without blocking anything else. */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import type { RecordedSpan, RecordedSpans } from "@paceline/wire";
import { retryDelayMs } from "../core/alerts.js";
import type { OtlpConfig } from "../core/model.js";
import type { EventLog } from "../logs/event-log.js";
import type { Family } from "../metrics/exposition.js";
import { metricsRequest, type OtlpSource, tracesRequest } from "../metrics/otlp.js";
import { postJson, readTexts } from "./http-post.js";

interface OtlpOptions {
  log: Pick<EventLog, "event">;
  config(): OtlpConfig | undefined;
  fleet(): string;
  version: string;
  /** When the fleet was started, in Unix time in milliseconds. */
  startedAt: number;
  families(): Family[];
  /** How long spans may wait for others, in milliseconds. Default: 2,000. */
  batchMs?: number;
  retryDelayMs?: (attempt: number) => number;
}

const BATCH_MS = 2_000;
const MAX_BATCH = 512;
const MAX_WAITING = 4_096;
const RETRIES = 3;
/** The minimum time between two reports of a failure, in milliseconds. */
const REPORT_AFTER_MS = 600_000;

export class OtlpExporter {
  private waiting: RecordedSpan[] = [];
  private lost = 0;
  private readonly ending = new AbortController();
  private metricsTimer: NodeJS.Timeout | undefined;
  private spansTimer: NodeJS.Timeout | undefined;
  private everyMs = 0;
  private isSending = false;
  private isSendingMetrics = false;
  private reportedAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: OtlpOptions) {}

  /** Applies the configuration in service. */
  follow(): void {
    const everyMs = this.options.config()?.metricsEveryMs ?? 0;
    if (everyMs === this.everyMs) return;
    this.everyMs = everyMs;
    clearInterval(this.metricsTimer);
    if (everyMs > 0) this.metricsTimer = setInterval(() => void this.sendMetrics(), everyMs).unref();
  }

  /** Takes the spans that a balancer has recorded. */
  heard({ spans, lost }: Pick<RecordedSpans, "spans" | "lost">): void {
    if (this.options.config() === undefined || this.ending.signal.aborted) return;
    this.lost += lost;
    const room = Math.max(0, MAX_WAITING - this.waiting.length);
    this.waiting.push(...spans.slice(0, room));
    this.lost += Math.max(0, spans.length - room);
    if (this.waiting.length >= MAX_BATCH) void this.sendSpans();
    else this.spansTimer ??= setTimeout(() => void this.sendSpans(), this.options.batchMs ?? BATCH_MS).unref();
  }

  /** Sends the metrics now. */
  async sendMetrics(): Promise<void> {
    const config = this.options.config();
    // A collector that is slower than the period gets metrics less often.
    if (config === undefined || this.isSendingMetrics) return;
    this.isSendingMetrics = true;
    try {
      const { families, startedAt } = this.options;
      const body = JSON.stringify(metricsRequest(families(), this.source(config), startedAt, Date.now()));
      // The next metrics contain all that these do.
      const { problem } = await this.post(config, "metrics", body);
      this.note(problem, "metrics");
    } finally {
      this.isSendingMetrics = false;
    }
  }

  private async sendSpans(): Promise<void> {
    clearTimeout(this.spansTimer);
    this.spansTimer = undefined;
    if (this.isSending) return;
    this.isSending = true;
    try {
      for (
        let config = this.options.config();
        config !== undefined && this.waiting.length > 0;
        config = this.options.config()
      ) {
        const batch = this.waiting.splice(0, MAX_BATCH);
        await this.sendBatch(config, batch);
        if (this.ending.signal.aborted) return;
      }
    } finally {
      this.isSending = false;
    }
  }

  private async sendBatch(config: OtlpConfig, batch: RecordedSpan[]): Promise<void> {
    const body = JSON.stringify(tracesRequest(batch, this.source(config), () => randomBytes(8).toString("hex")));
    for (let attempt = 1; ; attempt++) {
      const { problem, mayRetry } = await this.post(config, "traces", body);
      if (problem === undefined) return this.note(undefined, "spans");
      if (this.ending.signal.aborted) return;
      if (!mayRetry || attempt > RETRIES) {
        this.lost += batch.length;
        return this.note(problem, "spans");
      }
      await this.pause((this.options.retryDelayMs ?? retryDelayMs)(attempt));
      if (this.ending.signal.aborted) return;
    }
  }

  private async post({ endpoint, headers, timeoutMs }: OtlpConfig, signal: "traces" | "metrics", body: string) {
    const read = readTexts(headers);
    if ("problem" in read) return { problem: read.problem, mayRetry: true };
    const url = `${endpoint.replace(/\/$/, "")}/v1/${signal}`;
    return postJson({ url, headers: read.texts, body, timeoutMs, signal: this.ending.signal });
  }

  private source({ attributes }: OtlpConfig): OtlpSource {
    const { fleet, version } = this.options;
    return { fleet: fleet(), host: hostname(), version, attributes };
  }

  private note(problem: string | undefined, what: string): void {
    if (problem === undefined) {
      this.reportedAt = Number.NEGATIVE_INFINITY;
      return;
    }
    const now = performance.now();
    if (now - this.reportedAt < REPORT_AFTER_MS || this.ending.signal.aborted) return;
    this.reportedAt = now;
    const lost = this.lost === 0 ? "" : `; ${this.lost} spans are lost so far`;
    this.options.log.event("warn", "paceline", `the collector of otlp does not get the ${what}: ${problem}${lost}`);
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      const end = () => {
        clearTimeout(timer);
        resolve();
      };
      this.ending.signal.addEventListener("abort", end, { once: true });
    });
  }

  /** Aborts requests; waiting spans are lost. */
  close(): void {
    this.ending.abort();
    clearInterval(this.metricsTimer);
    clearTimeout(this.spansTimer);
    this.waiting = [];
  }
}
