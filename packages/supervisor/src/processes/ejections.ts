/** The ejections that balancers report: an event for each change, and what the status shows. Each balancer judges by itself. */
import type { UpstreamStats } from "@paceline/wire";
import { seconds } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";

/** An ejection of a process by one balancer. Times are values of `performance.now()`. */
export interface Ejection {
  reason: string;
  /** The number that this balancer gave to the ejection. */
  number: number;
  since: number;
  until: number;
}

const MAX_REASON_TEXT = 300;

/** Records what a balancer reports about a process. */
export function noteEjection(
  log: EventLog,
  child: { readonly name: string; readonly ejections: Map<string, Ejection>; ejectionsTotal: number },
  balancer: { readonly id: string; readonly name: string },
  reported: UpstreamStats["ejected"],
  now: number,
): void {
  const known = child.ejections.get(balancer.id);
  if (reported === undefined) {
    if (known === undefined) return;
    child.ejections.delete(balancer.id);
    log.event("info", child.name, `is readmitted by ${balancer.name} after ${seconds(now - known.since)}`);
    return;
  }
  const { number, forMs } = reported;
  if (known?.number === number) return;
  const reason = reported.reason.slice(0, MAX_REASON_TEXT);
  child.ejectionsTotal++;
  child.ejections.set(balancer.id, { reason, number, since: now, until: now + forMs });
  log.event("warn", child.name, `is ejected by ${balancer.name} for ${seconds(forMs)}: ${reason}`, "ejected");
}

/**
 * Returns whether a process gets no new requests because of its health. Returns "failing" if it should get none, but all balancers
 * concerned still send it requests.
 */
export function outForHealth(child: {
  readonly failsChecks: boolean;
  readonly ejections: ReadonlyMap<string, unknown>;
  readonly relayed: ReadonlyMap<string, unknown>;
  readonly servedAnywayBy: ReadonlySet<string>;
}): "ejected" | "failing" | null {
  const { failsChecks, ejections, relayed, servedAnywayBy } = child;
  if (!failsChecks && ejections.size === 0) return null;
  const concerned = [...(failsChecks ? relayed : ejections).keys()];
  return concerned.length > 0 && concerned.every((id) => servedAnywayBy.has(id)) ? "failing" : "ejected";
}
