/**
 * Explains what happened to one request: by its line in the access log, the deaths that lost it, and the app's log lines about it. Pure.
 */
import type { LostRequest } from "@paceline/wire";
import type { DeathReport } from "./deaths.js";
import { agoText, type Explanation, type Facts, type Finding, firstLine, msText } from "./explain-model.js";

/** The fields of a JSON line of the access log that are used here; see docs/access-log.md. */
interface AccessLine {
  time?: string;
  method?: string;
  target?: string;
  status?: number;
  durationMs?: number;
  firstByteMs?: number;
  queueMs?: number;
  connectMs?: number;
  handlerMs?: number;
  laneMs?: number;
  retries?: number;
  pool?: string;
  instance?: string;
  outcome?: string;
  phase?: string;
  requestId?: string;
  traceId?: string;
}

const MAX_LINES = 8;
/** A part of the time is reported only if it is at least this long, in milliseconds, and most of the total. */
const LEAST_MS = 20;

/** The parts of a request's time, in order. */
const PARTS: readonly { key: "queueMs" | "connectMs" | "laneMs" | "handlerMs"; name: string; todo: string }[] = [
  {
    key: "queueMs",
    name: "waited for a free instance",
    todo: "All instances were busy: run more, or see which requests keep them busy",
  },
  {
    key: "connectMs",
    name: "waited for a connection to the instance",
    todo: "The instance accepted no connection: it was busy or blocked",
  },
  {
    key: "laneMs",
    name: "waited in the instance until its handler was called",
    todo: "Its event loop was busy, for example with another request: paceline dump INSTANCE --cpu 10",
  },
  {
    key: "handlerMs",
    name: "was in the app's handler",
    todo: "The app took that long itself: look at what this path does",
  },
];

const OUTCOMES: Readonly<Record<string, string>> = {
  "client-left": "the client disconnected before the response was complete",
  "client-late": "the client was too slow",
  "instance-lost": "the instance ended, or closed the connection, before it had responded",
  "instance-late": "the instance did not respond in time",
  "no-room": "the balancer had no room for it, in memory or in the spool",
  refused: "the balancer refused it",
};

/** What to do if the balancer had no room for requests. */
export const NO_ROOM_TODO =
  "balancer.limits: maxUnreadBytes is for responses that clients do not read, maxBufferedBytes and maxSpoolBytes are for what they send. maxConnectionsPerAddress bounds what one client takes";

export function explainRequest(id: string, { lines, deaths, now }: Facts): Explanation {
  const parsed = lines.map((line) => ({ line, access: accessLineOf(line.text, id) }));
  const access = parsed.flatMap((each) => (each.access === undefined ? [] : [each.access])).at(-1);
  const lost = deaths.flatMap((death) =>
    death.requests.filter((request) => request.id === id).map((request) => ({ death, request })),
  );
  const said = parsed.filter((each) => each.access === undefined).map(({ line }) => line);
  const findings = [
    ...lost.map(({ death, request }) => lostFinding(death, request, now)),
    ...(access === undefined ? [] : accessFindings(access)),
  ];
  const [first] = lost;
  return {
    target: id,
    kind: "request",
    summary: access === undefined ? summaryWithout(first?.request) : summaryOf(access),
    findings,
    now: access === undefined ? [] : partsOf(access),
    changes: said.slice(-MAX_LINES).map(({ at, name, text }) => ({ at, subject: name, text: firstLine(text) })),
  };
}

function summaryWithout(request: LostRequest | undefined): string {
  return request === undefined
    ? "The log names this request, but the access log has no line of it: it may still run, or the access log is not JSON."
    : `${request.request} was in flight when its process died.`;
}

function summaryOf({ method, target, status, durationMs, instance, outcome, phase }: AccessLine): string {
  const end =
    outcome === "whole" || outcome === undefined
      ? ""
      : `: ${OUTCOMES[outcome] ?? outcome}${phase === undefined ? "" : ` (${phase})`}`;
  return `${method} ${target} got ${status} after ${msText(durationMs ?? 0)}${instance === undefined ? "" : ` from ${instance}`}${end}.`;
}

function partsOf(access: AccessLine): string[] {
  const parts = PARTS.flatMap(({ key, name }) => (access[key] === undefined ? [] : [`${msText(access[key])} ${name}`]));
  const { firstByteMs, durationMs } = access;
  if (firstByteMs !== undefined && durationMs !== undefined)
    parts.push(`${msText(Math.max(0, durationMs - firstByteMs))} until the client had all of it`);
  if (access.retries) parts.push(`it was sent to ${access.retries} further instances`);
  if (access.traceId !== undefined) parts.push(`trace ${access.traceId}`);
  return parts;
}

function accessFindings(access: AccessLine): Finding[] {
  const { durationMs = 0, firstByteMs, outcome, status = 0, instance, pool, method, target } = access;
  const about = instance ?? pool ?? "balancer";
  const findings: Finding[] = [];
  if (outcome !== undefined && outcome !== "whole")
    findings.push({
      ...{ kind: outcome, severity: outcome.startsWith("client") ? "note" : "fault", about },
      what: `${method} ${target} failed: ${OUTCOMES[outcome] ?? outcome}`,
      ...{
        evidence: [],
        todo:
          outcome === "instance-lost"
            ? "paceline deaths"
            : outcome === "no-room"
              ? NO_ROOM_TODO
              : instance === undefined
                ? ""
                : `paceline explain ${instance}`,
      },
    });
  else if (status >= 500)
    findings.push({
      ...{ kind: "error", severity: "fault", about, what: `the app responded with ${status}`, evidence: [] },
      todo: `What it wrote: paceline logs ${about}`,
    });
  for (const { key, name, todo } of PARTS) {
    const ms = access[key] ?? 0;
    if (ms < LEAST_MS || ms * 2 < (firstByteMs ?? durationMs)) continue;
    findings.push({
      ...{ kind: key, severity: "warning", about, what: `most of the time it ${name}: ${msText(ms)}`, evidence: [] },
      todo: todo.replace("INSTANCE", about),
    });
  }
  const delivery = firstByteMs === undefined ? 0 : durationMs - firstByteMs;
  if (delivery >= LEAST_MS && delivery * 2 > durationMs)
    findings.push({
      ...{
        kind: "delivery",
        severity: "note",
        about,
        what: `most of the time the response was on its way: ${msText(delivery)}`,
        evidence: [],
      },
      todo: "The body is large or comes slowly, or the client reads slowly",
    });
  return findings;
}

function lostFinding(death: DeathReport, { request, ageMs, state, outcome }: LostRequest, now: number): Finding {
  const words = {
    running: "was running it",
    started: "had started it",
    unknown: "had it",
    notStarted: "had not started it",
  };
  return {
    ...{ kind: "lost", severity: "fault", about: death.name },
    what: `${death.process} ${words[state]} when it died ${agoText(death.at, now)}: ${firstLine(death.reason)}`,
    evidence: [
      `${request}, ${msText(ageMs)} old; ${outcome === "reassigned" ? "another instance got it" : `the client got: ${outcome}`}`,
    ],
    todo: `paceline deaths show ${death.id}`,
  };
}

/** Returns the fields of a JSON line of the access log, if it is about this request. */
function accessLineOf(text: string, id: string): AccessLine | undefined {
  if (!text.startsWith("{")) return undefined;
  try {
    const line = JSON.parse(text) as AccessLine;
    const isOurs = line.requestId === id || line.traceId === id;
    return isOurs && typeof line.durationMs === "number" && typeof line.method === "string" ? line : undefined;
  } catch {
    return undefined; // Another line of an app that looks like JSON.
  }
}
