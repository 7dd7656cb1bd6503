/**
 * The faults of an app that a rehearsal can recognize. For each fault, one rule leads from the evidence to what is wrong, how it was
 * detected, and what to do. Pure.
 */
import { addReading, forecast, type MemoryTrend, NO_TREND } from "../core/forecast.js";
import type { DeathFacts, Evidence, Finding, LoggedLine, MemoryFacts, RepeatFacts } from "./evidence.js";
import { countsAlone, differsWithCookie, isKnownToSome } from "./repeats.js";

const MAX_EVIDENCE = 5;

export const causes = {
  crashes: (evidence: Evidence): Finding[] =>
    byPool(evidence.deaths.filter(isCrashOnStop), linesOf(evidence, LISTENER_FAILED)).map(
      ({ pool, deaths, lines }) => ({
        kind: "crashes",
        what: `${pool} crashes when it is asked to stop`,
        evidence: some([...deaths.flatMap(describeDeath), ...lines.map(describeLine)]),
        todo: "Find the error in what the app does on SIGTERM, or in its stop(), and catch it there. Until then requests that it was running are cut off.",
        explains: [...new Set([...deaths, ...lines].map(({ phase }) => phase))],
      }),
    ),

  "exits-at-once": (evidence: Evidence): Finding[] =>
    byPool(
      evidence.deaths.filter((death) => isCutOnTerm(death) && !isUnseen(death, evidence)),
      [],
    ).map(({ pool, deaths }) => ({
      kind: "exits-at-once",
      what: `${pool} does not drain: it exits on SIGTERM without finishing its requests`,
      evidence: some(deaths.flatMap(describeDeath)),
      todo: "Remove process.exit() from the SIGTERM handler: Paceline drains the instance, then ends it. A program of your own stops listening, finishes its requests, then exits.",
      explains: ["term"],
    })),

  stays: (evidence: Evidence): Finding[] => {
    const slow = evidence.deaths.filter(({ kind }) => kind === "slow");
    const pools = byPool(slow, linesOf(evidence, NOT_ENDED), evidence.stayed);
    return pools.map(({ pool, deaths, lines: said, others }) => ({
      kind: "stays",
      what: `${pool} does not drain: it does not stop when asked, and has to be killed`,
      evidence: some([
        ...deaths.flatMap(describeDeath),
        ...said.map(describeLine),
        ...others.map(({ process, afterMs }) => `${process} still ran ${Math.round(afterMs / 1000)} s after SIGTERM`),
      ]),
      todo: "End the process on SIGTERM (or set stopSignal to the signal that it ends on), and let stop() and its timers end. Until then each reload waits for the deadline.",
      explains: [
        ...new Set([...deaths, ...said].map(({ phase }) => phase)),
        ...(others.length > 0 ? ["term" as const] : []),
      ],
    }));
  },

  "idle-connections": ({ idle }: Evidence): Finding[] =>
    inPools(idle.filter(isClosedEarly)).map(([pool, facts]) => ({
      kind: "idle-connections",
      what: `${pool} closes idle connections without notice, which loses the request that is on its way`,
      evidence: some(
        facts.map(
          ({ instance, closedAfterMs }) =>
            `${instance} closed a kept connection after ${Math.round(closedAfterMs ?? 0)} ms`,
        ),
      ),
      todo: `Keep idle connections open for longer than the proxy in front does (with node:http server.keepAliveTimeout = 75_000), or say "Connection: close" in the last response.`,
      explains: ["steady"],
    })),

  state: ({ repeats }: Evidence): Finding[] =>
    repeats.flatMap((facts) => {
      const proofs = [...describeSessions(facts), ...describeCount(facts), ...describeWithCookies(facts)];
      if (proofs.length === 0) return [];
      return [
        {
          kind: "state",
          what: `${facts.pool} keeps state in the memory of each instance: ${facts.request} depends on which of them responds`,
          evidence: proofs,
          todo: "Keep sessions and counts where all instances find them, such as a database, or set sticky for this pool; a restart loses them even then.",
          explains: ["state"],
        },
      ];
    }),

  leaks: ({ memory }: Evidence): Finding[] =>
    inPools(memory).flatMap(([pool, facts]) => {
      const measured = facts.filter(({ samples }) => samples.length >= LEAST_SAMPLES);
      const growths = measured.flatMap((each) => growthOf(each) ?? []);
      // All instances run the same code, so at least a third of them must grow.
      if (growths.length === 0 || growths.length * 3 < measured.length * 2) return [];
      return [
        {
          kind: "leaks",
          what: `${pool} leaks memory: it grows with every request and does not level off`,
          evidence: some(growths.map(({ text }) => text)),
          todo: "Compare two snapshots of the heap (paceline dump POOL.1 --heap) and bound what grows between them. As a stopgap set maxMemoryMb, which replaces instances in time.",
        },
      ];
    }),

  blocks: ({ slow }: Evidence): Finding[] =>
    slow.flatMap(({ pool, request, times }) => {
      const blocked = times.filter(({ durationMs, lagMs, behindMs }) => {
        return durationMs >= BLOCKED_MS && Math.max(lagMs, behindMs) >= BLOCKED_SHARE * durationMs;
      });
      // A single delay may be caused by the machine.
      if (times.length < 2 || blocked.length < times.length) return [];
      return [
        {
          kind: "blocks",
          what: `${pool} blocks: while it runs ${request}, the instance does nothing else`,
          evidence: some(
            blocked.map(({ durationMs, lagMs, behindMs }) =>
              lagMs >= behindMs
                ? `${request} took ${ms(durationMs)}, and the event loop stood still for ${ms(lagMs)} of it`
                : `${request} took ${ms(durationMs)}, and another request waited behind it for ${ms(behindMs)}`,
            ),
          ),
          todo: "Do this work in pieces, in a worker thread, or in a pool of its own with a route for it.",
        },
      ];
    }),

  dies: (evidence: Evidence): Finding[] =>
    byPool(evidence.deaths.filter(isUnexplained), []).map(({ pool, deaths }) => ({
      kind: "dies",
      what: `${pool} has died unexpectedly`,
      evidence: some(deaths.flatMap(describeDeath)),
      todo: "Read its last lines; docs/deaths.md lists the kinds of deaths.",
      explains: [...new Set(deaths.map(({ phase }) => phase))],
    })),
} as const satisfies Record<string, (evidence: Evidence) => Finding[]>;

