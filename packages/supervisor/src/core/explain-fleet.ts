/** Explains why a balancer or the whole fleet is slow, down or full: one rule for each cause. Pure. */
import { BAD_COUNT, BAD_SHARE, FULL_CPU } from "./explain-figures.js";
import {
  agoText,
  type BalancerFacts,
  type Facts,
  type Finding,
  type FleetFacts,
  type Found,
  firstLine,
  KILLING,
  sizeText,
} from "./explain-model.js";
import { NO_ROOM_TODO } from "./explain-request.js";
import { formatDuration } from "./words.js";

/** Retries beyond this share of requests are no coincidence. */
const MANY_RETRIES = 0.01;

/** How long a balancer does not retry a request that crashes processes. After that, it may report the request again. */
const POISON_MS = 60_000;

const BALANCER_RULES: Readonly<Record<string, (balancer: BalancerFacts, fleet: FleetFacts) => Found | undefined>> = {
  "not-ready": ({ name, state, lastExit }) =>
    state === "ready"
      ? undefined
      : {
          severity: "fault",
          what: `${name} is ${state}`,
          evidence: lastExit === null ? [] : [firstLine(lastExit.reason)],
          todo: `paceline logs ${name}`,
        },
  stalled: ({ name, stalledMs }) =>
    stalledMs === null
      ? undefined
      : {
          severity: "fault",
          what: `${name} has not responded for ${formatDuration(stalledMs / 1000)}`,
          evidence: [],
          todo: `Where its code is: paceline dump ${name} --stack`,
        },
  full: ({ name, cpuPercent, connections }, { balancers }) =>
    (cpuPercent ?? 0) < FULL_CPU
      ? undefined
      : {
          severity: "warning",
          what: `${name} is full: it uses ${cpuPercent?.toFixed(0)} % of a core`,
          evidence: [`${connections} connections`],
          todo: `If the machine has free cores: balancer.processes, ${balancers.length} now`,
        },
  retries: ({ name, retriesTotal, requestsTotal }) =>
    (requestsTotal ?? 0) === 0 || retriesTotal < BAD_COUNT || retriesTotal < MANY_RETRIES * (requestsTotal ?? 0)
      ? undefined
      : {
          severity: "warning",
          what: `${name} had to send ${retriesTotal} of ${requestsTotal} requests to a further instance`,
          evidence: ["instances ended, or closed connections before they had responded"],
          todo: "paceline deaths lists what ended",
        },
  "no-room": ({ name, noRoomTotal = 0, requestsTotal }) =>
    noRoomTotal === 0
      ? undefined
      : {
          severity: noRoomTotal < BAD_COUNT || noRoomTotal < BAD_SHARE * (requestsTotal ?? 0) ? "note" : "warning",
          what: `${name} had no room for ${noRoomTotal} of ${requestsTotal} requests`,
          evidence: ["clients had read nothing for long, or much was sent that no instance has read"],
          todo: NO_ROOM_TODO,
        },
  spool: ({ name, spoolBytes }) =>
    spoolBytes < 100e6
      ? undefined
      : {
          severity: "note",
          what: `${name} keeps ${sizeText(spoolBytes)} of slow clients' bodies on disk`,
          evidence: [],
          todo: "limits.maxSpoolBytes bounds it",
        },
  behind: ({ name, snapshotVersion, state }, { balancers }) => {
    const newest = Math.max(...balancers.map((each) => each.snapshotVersion));
    if (state !== "ready" || snapshotVersion >= newest) return undefined;
    return {
      severity: "warning",
      what: `${name} has not applied the last change of the pools`,
      evidence: [`version ${snapshotVersion}; others follow ${newest}`],
      todo: `If that lasts: paceline restart ${name}`,
    };
  },
};

export function findingsOfBalancer(balancer: BalancerFacts, fleet: FleetFacts): Finding[] {
  return Object.entries(BALANCER_RULES).flatMap(([kind, rule]) => {
    const found = rule(balancer, fleet);
    return found === undefined ? [] : [{ kind, about: balancer.name, ...found }];
  });
}

/** Returns the findings about the fleet as a whole. */
export function findingsOfFleet({ fleet, now, events }: Facts): Finding[] {
  if (fleet === null) return [];
  const about = fleet.name;
  const found: Finding[] = [];
  const add = (kind: string, severity: Finding["severity"], what: string, todo: string, evidence: string[] = []) =>
    found.push({ kind, severity, about, what, evidence, todo });
  if (fleet.problem !== null) add("problem", "fault", fleet.problem, "");
  if (fleet.log?.problem != null)
    add("log", "fault", `the log cannot be written: ${fleet.log.problem}`, "Make room on the disk", [
      `${fleet.log.linesLost} lines are lost`,
    ]);
  if (fleet.rolledBack !== null)
    add(
      "rolled-back",
      "warning",
      `the last upgrade was rolled back ${agoText(fleet.rolledBack.at, now)}: ${fleet.rolledBack.reason}`,
      "",
    );
  if (fleet.watch?.failure != null)
    add(
      "watch",
      "warning",
      "the last change of the files was not applied",
      "Correct it: the next change is tried again",
      [firstLine(fleet.watch.failure)],
    );
  for (const { isBad, reason, todo } of fleet.certificates?.problems ?? [])
    add("certificate", isBad ? "fault" : "warning", reason, todo);
  if (fleet.lock !== null)
    add(
      "locked",
      "note",
      `${fleet.lock.by} has locked the fleet for ${formatDuration((now - fleet.lock.since) / 1000)}: ${fleet.lock.reason}`,
      "paceline unlock",
    );
  if (fleet.state !== "running") add("state", "note", `the fleet is ${fleet.state}`, "");
  const poison = events.findLast((event) => KILLING.test(event.message));
  if (poison !== undefined && now - poison.at < POISON_MS)
    found.push({
      ...{ kind: "poison", severity: "fault", about: poison.subject },
      ...{
        what: `${poison.subject} ${firstLine(poison.message)}`,
        evidence: [agoText(poison.at, now)],
        todo: "Correct its handler; the reports have stacks and last lines: paceline deaths",
      },
    });
  return found;
}
