/** The keys for receivers outside the fleet: `alerts` with their destinations, and `otlp`. */
import { ALERT_NAMES, type AlertKind, type QuietHours } from "../core/alerts.js";
import type { AlertConfig, OtlpConfig } from "../core/model.js";
import {
  commandWords,
  count,
  fraction,
  milliseconds,
  secretText,
  table,
  tables,
  text,
  textLike,
  textTable,
  variables,
  words,
} from "./fields.js";
import { findProgram } from "./paths.js";
import { type EnvValue, resolveSecretText, type SecretContext } from "./secrets.js";

const TIMEOUT_MS = 10_000;
const REPEAT_AFTER_MS = 600_000;
const MAX_PER_HOUR = 30;
const RETRIES = 3;
const MAX_ALERTS = 16;

const clockTime = (description: string) =>
  textLike(/^([01]\d|2[0-3]):[0-5]\d$/, { type: "text", rule: 'must be a time such as "22:00"' }, description);

export const alertFields = {
  on: words(ALERT_NAMES, "The events that are sent. See [alerts.md](alerts.md#events)."),
  webhook: secretText(
    'The URL that gets a POST with JSON, such as that of an incoming webhook of Slack, Mattermost or Discord; or `{ file: "/run/secrets/url" }`, `{ credential: "url" }`.',
  ),
  headers: variables(
    "Further header fields of the webhook, such as `Authorization`; a value may be `{ file: … }` or `{ credential: … }`.",
  ),
  command: commandWords(
    "In place of `webhook`: a program and its arguments. The program gets the alert in its environment; see [alerts.md](alerts.md#a-command).",
  ),
  repeatAfterMs: milliseconds(
    REPEAT_AFTER_MS,
    "The same event of the same instance or pool is sent once within this time; the next alert has the number of repeats.",
    { min: 0 },
  ),
  maxPerHour: count(MAX_PER_HOUR, "The maximum number of alerts per hour; further ones are dropped and counted.", {
    max: 1_000,
  }),
  timeoutMs: milliseconds(TIMEOUT_MS, "How long one attempt may take.", { max: 300_000 }),
  retries: count(RETRIES, "The number of retries of a failed delivery: after 1, 5 and 25 s, then every 60 s.", {
    min: 0,
    max: 10,
  }),
  quiet: table(
    {
      from: clockTime("When the quiet hours begin, such as `22:00`."),
      to: clockTime("When the quiet hours end."),
      timezone: text("The time zone, such as `Europe/Berlin`. Default: the supervisor's."),
      except: words(ALERT_NAMES, "The events that are sent also in quiet hours.", ["pool-down"]),
    },
    "Hours in which alerts are held; when they end, one alert sums them up.",
  ),
};

export const alertsField = tables(
  alertFields,
  "Notify a webhook or a command of what happens to the fleet. `paceline alerts --test` sends a test. See [alerts.md](alerts.md).",
);

interface AlertInput {
  on?: AlertKind[] | undefined;
  webhook?: EnvValue | undefined;
  headers?: Record<string, EnvValue> | undefined;
  command?: string[] | undefined;
  repeatAfterMs?: number | undefined;
  maxPerHour?: number | undefined;
  timeoutMs?: number | undefined;
  retries?: number | undefined;
  quiet?:
    | {
        from?: string | undefined;
        to?: string | undefined;
        timezone?: string | undefined;
        except?: AlertKind[] | undefined;
      }
    | undefined;
}

