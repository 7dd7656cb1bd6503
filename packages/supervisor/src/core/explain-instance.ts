/**
 * Explains why an instance does not run, was restarted, or gets no requests: one rule for each cause. explain-figures.ts has the rules
 * about its figures. Pure.
 */
import { type DeathReport, howItDied } from "./deaths.js";
import { FIGURE_RULES } from "./explain-figures.js";
import {
  agoText,
  type EventFacts,
  type Facts,
  type Finding,
  firstLine,
  type InstanceFacts,
  type InstanceRule,
  type InstanceView,
  type OpenFacts,
  type PoolFacts,
  requestsText,
  timesText,
} from "./explain-model.js";
import { formatDuration, isAbout, stateWord } from "./words.js";

/** Deaths within this time are counted together, in milliseconds. */
export const RECENT_MS = 3_600_000;
/** This many deaths within that time are a crash loop. */
const LOOP_DEATHS = 3;
/** The kinds of death that memory may have caused, and what helps against them. */
const OF_MEMORY: ReadonlySet<DeathReport["kind"]> = new Set(["outOfMemory", "perhapsOutOfMemory"]);
const MEMORY_TODO =
  ". If it needs that much memory, give it more, or run fewer instances; if it leaks, maxMemoryMb replaces it before the kernel kills it";
const OLD_JOBS_MS = 60_000;
/** The tolerance for uptimes, which are in whole seconds. In milliseconds. */
const START_MS = 2000;
/** A request that is open for this long is reported, in milliseconds. */
const LONG_MS = 10_000;

/** A part of the event of an instance that was ejected by hand. */
const BY_OPERATOR = "ejected by an operator";

/** The event of a pool without instances that gets some. */
const STARTED_AGAIN = /^is being scaled from 0 to /;

const AFTER_DEATH: Readonly<Record<string, string>> = {
  ready: "was restarted",
  backoff: "waits for its next start",
  failed: "was given up",
  stopped: "is stopped",
};

/** Whether the instance was already running when a process of its slot died. */
function wasReplacement(instance: InstanceFacts, death: DeathReport, now: number): boolean {
  return instance.state === "ready" && now - instance.uptimeSeconds * 1000 < knownAt(death) - START_MS;
}

