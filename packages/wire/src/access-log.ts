/** The rules of the access log, and the fields that a line may have. Pure. */

/** In the order of a JSON line; docs/access-log.md describes each. */
export const ACCESS_FIELDS = [
  "time",
  "clientAddress",
  "protocol",
  "httpVersion",
  "host",
  "method",
  "target",
  "status",
  "requestBytes",
  "bytes",
  "durationMs",
  "firstByteMs",
  "queueMs",
  "connectMs",
  "handlerMs",
  "laneMs",
  "retries",
  "hedge",
  "pool",
  "instance",
  "outcome",
  "phase",
  "requestId",
  "traceId",
  "referer",
  "userAgent",
] as const;

/** Fields for templates only: parts of the combined format. */
export const TEMPLATE_FIELDS = ["clock", "request", "seconds"] as const;

export type AccessField = (typeof ACCESS_FIELDS)[number] | (typeof TEMPLATE_FIELDS)[number];

/** The combined format of Apache and nginx, then seconds and the instance. */
export const COMBINED =
  '{clientAddress} - - [{clock}] "{request}" {status} {bytes} "{referer}" "{userAgent}" {seconds} {instance}';

export interface AccessLogRule {
  /** `json`, or a template. */
  format: string;
  /** The absolute path of the file. If absent, lines go to the balancer's output. */
  file?: string;
  /** The share of requests that are logged. Failed requests are always logged. */
  sample: number;
  /** The routes whose requests are not logged unless they fail. Default: none. */
  except?: string[];
}

/** The maximum number of fields in a template, which limits the length of a line. */
const MAX_TEMPLATE_FIELDS = 40;
const MAX_TEMPLATE_LENGTH = 1000;

export type TemplatePart = { text: string } | { field: AccessField };

/** Splits a template such as `{method} {target}` into its parts. Returns a text if it is invalid. */
export function parseTemplate(template: string): TemplatePart[] | string {
  if (template.length > MAX_TEMPLATE_LENGTH) return `must have at most ${MAX_TEMPLATE_LENGTH} characters`;
  if (!/^[ -~\t]*$/.test(template)) return "must be printable ASCII";
  const parts: TemplatePart[] = [];
  let fields = 0;
  for (const [part] of template.matchAll(/\{[^{}]*\}|[^{}]+|[{}]/g)) {
    if (part === "{" || part === "}") return `has a ${part} that belongs to no field`;
    if (!part.startsWith("{")) {
      parts.push({ text: part });
      continue;
    }
    const field = part.slice(1, -1);
    if (!isAccessField(field)) return `has no field named ${JSON.stringify(field)}: ${ALL_FIELDS.join(", ")}`;
    parts.push({ field });
    fields++;
  }
  if (fields === 0) return 'must be "combined", "json", or a template with fields such as "{method} {target} {status}"';
  return fields > MAX_TEMPLATE_FIELDS ? `must have at most ${MAX_TEMPLATE_FIELDS} fields` : parts;
}

const ALL_FIELDS: readonly string[] = [...ACCESS_FIELDS, ...TEMPLATE_FIELDS];

function isAccessField(name: string): name is AccessField {
  return ALL_FIELDS.includes(name);
}

/** Which side ended a request, in the log's words. */
export const OUTCOMES = [
  "whole",
  "client-left",
  "client-late",
  "instance-lost",
  "instance-late",
  "no-room",
  "refused",
] as const;

/** The phases in which a request can end, in the order of a request's life. */
export const PHASES = ["head", "body", "queue", "connect", "wait", "response", "delivery", "tunnel"] as const;

/** For a request that was sent to two instances: whether the second one served it. */
export type HedgeResult = "won" | "lost";

export type AccessOutcome = (typeof OUTCOMES)[number];
export type AccessPhase = (typeof PHASES)[number];
