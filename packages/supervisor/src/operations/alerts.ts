/**
 * Sends alerts to webhooks and commands: for each destination one after another, with retries and deadlines, without blocking anything
 * else.
 */
import { hostname } from "node:os";
import { basename } from "node:path";
import type { AlertStatus, FleetEvent, OperationResult, ProgressListener } from "../control/api.js";
import { type Alert, AlertDesk, alertText, retryDelayMs } from "../core/alerts.js";
import type { AlertConfig, FleetConfig } from "../core/model.js";
import { seconds, visible } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import { runHookProcess } from "../processes/hook-process.js";
import { hookEnvironment } from "../processes/spawn-plan.js";
import { postJson, readTexts } from "./http-post.js";

export { Outages } from "./outages.js";

interface AlertsOptions {
  log: Pick<EventLog, "event" | "onEvent">;
  config(): FleetConfig;
  environment(): Record<string, string>;
  runDir: string;
  /** Returns the time between two attempts, in milliseconds. Default: the time in core/alerts.ts. */
  retryDelayMs?: (attempt: number) => number;
}

/** The maximum number of waiting alerts of one destination. Further alerts are lost and counted. */
const MAX_WAITING = 64;
/** How often to check whether the quiet hours are over, in milliseconds. */
const LOOK_EVERY_MS = 30_000;
/** The minimum time between two reports of a failing destination, in milliseconds. */
const REPORT_AFTER_MS = 600_000;
const MAX_TEXT = 2_000;
const MAX_OUTPUT = 200;

export class Alerts {
  private destinations: Destination[] = [];
  private unsubscribe = () => {};
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: AlertsOptions) {}

  /** Applies the configuration in service. Alerts that wait for an unchanged destination stay queued. */
  follow(): void {
    const { alerts = [] } = this.options.config();
    const former = this.destinations;
    this.destinations = alerts.map((config) => {
      const same = former.find((each) => JSON.stringify(each.config) === JSON.stringify(config));
      return same ?? new Destination(config, this.options, (host) => this.isShared(host));
    });
    for (const [index, each] of this.destinations.entries()) each.index = index;
    for (const each of former) if (!this.destinations.includes(each)) each.close();
    this.unsubscribe();
    clearInterval(this.timer);
    if (this.destinations.length === 0) return;
    this.unsubscribe = this.options.log.onEvent((event) => this.heard(event));
    this.timer = setInterval(() => {
      for (const each of this.destinations) each.look();
    }, LOOK_EVERY_MS);
    this.timer.unref();
  }

  private heard({ kind, level, subject, message, at }: FleetEvent): void {
    if (kind === undefined) return;
    // A message can contain text of an app, and the receiver may be a terminal.
    const shown = visible(message.slice(0, MAX_TEXT)).slice(0, MAX_TEXT);
    for (const each of this.destinations) each.offer({ kind, level, subject, message: shown, at });
  }

  private isShared(host: string): boolean {
    return this.destinations.filter((each) => each.host === host).length > 1;
  }

  status(): AlertStatus[] {
    return this.destinations.map((each) => each.status());
  }

  /** Sends a test to each destination, without retries. */
  async test(onProgress: ProgressListener): Promise<OperationResult> {
    if (this.destinations.length === 0)
      return { ok: false, code: "failed", message: "the configuration has no alerts; see docs/alerts.md" };
    let failures = 0;
    for (const each of this.destinations) {
      const startedAt = performance.now();
      const problem = await each.test();
      if (problem !== undefined) failures++;
      const took = seconds(performance.now() - startedAt);
      onProgress(
        `${each.name}: ${problem === undefined ? `delivered after ${took}` : `failed after ${took}: ${problem}`}`,
      );
    }
    const all = this.destinations.length;
    if (failures === 0)
      return { ok: true, message: all === 1 ? "the test alert was delivered" : `${all} test alerts were delivered` };
    return { ok: false, code: "failed", message: `${failures} of ${all} test alerts were not delivered` };
  }

  /** Aborts deliveries; waiting alerts are lost. */
  close(): void {
    this.unsubscribe();
    clearInterval(this.timer);
    for (const each of this.destinations) each.close();
  }
}

class Destination {
  /** The host of the webhook, or the program. */
  host: string;
  /** Its position in the configuration. */
  index = 0;
  private readonly desk = new AlertDesk();
  private readonly waiting: Alert[] = [];
  private readonly ending = new AbortController();
  private isBusy = false;
  private delivered = 0;
  private failed = 0;
  private lost = 0;
  private last: AlertStatus["last"] = null;
  private reportedAt = Number.NEGATIVE_INFINITY;

  constructor(
    readonly config: AlertConfig,
    private readonly options: AlertsOptions,
    private readonly isShared: (host: string) => boolean,
  ) {
    this.host = nameOf(config);
  }

  /** Several webhooks with one host, or commands with one program, are distinguished by their position. */
  get name(): string {
    return this.isShared(this.host) ? `${this.host} (alerts[${this.index}])` : this.host;
  }

  offer(alert: Omit<Alert, "count">): void {
    const due = this.desk.take(alert, this.config, Date.now(), minuteOfDay(this.config));
    if (due !== undefined) this.push(due);
  }

  /** Delivers held alerts if the quiet hours are over. */
  look(): void {
    const due = this.desk.release(this.config, Date.now(), minuteOfDay(this.config));
    if (due !== undefined) this.push(due);
  }

  status(): AlertStatus {
    const { desk, waiting, delivered, failed, last } = this;
    return {
      ...{ to: this.name, on: [...this.config.on], delivered, failed, last },
      ...{ suppressed: desk.suppressedTotal + this.lost, waiting: waiting.length, held: desk.heldCount },
    };
  }