export const INSTANCE_RULES: Readonly<Record<string, InstanceRule>> = {
  failed: ({ instance, deaths }) =>
    instance.state !== "failed"
      ? undefined
      : {
          severity: "fault",
          what: `${instance.name} was given up: it failed too often before it was ever ready`,
          evidence: exitOf(instance),
          todo: `Correct the cause, then: paceline restart ${instance.name}${reportHint(deaths)}`,
        },

  "crash-loop": ({ instance, deaths, now }) => {
    const recent = recentOf(deaths, now);
    if (recent.length < LOOP_DEATHS) return undefined;
    const [newest] = recent;
    return {
      severity: "fault",
      what: `${instance.name} died ${timesText(recent.length)} in the last hour: ${kindsText(recent)}`,
      evidence:
        newest === undefined ? [] : [`${agoText(newest.at, now)}: ${firstLine(newest.reason)}`, ...runningText(newest)],
      todo: `Read the report of the last death: paceline deaths show ${newest?.id}${recent.every(({ kind }) => OF_MEMORY.has(kind)) ? MEMORY_TODO : ""}`,
      ...reportOf(newest),
    };
  },

  died: ({ instance, deaths, now }) => {
    const recent = recentOf(deaths, now);
    const [newest] = recent;
    if (newest === undefined || recent.length >= LOOP_DEATHS) return undefined;
    const ofMemory = OF_MEMORY.has(newest.kind) ? MEMORY_TODO : "";
    const todo = `Its last lines, memory and lost requests: paceline deaths show ${newest.id}${ofMemory}`;
    const evidence = [firstLine(newest.reason), ...runningText(newest)];
    if (wasReplacement(instance, newest, now)) {
      const what = `a replacement of ${instance.name} died ${agoText(newest.at, now)} (${howItDied(newest)}); ${instance.name} itself keeps running`;
      return { severity: "warning", what, evidence, todo, ...reportOf(newest) };
    }
    return {
      severity: instance.state === "ready" ? "warning" : "fault",
      what: `${instance.name} died ${agoText(newest.at, now)} (${howItDied(newest)}) and ${AFTER_DEATH[instance.state] ?? "is being restarted"}`,
      evidence,
      todo,
      ...reportOf(newest),
    };
  },

  waiting: ({ instance, deaths, now }) => {
    if (instance.state !== "backoff" || recentOf(deaths, now).length > 0) return undefined;
    return {
      severity: "fault",
      what: `${instance.name} exited, and waits for its next start`,
      evidence: exitOf(instance),
      todo: `See what it wrote: paceline logs ${instance.name}`,
    };
  },

  starting: ({ instance }) => {
    if (instance.state !== "starting") return undefined;
    return {
      severity: "note",
      what: `${instance.name} has been starting for ${formatDuration(instance.uptimeSeconds)} and is not ready yet`,
      evidence: exitOf(instance),
      todo: `If this takes long, see what it waits for: paceline logs ${instance.name}; readyTimeoutMs bounds the wait`,
    };
  },

  stopped: ({ instance }) => {
    if (instance.state !== "stopped") return undefined;
    return {
      severity: "fault",
      what: `${instance.name} is stopped`,
      evidence: exitOf(instance),
      todo: `Start it again: paceline restart ${instance.name}`,
    };
  },

  leaving: ({ instance, pool }) => {
    if (instance.state !== "draining" && instance.state !== "killing") return undefined;
    const cause =
      pool.rollout === null
        ? ""
        : `, as part of a ${pool.rollout.kind} (${pool.rollout.done}/${pool.rollout.total} done)`;
    return {
      severity: "note",
      what: `${instance.name} is ${instance.state === "draining" ? "finishing its requests" : "being killed"}${cause}`,
      evidence: instance.inFlight ? [`${requestsText(instance.inFlight)} in flight`] : [],
      todo: "",
    };
  },

  replacing: ({ instance }) => {
    const { name, other } = instance;
    if (other == null || other.isCanary === true) return undefined;
    if (other.role === "outgoing")
      return { severity: "note", what: `the former process of ${name} finishes its requests`, evidence: [], todo: "" };
    if (other.role !== "replacement" || other.state !== "starting") return undefined;
    return {
      severity: "note",
      what: `a new process of ${name} is starting; the present one serves until it is ready`,
      evidence: [],
      todo: `If this takes long, see what it waits for: paceline logs ${name}; readyTimeoutMs bounds the wait`,
    };
  },

  stalled: ({ instance, open }) => {
    if (instance.stalledMs === null) return undefined;
    return {
      severity: "fault",
      what: `${instance.name} has not responded for ${formatDuration(instance.stalledMs / 1000)}: its event loop is blocked`,
      evidence: instance.inFlight
        ? [`${requestsText(instance.inFlight)} in it; new ones go to other instances`, ...openText(open)]
        : [],
      todo: `Where its code is: paceline dump ${instance.name} --stack. After hangAfterMs it is killed and replaced`,
    };
  },

  "long-request": ({ instance, open }) => {
    const [oldest] = open;
    if (oldest === undefined || oldest.ageMs < LONG_MS || instance.stalledMs !== null) return undefined;
    return {
      severity: "note",
      what: `${oldest.request} has been open at ${instance.name} for ${formatDuration(oldest.ageMs / 1000)}`,
      evidence: openText(open.slice(1, 3)),
      todo: `Normal for streams and WebSockets. Otherwise see what it waits for: paceline dump ${instance.name} --stack`,
    };
  },

  drained: ({ instance, events, now }) => {
    if (instance.outOfTurn !== "drained") return undefined;
    return {
      severity: "warning",
      what: `${instance.name} gets no new requests: an operator has drained it`,
      evidence: lastSaid(events, "is drained", now),
      todo: `Send it requests again: paceline undrain ${instance.name}`,
    };
  },

  ejected: ({ instance, events, now }) => {
    if (instance.outOfTurn !== "ejected") return undefined;
    const byBalancers = instance.ejections.map(
      ({ balancer, reason, forSeconds }) => `${balancer}, for ${formatDuration(forSeconds)} more: ${reason}`,
    );
    const said = byBalancers.length > 0 ? byBalancers : lastSaid(events, /eject|health check/, now);
    if (said.some((text) => text.includes(BY_OPERATOR)))
      return {
        severity: "warning",
        what: `${instance.name} gets no new requests: an operator has ejected it`,
        evidence: said,
        todo: `Send it requests again: paceline readmit ${instance.name}`,
      };
    return {
      severity: "fault",
      what: `${instance.name} is ejected: it gets no new requests while other instances can take them`,
      evidence: said,
      todo: `It returns by itself when it is as good as the others; to readmit it now: paceline readmit ${instance.name}`,
    };
  },

  failing: ({ instance, events, now }) => {
    if (instance.outOfTurn !== "failing") return undefined;
    return {
      severity: "fault",
      what: `${instance.name} fails: it would be ejected, but gets requests because too many instances of its pool fail`,
      evidence: [
        ...instance.ejections.map(({ balancer, reason }) => `${balancer}: ${reason}`),
        ...lastSaid(events, /eject|health check/, now),
      ],
      todo: `What it says: paceline logs ${instance.name}. When most instances fail, look at what they share, such as a database`,
    };
  },

  canary: ({ instance, pool }) => {
    const canary = pool.deploy?.canaries.find((id) => id.slice(0, id.indexOf("#")) === instance.name);
    if (canary === undefined) return undefined;
    return {
      severity: "note",
      what: `${canary} is a canary: it runs generation ${pool.deploy?.to} for comparison`,
      evidence: [],
      todo: "How it compares: paceline explain deploy. To decide now: paceline deploy promote, or paceline rollback",
    };
  },

  ...FIGURE_RULES,

  "recycle-due": ({ instance }) => {
    const due = instance.recycle?.due;
    if (due == null) return undefined;
    return {
      severity: "note",
      what: `${instance.name} is going to be replaced: it ${due}`,
      evidence: [],
      todo: "",
    };
  },

  "run-failed": ({ instance, now }) => {
    const last = instance.schedule?.last;
    if (last?.failure == null) return undefined;
    return {
      severity: "fault",
      what: `the last run of ${instance.name} failed ${agoText(last.at, now)}: ${last.failure}`,
      evidence: [`${instance.schedule?.failures} of ${instance.schedule?.runs} runs failed`],
      todo: `What it wrote: paceline logs ${instance.name}`,
    };
  },

  "jobs-wait": ({ instance }) => {
    const { deferred, name } = instance;
    if (deferred === null || deferred.oldestMs < OLD_JOBS_MS) return undefined;
    return {
      severity: "warning",
      what: `${name} has ${deferred.jobs} deferred jobs; the oldest waits for ${formatDuration(deferred.oldestMs / 1000)}`,
      evidence: ["deferred jobs run while the instance has no requests"],
      todo: "Run more instances, or move these jobs to a worker pool",
    };
  },

  "lines-lost": ({ instance }) =>
    instance.linesLost === 0
      ? undefined
      : {
          severity: "note",
          what: `${instance.linesLost} lines of ${instance.name} are missing from the log: it wrote faster than they could be read`,
          evidence: [],
          todo: "Log less, or raise maxOutputBytes",
        },

  exposed: ({ instance }) =>
    instance.exposed.length === 0
      ? undefined
      : {
          severity: "warning",
          what: `${instance.name} listens on ${instance.exposed.join(", ")}, where others can reach it without the balancer`,
          evidence: [],
          todo: "Let the app listen on 127.0.0.1, or on the port in PORT",
        },
};

