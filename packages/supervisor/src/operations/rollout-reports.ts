/** What an operator is told of a rollout: how it ended, why a new process was lost, what a drain waits for. */
import type { OperationResult } from "../control/api.js";
import type { Rollout } from "../core/rollout.js";
import { seconds } from "../core/words.js";
import type { LiveProcess } from "../processes/live-process.js";

/** Why a recycling was ended. */
export const COMES_FIRST = "interrupted by another operation";

export type RolloutStep = Rollout["current"][number]["step"];

export interface Loss {
  reason: string;
  lastLines: string[];
}

interface End {
  level: "info" | "error";
  /** The event. */
  text: string;
  result: OperationResult;
}

/** @param known whether the pool has a ready instance, and the last lines of the failed replacement */
export function endOf(
  pool: string,
  rollout: Rollout,
  outcome: NonNullable<Rollout["outcome"]>,
  known: { isServing: boolean; lastLines: string[] },
): End {
  const { kind, done, total } = rollout;
  if (outcome.ok) {
    const result: OperationResult = { ok: true, message: `${pool}: ${kind} done, ${total} of ${total}` };
    return { level: "info", text: `${kind} done: ${total} of ${total}`, result };
  }
  const old = known.isServing ? keeping(rollout.inPlace) : "no instance is ready";
  const left = done.length === 0 ? old : `${done.length} of ${total} are new`;
  const isAside = outcome.reason === COMES_FIRST;
  const code = isAside ? "busy" : codeOf(rollout);
  const what = {
    "release-refused": "refused",
    "taken-back": "taken back",
    failed: `${kind} failed`,
    busy: `${kind} failed`,
  };
  const text = `${what[code]}: ${outcome.reason}; ${left}`;
  const result: OperationResult = { ok: false, code, message: `${pool}: ${text}`, lastLines: known.lastLines };
  return isAside ? { level: "info", text: `recycle ends: ${COMES_FIRST}`, result } : { level: "error", text, result };
}

/** A deploy that has had no client's request differs for its caller from one that was taken back. */
function codeOf({ kind, canary }: Rollout): "failed" | "release-refused" | "taken-back" {
  if (kind !== "deploy") return "failed";
  return canary?.hadRequests === false ? "release-refused" : "taken-back";
}

function keeping(inPlace: boolean): string {
  return inPlace ? "the former version runs again" : "the old instances keep serving";
}

interface Lost {
  step: RolloutStep;
  processState: string;
  /** The process, if it is still known, and how it ended, if it has. */
  live: LiveProcess | undefined;
  ending: { reason: string; lastLines: string[] } | undefined;
}

export function lossOf(slot: string, { step, processState, live, ending }: Lost): Loss {
  const ours = [live?.verdict, live?.fault].filter((text) => text != null).join(": ");
  const why = ours || (ending?.reason ?? `it is ${processState}`);
  const what = step === "starting" ? "failed to start" : "was ready, but did not stay ready";
  return {
    reason: `the new ${slot} ${what}: ${why}`,
    lastLines: ending?.lastLines ?? [...(live?.output.lastLines ?? [])],
  };
}

/** Returns what an outgoing process still has to finish. */
export function drainText(inFlight: number, drainTimeoutMs: number): string {
  const requests = inFlight === 1 ? "1 request" : `${inFlight} requests`;
  return `the outgoing process has ${requests} in flight and ${seconds(drainTimeoutMs)} at most to finish`;
}
