/**
 * Explains a fleet, a pool, an instance, a balancer, a deploy or a request: what is wrong, its current state, and the last changes. Pure.
 */
import type { DeathReport } from "./deaths.js";
import { BAD_SHARE } from "./explain-figures.js";
import { findingsOfBalancer, findingsOfFleet } from "./explain-fleet.js";
import { findingsOfInstance, recentOf, viewOf } from "./explain-instance.js";
import {
  agoText,
  type Change,
  type DeployFacts,
  type Explanation,
  type Facts,
  type Finding,
  type FleetFacts,
  firstLine,
  gravestFirst,
  type InstanceView,
  median,
  msText,
  nowOf,
  type PoolFacts,
  rateText,
  sizeText,
  type Target,
} from "./explain-model.js";
import { findingsOfPool } from "./explain-pool.js";
import { explainRequest } from "./explain-request.js";
import { callerText, givenUpStart, type HistoryEntry } from "./history.js";
import { isUnserved } from "./serving.js";
import { isAbout, unknownName } from "./words.js";

const MAX_CHANGES = 8;
/** Commands that do not change the work of instances. */
const QUIET_COMMANDS = new Set(["lock", "unlock"]);

/**
 * Returns the target that `text` names; undefined is the fleet. A string is the reason why it names nothing.
 * @param id the number of a deploy in the history
 */
export function targetOf(text: string | undefined, facts: Facts, id: number | undefined): Target | string {
  if (text === "deploy") return { kind: "deploy", id: id ?? null };
  if (id !== undefined) return `only "deploy" takes a number, such as: paceline explain deploy ${id}`;
  if (text === undefined) return { kind: "fleet" };
  const { fleet } = facts;
  if (fleet?.name === text && !fleet.pools.some(({ name }) => name === text)) return { kind: "fleet" };
  const pools = fleet?.pools.map(({ name }) => name) ?? [...new Set(facts.deaths.map(({ pool }) => pool))];
  if (pools.includes(text)) return { kind: "pool", name: text };
  if (/^balancer(\.\d+)?$/.test(text)) return { kind: "balancer", name: text };
  const instances = fleet?.pools.flatMap((pool) => pool.instances.map(({ name }) => name)) ?? [];
  const died = facts.deaths.map(({ name }) => name);
  if (instances.includes(text) || died.includes(text)) return { kind: "instance", name: text };
  if (!mayBeRequestId(text))
    return `${JSON.stringify(text)} is a path: explain takes a pool, an instance, balancer, deploy or the id of a request; the explanation of a pool names its slow routes`;
  if (facts.lines.length > 0 || facts.deaths.some(({ requests }) => requests.some((request) => request.id === text)))
    return { kind: "request", id: text };
  const names = [...pools, ...instances, "balancer", "deploy"];
  if (/^[a-z][a-z0-9-]*(\.\d+)?$/.test(text) && text.length < 24) return unknownName(text, names);
  const { accessLog } = facts;
  const ofFile = accessLog?.problem === undefined ? "" : `; the access log was not read: ${accessLog.problem}`;
  const where = accessLog === undefined || ofFile !== "" ? "" : `, no line at the end of ${accessLog.path}`;
  return `no line of the log${where} and no death names a request ${JSON.stringify(text)}: ids are in the log with balancer.accessLog { format: "json" }${ofFile}`;
}

/** Whether a target may be the id of a request: not `/cart` and `GET /cart`, which many lines of an access log contain. */
export function mayBeRequestId(text: string): boolean {
  return !/^\/|\s/.test(text);
}

export function explain(target: Target, facts: Facts): Explanation {
  switch (target.kind) {
    case "fleet":
      return explainFleet(facts);
    case "pool":
      return explainPool(target.name, facts);
    case "instance":
      return explainInstance(target.name, facts);
    case "balancer":
      return explainBalancer(target.name, facts);
    case "deploy":
      return explainDeploy(target.id, facts);
    case "request":
      return explainRequest(target.id, facts);
    default:
      return target satisfies never;
  }
}

function explainFleet(facts: Facts): Explanation {
  const { fleet } = facts;
  const base = {
    target: fleet?.name ?? facts.record?.name ?? "fleet",
    kind: "fleet" as const,
    changes: changesOf(undefined, facts),
  };
  if (fleet === null) return { ...base, ...notRunning(facts) };
  const findings = allFindings(fleet, facts);
  return { ...base, findings, summary: summaryOf(findings, fleet.pools), now: nowOfFleet(fleet) };
}

