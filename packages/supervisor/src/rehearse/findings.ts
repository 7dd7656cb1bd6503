/**
 * Decides from the evidence of a rehearsal which promises do not hold. A table of rules: each finds one fault, with its proof and what to
 * do. Pure.
 */
import { causes, unseenCutOnTerm } from "./causes.js";
import type { Evidence, Finding, LostAsk, PhaseEvidence } from "./evidence.js";
import { phaseOf } from "./phases.js";

/** Finds one kind of fault. */
type Rule = (evidence: Evidence) => Finding[];

/** This many errors or repeats are not a coincidence. Fewer may be, because on a busy machine an instance may also get no CPU time. */
const LEAST_ERRORS = 3;

/** Rules for what remains when the causes are known. Each rule gets only phases that no cause explains. */
const RULES: Readonly<
  Record<string, (phase: PhaseEvidence, steady: PhaseEvidence | undefined, evidence: Evidence) => Finding[]>
> = {
  failed: (phase) =>
    phase.failure === null
      ? []
      : [
          {
            kind: "failed",
            what: `${phase.name}: ${phase.failure.message}`,
            evidence: phase.failure.lastLines.slice(-5),
            todo: "Read the lines above; paceline check loads the apps alone.",
          },
        ],
  lost: (phase, _steady, evidence) => {
    if (phase.lost === 0 || isForgiven(phase, evidence)) return [];
    const { promise } = phaseOf(phase.name);
    if (phase.losses.every(hasQueued)) return [overload(phase)];
    return [
      {
        kind: "lost",
        what: `${phase.name}: ${phase.lost} of ${phase.sent} requests were lost, but ${promise}`,
        evidence: [describeLosses(phase)],
        todo:
          phase.name === "steady"
            ? "See paceline logs of the app: it resets connections, or takes too long to respond."
            : "Run it again with --only steady first. If nothing is lost there, the app ends responses when it is asked to leave.",
      },
    ];
  },
  errors: (phase, steady) => {
    if (steady === undefined || phase.name === "steady") return [];
    return Object.entries(phase.errors).flatMap(([request, count]) => {
      if (count < LEAST_ERRORS || steady.errors[request] !== undefined) return [];
      return [
        {
          kind: "errors",
          what: `${phase.name}: ${request} returned 5xx ${count} times, and never while nothing happened`,
          evidence: [],
          todo: "Keep what requests need, such as a database connection, open until the last response is sent: close it in stop().",
        },
      ];
    });
  },
  repeated: (phase) =>
    phase.repeated < LEAST_ERRORS || phaseOf(phase.name).maySendAgain
      ? []
      : [
          {
            kind: "repeated",
            what: `${phase.name}: ${phase.repeated} requests had to be sent to a further instance although nothing happened`,
            evidence: [],
            todo: "The app closes connections before it has responded. A POST in their place would get 502.",
          },
        ],
};

/** Returns the promises that do not hold; findings with a known cause come first. */
export function findingsOf(evidence: Evidence): Finding[] {
  const found = Object.values(causes).flatMap((rule: Rule) => rule(evidence));
  const explained = new Set(found.flatMap(({ explains = [] }) => explains));
  const steady = evidence.phases.find(({ name }) => name === "steady");
  for (const phase of evidence.phases) {
    if (!explained.has(phase.name))
      for (const rule of Object.values(RULES)) found.push(...rule(phase, steady, evidence));
  }
  return found;
}

/** Balancers respond with 503 to a request if no instance became free in time. */
function hasQueued({ how, ms }: LostAsk): boolean {
  return how === "503" && ms >= LEAST_QUEUED_MS;
}

/** A 503 that comes sooner was sent at once, because the pool has no instance at all. */
const LEAST_QUEUED_MS = 1_000;

function overload(phase: PhaseEvidence): Finding {
  return {
    kind: "overload",
    what: `${phase.name}: ${phase.lost} of ${phase.sent} requests waited in the request queue and got 503, since the other instances could not handle the load`,
    evidence: [describeLosses(phase)],
    todo: "Run more instances, or a lower --rate if real clients send less.",
  };
}

/** Returns facts that are worth knowing, but break no promise. */
export function notesOf(evidence: Evidence): string[] {
  const { phases } = evidence;
  const steady = phases.find(({ name }) => name === "steady");
  const slow = phases.flatMap((phase) => {
    if (steady?.p99 == null || phase.p99 === null || phaseOf(phase.name).mayBeSlow) return [];
    if (phase.p99 < SLOW_MS || phase.p99 < SLOW_TIMES * steady.p99) return [];
    return [`${phase.name}: requests were slow: p99 ${phase.p99} ms, ${steady.p99} ms while nothing happened`];
  });
  return [...slow, ...unseenCutOnTerm(evidence)];
}

/** Shorter times may be the noise of a busy machine. */
const SLOW_MS = 1_000;
const SLOW_TIMES = 10;

/** Whether the promise of a phase holds, for its row in the table. */
export function holds(phase: PhaseEvidence, findings: readonly Finding[]): boolean {
  return !findings.some(
    ({ what, explains = [] }) => explains.includes(phase.name) || what.startsWith(`${phase.name}: `),
  );
}

/** If the pool has one instance, a request cannot be repeated elsewhere after a kill. It waits for the next process, for a limited time. */
function isForgiven({ name }: PhaseEvidence, { pools }: Evidence): boolean {
  return (name === "kill" || name === "term") && pools.some(({ instances }) => instances < 2);
}

/** Returns a text such as `3 GET / (reset), 1 GET /cart (502)`. */
function describeLosses({ losses }: PhaseEvidence): string {
  const counts = new Map<string, number>();
  for (const { request, how } of losses) {
    const text = `${request} (${how})`;
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...counts].map(([text, count]) => `${count} ${text}`).join(", ");
}