/** A program that closes idle connections sooner than this, in milliseconds, makes every client that pauses lose its connection. */
const LEAST_IDLE_MS = 2_000;
const LEAST_SAMPLES = 10;
const LEAST_GROWTH_BYTES = 8e6;
const LEAST_GROWTH_SHARE = 0.1;
const BLOCKED_MS = 500;
const BLOCKED_SHARE = 0.6;

/** The line that an instance logs if a signal listener or the app's stop() threw an error while the instance was shutting down. */
const LISTENER_FAILED = /^(?:a listener for SIG\w+|stop\(\)) failed:/;
/** What a shim or the supervisor logs about a process that has not exited by a deadline. */
const NOT_ENDED = /did not (?:exit|drain) within .+: SIG|^stop\(\) was cut off/;

function isClosedEarly({ closedAfterMs, wasAnnounced }: Evidence["idle"][number]): boolean {
  return closedAfterMs !== null && closedAfterMs < LEAST_IDLE_MS && !wasAnnounced;
}

/** Returns the lines of the rehearsed pools. Lines of balancers are left out: a balancer waits for its clients, which are ours. */
function linesOf({ lines, pools }: Evidence, pattern: RegExp): LoggedLine[] {
  return lines.filter((line) => pattern.test(line.text) && pools.some(({ name }) => name === poolOf(line)));
}

function isFailure({ kind, code, signal }: DeathFacts): boolean {
  return kind === "exit" ? code !== 0 : kind === "signal" && signal !== "SIGTERM";
}

function isCrashOnStop(death: DeathFacts): boolean {
  return death.sent === "SIGTERM" || death.state === "draining" ? isFailure(death) : false;
}

function isCutOnTerm(death: DeathFacts): boolean {
  return death.sent === "SIGTERM" && !isFailure(death) && death.kind !== "slow" && cutRequests(death).length > 0;
}

/** Kinds whose instances get requests over HTTP/1.1, which does not show whether a request has started or still waits in the kernel. */
const UNSEEN_KINDS = ["command", "wsgi", "fapws", "asgi"];

function isUnseen({ pool }: DeathFacts, { pools }: Evidence): boolean {
  return pools.some(({ name, kind }) => name === pool && UNSEEN_KINDS.includes(kind));
}

/**
 * Returns a note about processes of pools in UNSEEN_KINDS that had requests in progress when they exited on SIGTERM. Connections that a
 * server has not accepted yet are lost when its socket closes, however well the server drains. Paceline itself avoids this: it waits for the
 * last response before it stops a process.
 */
export function unseenCutOnTerm(evidence: Evidence): string[] {
  const deaths = evidence.deaths.filter((death) => isCutOnTerm(death) && isUnseen(death, evidence));
  return deaths.map((death) => {
    const { length } = cutRequests(death);
    const what = length === 1 ? "a request was on its way" : `${length} requests were on their way`;
    return `${death.process} exited on a SIGTERM from outside while ${what}; Paceline's own stops wait for that`;
  });
}

function isUnexplained(death: DeathFacts): boolean {
  return death.sent === null && death.state !== "draining" && death.kind !== "slow";
}