  /** Returns the reason if it failed. */
  async test(): Promise<string | undefined> {
    const message = "this is a test; nothing has happened";
    const alert: Alert = { kind: "test", level: "info", subject: "paceline", message, at: Date.now(), count: 1 };
    const { problem } = await this.attempt(alert);
    this.note(alert, problem);
    return problem;
  }

  close(): void {
    this.ending.abort();
    this.waiting.length = 0;
  }

  private push(alert: Alert): void {
    if (this.waiting.length >= MAX_WAITING) this.lost++;
    else this.waiting.push(alert);
    void this.deliverAll();
  }

  private async deliverAll(): Promise<void> {
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      for (let alert = this.waiting[0]; alert !== undefined && !this.ending.signal.aborted; alert = this.waiting[0]) {
        await this.deliver(alert);
        // Removed only after the delivery, so that it counts as waiting until then.
        this.waiting.shift();
      }
    } finally {
      this.isBusy = false;
    }
  }

  private async deliver(alert: Alert): Promise<void> {
    const { retries } = this.config;
    for (let attempt = 1; ; attempt++) {
      const { problem, mayRetry } = await this.attempt(alert);
      if (this.ending.signal.aborted) return;
      if (problem === undefined || !mayRetry || attempt > retries) return this.note(alert, problem);
      await this.pause((this.options.retryDelayMs ?? retryDelayMs)(attempt));
      if (this.ending.signal.aborted) return;
    }
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.ending.signal.addEventListener(
        "abort",
        () => {
          clearTimeout(timer);
          resolve();
        },
        { once: true },
      );
    });
  }

  private note({ kind }: Alert, problem: string | undefined): void {
    this.last = { at: Date.now(), kind, problem: problem ?? null };
    if (problem === undefined) {
      this.delivered++;
      this.reportedAt = Number.NEGATIVE_INFINITY;
      return;
    }
    this.failed++;
    const now = performance.now();
    if (kind === "test" || now - this.reportedAt < REPORT_AFTER_MS) return;
    this.reportedAt = now;
    this.options.log.event("warn", "paceline", `an alert (${kind}) could not be delivered to ${this.name}: ${problem}`);
  }

  private attempt(alert: Alert): Promise<{ problem?: string | undefined; mayRetry: boolean }> {
    return "command" in this.config ? this.run(this.config.command, alert) : this.post(this.config, alert);
  }

  private async post(config: Extract<AlertConfig, { webhook: unknown }>, alert: Alert) {
    const read = readTexts({ ...config.headers, webhook: config.webhook });
    if ("problem" in read) return { problem: read.problem, mayRetry: true };
    const { webhook: url = "", ...headers } = read.texts;
    this.host = hostOf(url) ?? this.host;
    const body = JSON.stringify(bodyOf(this.options.config().name, alert));
    return postJson({ url, headers, body, timeoutMs: config.timeoutMs, signal: this.ending.signal });
  }

  private async run(command: readonly string[], alert: Alert) {
    const { config, environment, runDir } = this.options;
    const { name, pools } = config();
    const [pool] = pools;
    if (pool === undefined) return { problem: "the fleet has no pools", mayRetry: false };
    let lastLine = "";
    const child = runHookProcess({
      command,
      cwd: pool.cwd,
      environment: hookEnvironment(pool, environment(), { ...variablesOf(name, alert), PACELINE_RUN_DIR: runDir }),
      timeoutMs: this.config.timeoutMs,
      onLine: (line) => {
        lastLine = line.slice(0, MAX_OUTPUT);
      },
    });
    const end = () => child.kill("it was ended");
    this.ending.signal.addEventListener("abort", end, { once: true });
    const problem = await child.ended;
    this.ending.signal.removeEventListener("abort", end);
    return {
      problem: problem === undefined ? undefined : `${problem}${lastLine === "" ? "" : `: ${lastLine}`}`,
      mayRetry: true,
    };
  }
}

/** `text` is shown by Slack, Mattermost and Teams, `content` by Discord. */
function bodyOf(fleet: string, alert: Alert): object {
  const text = alertText(fleet, alert);
  return { text, content: text.slice(0, MAX_TEXT), fleet, host: hostname(), ...alert };
}

function variablesOf(fleet: string, alert: Alert): Record<string, string> {
  return {
    PACELINE_ALERT: alert.kind,
    PACELINE_ALERT_LEVEL: alert.level,
    PACELINE_ALERT_SUBJECT: alert.subject,
    PACELINE_ALERT_MESSAGE: alert.message,
    PACELINE_ALERT_TEXT: alertText(fleet, alert),
    PACELINE_ALERT_COUNT: String(alert.count),
    PACELINE_ALERT_AT: new Date(alert.at).toISOString(),
    PACELINE_FLEET: fleet,
  };
}

/** The path of a webhook is often its only secret. */
function nameOf(config: AlertConfig): string {
  if ("command" in config) return basename(config.command[0] ?? "");
  const { webhook } = config;
  if (typeof webhook === "string") return hostOf(webhook) ?? "webhook";
  return "file" in webhook ? `the webhook of ${webhook.file}` : `the webhook of the credential ${webhook.credential}`;
}

function hostOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).host : undefined;
}

function minuteOfDay({ quiet }: AlertConfig): number {
  const now = new Date();
  if (quiet?.timezone == null) return 60 * now.getHours() + now.getMinutes();
  const clock = new Intl.DateTimeFormat("en-GB", {
    timeZone: quiet.timezone,
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
  });
  const [hours = 0, minutes = 0] = clock.format(now).split(":").map(Number);
  return 60 * hours + minutes;
}