export function findingsOfInstance(view: InstanceView): Finding[] {
  const { name } = view.instance;
  return Object.entries(INSTANCE_RULES).flatMap(([kind, rule]) => {
    const found = rule(view);
    return found === undefined ? [] : [{ kind, about: name, ...found }];
  });
}

/** Returns what the rules need to know about an instance of this pool. */
export function viewOf(
  instance: InstanceFacts,
  pool: PoolFacts,
  facts: Pick<Facts, "fleet" | "deaths" | "events" | "open" | "now">,
): InstanceView {
  return {
    instance,
    pool,
    peers: pool.instances.filter(({ name, state }) => name !== instance.name && state === "ready"),
    deaths: currentDeaths(pool, facts).filter(
      (death) => death.name === instance.name && knownAt(death) >= startedAgainAt(pool, facts),
    ),
    events: facts.events.filter(({ subject }) => isAbout(subject, instance.name)),
    open: facts.open.filter(({ name }) => name === instance.name).sort((a, b) => b.ageMs - a.ageMs),
    now: facts.now,
  };
}

/** Returns when the pool was last scaled up from 0. Deaths from before that time do not explain its instances. */
function startedAgainAt({ name }: PoolFacts, { events }: Pick<Facts, "events">): number {
  return events.findLast(({ subject, message }) => subject === name && STARTED_AGAIN.test(message))?.at ?? 0;
}