/** Returns all findings of a fleet, most serious first. */
export function allFindings(fleet: FleetFacts, facts: Facts): Finding[] {
  const ofPools = fleet.pools.flatMap((pool) => findingsOfPool(pool, facts));
  const withKiller = new Set(ofPools.flatMap(({ kind, about }) => (kind === "killer" ? [about] : [])));
  const down = ofPools.filter(({ kind }) => kind === "down");
  return gravestFirst([
    ...findingsOfFleet(facts).filter(({ kind, about, what }) => {
      // The reports of deaths contain more than the event.
      if (kind === "poison") return !withKiller.has(about);
      return kind !== "problem" || !down.some((pool) => isUnserved(what, pool.about));
    }),
    ...ofPools,
    ...fleet.balancers.flatMap((balancer) => findingsOfBalancer(balancer, fleet)),
  ]);
}

function nowOfFleet(fleet: FleetFacts): string[] {
  return fleet.pools.map((pool) => [pool.name, ...nowOfPool(pool)].join(" · "));
}

function explainPool(name: string, facts: Facts): Explanation {
  const pool = facts.fleet?.pools.find((each) => each.name === name);
  const base = { target: name, kind: "pool" as const, changes: changesOf(name, facts) };
  if (pool === undefined) return { ...base, ...notRunning(facts) };
  const findings = findingsOfPool(pool, facts);
  return {
    ...base,
    findings: gravestFirst(findings),
    summary: summaryOf(findings, [pool]),
    now: [nowOfPool(pool).join(" · "), ...deployLine(pool)],
  };
}

function nowOfPool(pool: PoolFacts): string[] {
  const { latencyMs, rssBytes = null, inFlight = 0 } = pool;
  const p99 = latencyMs?.p99 ?? null;
  return [
    `${pool.ready}/${pool.wanted} ready`,
    ...(pool.requestsPerSecond === null ? [] : [`${rateText(pool.requestsPerSecond)} req/s`, `${inFlight} in flight`]),
    ...(p99 === null ? [] : [`p99 ${msText(p99)}`]),
    ...(rssBytes === null ? [] : [`RSS ${sizeText(rssBytes)}`]),
    `generation ${pool.generation}`,
  ];
}

function deployLine({ deploy }: PoolFacts): string[] {
  return deploy === null ? [] : [deployText(deploy)];
}

function deployText({ from, to, phase, percent, leftMs, verdict }: DeployFacts): string {
  const words = {
    loading: "its canaries are being prepared",
    canary:
      leftMs === null
        ? "its canaries start"
        : `its canaries get ${percent} % of the requests, ${Math.ceil(leftMs / 1000)} s left, verdict so far: ${verdict}`,
    rolling: "it passed, and the other instances follow",
    back: "it is being rolled back",
  };
  return `deploy of generation ${from} → ${to}: ${words[phase]}`;
}

function explainInstance(name: string, facts: Facts): Explanation {
  const pool = facts.fleet?.pools.find(({ instances }) => instances.some((each) => each.name === name));
  const instance = pool?.instances.find((each) => each.name === name);
  const base = { target: name, kind: "instance" as const, changes: changesOf(name, facts) };
  if (pool === undefined || instance === undefined) return { ...base, ...notRunning(facts, name) };
  const view = viewOf(instance, pool, facts);
  // A fault of the pool as a whole also explains its instance.
  const ofPool = findingsOfPool(pool, facts, true).filter(({ kind }) => EXPLAINS_INSTANCES.has(kind));
  const findings = [...findingsOfInstance(view), ...ofPool];
  const { peers } = view;
  const usual = [
    ...numberText(median(peers.map(({ requestsPerSecond }) => requestsPerSecond)), (rate) => `${rateText(rate)} req/s`),
    ...numberText(median(peers.map(({ latencyMs }) => latencyMs.p99)), (ms) => `p99 ${msText(ms)}`),
    ...numberText(median(peers.map(({ rssBytes }) => rssBytes)), (bytes) => `RSS ${sizeText(bytes)}`),
    ...numberText(median(peers.map(({ cpuPercent }) => cpuPercent)), (cpu) => `CPU ${cpu.toFixed(0)} %`),
  ];
  const others = usual.length === 0 ? [] : [`the others of ${pool.name} (median): ${usual.join(" · ")}`];
  return {
    ...base,
    findings: gravestFirst(findings),
    summary: summaryOf(findings, [instance]),
    now: [...nowOf(instance), ...oldestOf(view), ...others, ...deployLine(pool)],
  };
}

