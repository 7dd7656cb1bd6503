/** Decides what needs attention now, by the rules of `explain`, for the dashboard, the page, `top --plain` and the status. Pure. */
import { allFindings } from "./explain.js";
import { failsNow } from "./explain-figures.js";
import type { Facts, Finding, FleetFacts } from "./explain-model.js";
import { isFailing } from "./words.js";

export interface Attention extends Finding {
  severity: "fault" | "warning";
  /** Whether `about` is a process, and restarting it may help. */
  mayRestart: boolean;
}

/** The maximum number of entries. */
const MOST = 100;
const NOTHING = { history: [], requests: [], open: [], watchedMs: 0, lines: [] };
/** Faults of one process that a new process does not have at first. */
const ENDS_WITH_PROCESS: ReadonlySet<string> = new Set([
  "failed",
  "waiting",
  "stopped",
  "stalled",
  "blocked",
  "slow",
  "errors",
  "leak",
  "grows",
  "large",
]);

/** Returns the faults and warnings, most serious first. */
export function attentionOf(fleet: FleetFacts, known: Pick<Facts, "now" | "events" | "deaths">): Attention[] {
  if (isStillStarting(fleet)) return [];
  const findings = allFindings(fleet, { ...NOTHING, ...known, fleet });
  return findings
    .flatMap((finding): Attention[] => {
      const { severity, kind, about } = finding;
      if (severity === "note" || isOfThePast(fleet, finding)) return [];
      return [{ ...finding, severity, mayRestart: about.includes(".") && ENDS_WITH_PROCESS.has(kind) }];
    })
    .slice(0, MOST);
}

/** Whether it is normal that instances are missing. */
function isStillStarting({ state, pools }: FleetFacts): boolean {
  return state === "starting" && !pools.some(({ instances }) => instances.some(isFailing));
}

/** Whether only the counts since the start show the problem. */
function isOfThePast({ pools }: FleetFacts, { kind, about }: Finding): boolean {
  if (kind === "retries") return true;
  if (kind !== "errors") return false;
  const named = [...pools, ...pools.flatMap(({ instances }) => instances)].find(({ name }) => name === about);
  return named === undefined || !failsNow(named);
}