/** Returns the deaths in a pool since the fleet was started, of the generation in service only: a reload may have fixed the others. */
export function currentDeaths(
  { name, generation }: PoolFacts,
  { deaths, fleet, now }: Pick<Facts, "fleet" | "deaths" | "now">,
): DeathReport[] {
  const startedAt = now - 1000 * (fleet?.uptimeSeconds ?? 0);
  return deaths.filter((death) => death.pool === name && death.generation >= generation && knownAt(death) >= startedAt);
}

/**
 * Returns the deaths since the start that show something about the handlers in service. Deaths of another release, or of a deploy that was
 * rolled back, show nothing about them.
 */
export function deathsOfRelease(
  pool: PoolFacts,
  { deaths, fleet, now }: Pick<Facts, "fleet" | "deaths" | "now">,
): DeathReport[] {
  return currentDeaths({ ...pool, generation: 0 }, { deaths, fleet, now }).filter(
    ({ generation, release }) =>
      generation === pool.generation || (generation < pool.generation && release === pool.release),
  );
}

/** Returns `ready`, `drained`, `stalled for 12 s`, `waiting for its next start`. */
export function wordOf(instance: InstanceFacts): string {
  if (instance.stalledMs !== null) return `stalled for ${formatDuration(instance.stalledMs / 1000)}`;
  return instance.state === "backoff" ? "waiting for its next start" : stateWord(instance);
}

export function recentOf(deaths: readonly DeathReport[], now: number): DeathReport[] {
  return deaths.filter((death) => now - knownAt(death) < RECENT_MS);
}

/** Returns by when the process had ended. */
function knownAt({ at, foundAt = at }: DeathReport): number {
  return foundAt;
}

/** Returns `hung (2), exit 1`. */
function kindsText(deaths: readonly DeathReport[]): string {
  const counts = new Map<string, number>();
  for (const death of deaths) counts.set(howItDied(death), (counts.get(howItDied(death)) ?? 0) + 1);
  return [...counts].map(([how, count]) => (count === 1 ? how : `${how} (${count})`)).join(", ");
}

/** Returns for example `GET /report, 12 s old`. */
function openText(open: readonly OpenFacts[]): string[] {
  return open.slice(0, 1).map(({ request, ageMs }) => `${request}, ${formatDuration(ageMs / 1000)} old`);
}

function exitOf({ lastExit }: InstanceFacts): string[] {
  return lastExit === null ? [] : [firstLine(lastExit.reason)];
}

function runningText({ running, stack }: DeathReport): string[] {
  return running === null ? [] : [`it was running ${running}${stack[0] === undefined ? "" : `, at ${stack[0]}`}`];
}

export function reportOf(death: DeathReport | undefined): { death?: number } {
  return death === undefined ? {} : { death: death.id };
}

function reportHint([newest]: readonly DeathReport[]): string {
  return newest === undefined ? "" : `; its last lines: paceline deaths show ${newest.id}`;
}

function lastSaid(events: readonly EventFacts[], pattern: string | RegExp, now: number): string[] {
  const said = events.findLast(({ message }) => message.search(pattern) >= 0);
  return said === undefined ? [] : [`${agoText(said.at, now)}: ${firstLine(said.message)}`];
}