function oldestOf({ open: [oldest] }: InstanceView): string[] {
  return oldest === undefined ? [] : [`oldest open request: ${oldest.request}, ${msText(oldest.ageMs)}`];
}

const EXPLAINS_INSTANCES = new Set(["killer", "full", "slow-route", "slow-path", "at-maximum", "recycle-failed"]);

function numberText(value: number | null, format: (value: number) => string): string[] {
  return value === null ? [] : [format(value)];
}

function explainBalancer(name: string, facts: Facts): Explanation {
  const { fleet } = facts;
  const shown = fleet?.balancers.filter((each) => name === "balancer" || each.name === name) ?? [];
  const base = { target: name, kind: "balancer" as const, changes: changesOf(name, facts) };
  if (fleet === null) return { ...base, ...notRunning(facts, name) };
  if (shown.length === 0) return { ...base, findings: [], now: [], summary: `This fleet has no ${name}.` };
  const findings = shown.flatMap((balancer) => findingsOfBalancer(balancer, fleet));
  const now = shown.flatMap((each) => [
    `${each.name}: ${nowOf(each).join(" · ")}`,
    `${each.name}: ${each.connections} connections · ${each.retriesTotal} requests sent to a further instance`,
  ]);
  return { ...base, findings: gravestFirst(findings), summary: summaryOf(findings), now };
}

function explainDeploy(id: number | null, facts: Facts): Explanation {
  const entries = facts.history.filter(({ command }) => command === "deploy" || command === "rollback");
  const entry = id === null ? entries[0] : facts.history.find((each) => each.id === id);
  const base = { kind: "deploy" as const, target: entry === undefined ? "deploy" : `deploy ${entry.id}` };
  const running = facts.fleet?.pools.flatMap(({ name, deploy }) => (deploy === null ? [] : [{ name, deploy }])) ?? [];
  if (entry === undefined) {
    const summary = id === null ? "Nothing was deployed." : `The history has no entry ${id}.`;
    return {
      ...base,
      summary,
      findings: [],
      now: running.map(({ name, deploy }) => `${name}: ${deployText(deploy)}`),
      changes: [],
    };
  }
  const isUnderWay = entry.durationMs === null && entry === entries[0];
  const until = entry.durationMs === null ? facts.now : entry.at + entry.durationMs;
  const deaths = facts.deaths.filter(({ at, generation, pool }) => {
    const change = entry.pools.find(({ name }) => name === pool);
    const next = change?.generation[1] ?? running.find(({ name }) => name === pool)?.deploy.to;
    return at >= entry.at && at <= until + 5_000 && (next === undefined || generation >= next);
  });
  const tests = isUnderWay
    ? running.flatMap(({ name, deploy }) => deploy.tests.map((test) => ({ pool: name, ...test })))
    : [];
  const findings: Finding[] = [
    ...(entry.result === "done" || isUnderWay ? [] : [failedDeploy(entry)]),
    ...tests
      .filter(({ verdict }) => verdict !== "pass")
      .map(
        ({ pool, name, verdict, difference, limit }): Finding => ({
          ...{ kind: "test", severity: verdict === "fail" ? "fault" : "note", about: pool },
          what: `${name} ${verdict === "fail" ? "fails" : "is not decided yet"}: ${difference === "" ? (name === "memory" ? "not measured long enough" : "no requests yet") : difference} (allowed ${limit})`,
          ...{ evidence: [], todo: "" },
        }),
      ),
    ...deaths.slice(0, 3).map(
      (death): Finding => ({
        ...{ kind: "died", severity: "fault", about: death.name },
        what: `${death.process} of the new version died: ${firstLine(death.reason)}`,
        ...{
          evidence: death.running === null ? [] : [`it was running ${death.running}`],
          todo: `paceline deaths show ${death.id}`,
        },
      }),
    ),
  ];
  const how = isUnderWay
    ? "is under way"
    : entry.result === "done"
      ? "succeeded"
      : entry.result === "failed"
        ? "failed"
        : `failed (${entry.result})`;
  return {
    ...base,
    summary: `The ${entry.command} of ${agoText(entry.at, facts.now)} by ${callerText(entry.by)} ${how}.`,
    findings: gravestFirst(findings),
    now: running.map(({ name, deploy }) => `${name}: ${deployText(deploy)}`),
    changes: entry.steps
      .slice(-MAX_CHANGES)
      .map(({ afterMs, text }) => ({ at: entry.at + afterMs, subject: entry.command, text })),
  };
}