/** @param context whose `report` gets paths below `alerts` */
export function resolveAlerts(
  given: readonly AlertInput[] | undefined,
  searchPath: string,
  context: SecretContext,
): AlertConfig[] {
  if (given !== undefined && given.length > MAX_ALERTS) context.report([], `can have at most ${MAX_ALERTS} entries`);
  return (given ?? []).slice(0, MAX_ALERTS).flatMap((alert, at): AlertConfig[] => {
    const report = (path: string[], message: string) => context.report([at, ...path], message);
    const common = {
      on: alert.on ?? ALERT_NAMES,
      repeatAfterMs: alert.repeatAfterMs ?? REPEAT_AFTER_MS,
      maxPerHour: alert.maxPerHour ?? MAX_PER_HOUR,
      timeoutMs: alert.timeoutMs ?? TIMEOUT_MS,
      retries: alert.retries ?? RETRIES,
      quiet: resolveQuiet(alert.quiet, (path, message) => report(["quiet", ...path], message)),
    };
    const { webhook, command, headers = {} } = alert;
    if ((webhook === undefined) === (command === undefined)) {
      report([], "must have either `webhook` or `command`");
      return [];
    }
    if (command !== undefined) {
      if (alert.headers !== undefined) report(["headers"], "is only valid beside `webhook`");
      const [program = "", ...args] = command;
      const found = findProgram(program, context.baseDir, searchPath);
      if (typeof found !== "string") report(["command"], found.problem);
      return typeof found === "string" ? [{ ...common, command: [found, ...args] }] : [];
    }
    const url = resolveSecretText(webhook as EnvValue, [at, "webhook"], context);
    const problem = typeof url === "string" ? urlProblem(url) : undefined;
    if (problem !== undefined) report(["webhook"], problem);
    return [{ ...common, webhook: url, headers: resolveHeaders(headers, [at, "headers"], context) }];
  });
}

const FIELD_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const OWN_FIELDS = new Set(["content-length", "content-type", "transfer-encoding", "connection", "host"]);

function resolveHeaders(
  given: Readonly<Record<string, EnvValue>>,
  path: (string | number)[],
  context: SecretContext,
): AlertHeaders {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => {
      if (!FIELD_NAME.test(name) || OWN_FIELDS.has(name.toLowerCase()))
        context.report([...path, name], "is not the name of a header field that can be set");
      return [name, resolveSecretText(value, [...path, name], context)];
    }),
  );
}

type AlertHeaders = Extract<AlertConfig, { webhook: unknown }>["headers"];

/** Returns why a text is not a URL to which JSON can be sent. */
export function urlProblem(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "https:" && url.protocol !== "http:"))
    return "must be an http or https URL";
  return url.username === "" && url.password === "" ? undefined : "must not contain a password: use `headers`";
}

function resolveQuiet(
  given: AlertInput["quiet"],
  report: (path: string[], message: string) => void,
): QuietHours | null {
  if (given === undefined) return null;
  const { from, to, timezone, except = ["pool-down"] } = given;
  if (from === undefined || to === undefined) {
    report([], "must have `from` and `to`");
    return null;
  }
  if (timezone !== undefined && !isTimezone(timezone))
    report(["timezone"], `is not a time zone: ${JSON.stringify(timezone)}`);
  return { from: minutesOf(from), to: minutesOf(to), timezone: timezone ?? null, except };
}

function minutesOf(clock: string): number {
  const [hours = 0, minutes = 0] = clock.split(":").map(Number);
  return 60 * hours + minutes;
}

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** The defaults of the key `otlp`, the destination of metrics and spans. */
const OTLP_DEFAULTS = { sampleRatio: 0.01, metricsEveryMs: 60_000, timeoutMs: 10_000 };

export const otlpFields = {
  endpoint: text(
    'The URL of an OpenTelemetry collector that accepts OTLP in JSON over HTTP, such as `"http://127.0.0.1:4318"`. `/v1/traces` and `/v1/metrics` are appended.',
  ),
  headers: variables(
    "Further header fields, such as an `Authorization`; a value may be `{ file: … }` or `{ credential: … }`.",
  ),
  sampleRatio: fraction(
    OTLP_DEFAULTS.sampleRatio,
    "The share of requests whose spans are sent; `0`: none. A kept traceparent decides for its request. If `balancer.trace` is on, its `sampled` applies instead.",
    { min: 0, max: 1 },
  ),
  metricsEveryMs: milliseconds(OTLP_DEFAULTS.metricsEveryMs, "How often the metrics are sent. `0`: never.", { min: 0 }),
  timeoutMs: milliseconds(OTLP_DEFAULTS.timeoutMs, "How long one attempt may take.", { max: 300_000 }),
  attributes: textTable(
    "Further attributes of the resource, such as `deployment.environment.name`. `service.name` is the name of the fleet unless it is set here.",
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
    sampleRatio = OTLP_DEFAULTS.sampleRatio,
    metricsEveryMs = OTLP_DEFAULTS.metricsEveryMs,
    timeoutMs = OTLP_DEFAULTS.timeoutMs,
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