/** Requests that the process was running, and that no other instance had yet. */
function cutRequests({ requests }: DeathFacts): DeathFacts["requests"] {
  return requests.filter(({ state }) => state !== "notStarted");
}

function describeDeath(death: DeathFacts): string[] {
  const cut = cutRequests(death);
  const [first] = cut;
  const with_ =
    first === undefined
      ? ""
      : `, with ${cut.length === 1 ? "a request" : `${cut.length} requests`} under way: ${first.request}`;
  const after = death.sent === null ? "" : ` on ${death.sent}`;
  return [
    `${death.process} ${death.reason}${after}${with_}`,
    ...death.lastLines.slice(-2).map((line) => `  | ${line}`),
  ];
}

function describeLine({ subject, text }: LoggedLine): string {
  return `${subject}: ${text}`;
}

function describeSessions({ cookies, instances }: RepeatFacts): string[] {
  const differing = cookies.filter(({ wasKnown }) => isKnownToSome(wasKnown, instances));
  return differing.map(({ name, wasKnown }) => {
    const known = wasKnown.filter(Boolean).length;
    return `one instance set the cookie ${name}: of ${wasKnown.length} requests with it, sent to ${instances} instances in turn, ${known} kept it, and ${wasKnown.length - known} got a new one`;
  });
}

function describeCount(facts: RepeatFacts): string[] {
  const numbers = countsAlone(facts);
  return numbers === undefined ? [] : [`each instance counts for itself: responses in turn have ${numbers.join(", ")}`];
}

/** Compares bodies, because a server that keeps its client's cookie sets no new one, whether or not it knows the cookie. */
function describeWithCookies(facts: RepeatFacts): string[] {
  const { cookies, instances, withCookies } = facts;
  if (countsAlone(facts) !== undefined || cookies.length === 0) return [];
  const names = cookies.map(({ name }) => name).join(", ");
  const numbers = countsAlone({ ...withCookies, instances });
  if (numbers !== undefined)
    return [
      `with the cookie ${names}, which one instance set, each instance counts for itself: responses in turn have ${numbers.join(", ")}`,
    ];
  return differsWithCookie(facts)
    ? [`one instance set the cookie ${names}: with it, instances respond differently, each in the same way every time`]
    : [];
}

interface Growth {
  text: string;
}

/** Returns the growth of a process that leaks memory; undefined if the growth is not certain. */
function growthOf({ instance, samples, requests }: MemoryFacts): Growth | undefined {
  let trend: MemoryTrend = NO_TREND;
  for (const { ageMs, bytes } of samples) trend = addReading(trend, ageMs, bytes);
  const last = samples.at(-1);
  const quarter = samples[Math.floor(samples.length / 4)];
  if (last === undefined || quarter === undefined || requests === 0) return undefined;
  const grownBytes = last.bytes - quarter.bytes;
  if (grownBytes < Math.max(LEAST_GROWTH_BYTES, LEAST_GROWTH_SHARE * quarter.bytes)) return undefined;
  // If the growth continued, the memory would have doubled within ten times the duration of the rehearsal.
  if (forecast(trend, 2 * last.bytes) === undefined) return undefined;
  const spanMs = last.ageMs - quarter.ageMs;
  const perRequest = grownBytes / Math.max(1, (requests * spanMs) / Math.max(1, last.ageMs));
  return {
    text: `${instance} grew from ${mb(quarter.bytes)} to ${mb(last.bytes)} in ${(spanMs / 1000).toFixed(1)} s: about ${kb(perRequest)} a request`,
  };
}

function mb(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

function kb(bytes: number): string {
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} KB`;
}

function ms(value: number): string {
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${Math.round(value)} ms`;
}

function some(texts: string[]): string[] {
  return texts.slice(0, MAX_EVIDENCE);
}

function inPools<T extends { pool: string }>(facts: readonly T[]): [pool: string, facts: T[]][] {
  const pools = new Map<string, T[]>();
  for (const each of facts) pools.set(each.pool, [...(pools.get(each.pool) ?? []), each]);
  return [...pools];
}

/** The subject of a line begins with the name of its pool. */
function poolOf({ subject }: LoggedLine): string {
  return subject.split(/[. ]/, 1)[0] ?? subject;
}

/** Groups observations of processes by pool. */
function byPool<T extends { pool: string }>(
  deaths: readonly DeathFacts[],
  lines: readonly LoggedLine[],
  others: readonly T[] = [],
): { pool: string; deaths: DeathFacts[]; lines: LoggedLine[]; others: T[] }[] {
  const pools = new Set([...deaths, ...others].map(({ pool }) => pool).concat(lines.map(poolOf)));
  return [...pools].map((pool) => ({
    pool,
    deaths: deaths.filter((death) => death.pool === pool),
    lines: lines.filter((line) => poolOf(line) === pool),
    others: others.filter((other) => other.pool === pool),
  }));
}