function failedDeploy(entry: HistoryEntry): Finding {
  const [what = "", ...more] = entry.message.split("\n");
  const todos: Record<string, string> = {
    "taken-back": "Clients have had responses of it; correct the release, then deploy again",
    "release-refused": "No client has had a response of it; correct the release, then deploy again",
    undecided:
      "There were too few requests to judge it: deploy at a busier time, with a longer --judge, or with --on-no-traffic promote",
  };
  return {
    ...{ kind: entry.result, severity: "fault", about: entry.target ?? "deploy", what, evidence: more.slice(0, 4) },
    todo: todos[entry.result] ?? `All its steps: paceline history show ${entry.id}`,
  };
}

/** Returns the known facts about a fleet, or a slot, that is not running. */
function notRunning(facts: Facts, name?: string): Pick<Explanation, "summary" | "findings" | "now"> {
  const about = (death: DeathReport) => name === undefined || isAbout(death.name, name);
  const [death] = recentOf(facts.deaths, Number.NEGATIVE_INFINITY).filter(about);
  const now =
    death === undefined
      ? []
      : [`last death: ${death.process}, ${agoText(death.at, facts.now)}: ${firstLine(death.reason)}`];
  const summary =
    facts.fleet === null
      ? `The fleet is not running: ${howItStopped(facts)}. \`paceline start\` starts it again.`
      : `${name} does not exist any more: the pool has fewer instances now.`;
  return { summary, findings: [], now };
}

function howItStopped({ record, seenAt = 0, history, now }: Facts): string {
  if (record?.endedAt === null) {
    const since = seenAt === 0 ? "" : `, no earlier than ${agoText(seenAt, now)}`;
    return `its supervisor and all its processes were killed${since}`;
  }
  const stop = history.find(({ command }) => command === "stop");
  if (stop === undefined) return record === undefined ? "it has stopped" : `it stopped ${agoText(record.endedAt, now)}`;
  const start = givenUpStart(stop, history);
  if (start === undefined) return `${callerText(stop.by)} stopped it ${agoText(stop.at, now)}`;
  return `its start was given up ${agoText(stop.at, now)}: ${firstLine(start.message)}`;
}

/** @param counts of the subject, whose few failures are not a finding yet */
function summaryOf(findings: readonly Finding[], counts: readonly Counts[] = []): string {
  const count = (severity: Finding["severity"]) => findings.filter((finding) => finding.severity === severity).length;
  const parts = [counted(count("fault"), "fault"), counted(count("warning"), "warning")].flat();
  if (parts.length > 0) return parts.join(" and ");
  const few = counts.filter(
    ({ errorsTotal, requestsTotal }) =>
      (errorsTotal ?? 0) > 0 && (errorsTotal ?? 0) >= BAD_SHARE * (requestsTotal ?? 0),
  );
  if (few.length === 0) return "Nothing is wrong, as far as can be seen.";
  const said = few.map(({ name, errorsTotal, requestsTotal }) => `${errorsTotal} of ${requestsTotal} of ${name}`);
  return `There were few requests, and some failed with 5xx: ${said.join(", ")}.`;
}

type Counts = Pick<PoolFacts, "name" | "requestsTotal" | "errorsTotal">;

function counted(count: number, word: string): string[] {
  return count === 0 ? [] : [`${count} ${word}${count === 1 ? "" : "s"}`];
}

/** Returns the last events about a name, and the operations on it, newest last. */
function changesOf(name: string | undefined, { events, history }: Facts): Change[] {
  const pool = name?.split(".")[0];
  const said = events
    .filter(({ subject }) => isAbout(subject, name) || (name !== undefined && subject === pool && pool !== name))
    .slice(-MAX_CHANGES)
    .map(({ at, subject, message }) => ({ at, subject, text: firstLine(message) }));
  const done = history
    .filter(
      ({ command, target }) =>
        !QUIET_COMMANDS.has(command) &&
        (target === null || name === undefined || isAbout(name, target) || isAbout(target, name)),
    )
    .slice(0, 3)
    .map((entry) => ({
      ...{ at: entry.at, subject: "paceline" },
      text:
        givenUpStart(entry, history) === undefined
          ? `${[entry.command, entry.target, entry.detail].filter((word) => word !== null).join(" ")} by ${callerText(entry.by)}: ${entry.result}`
          : "stop, as the start was given up",
    }));
  return [...said, ...done].sort((a, b) => a.at - b.at).slice(-MAX_CHANGES);
}
