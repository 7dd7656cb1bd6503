/** The required result of a history: a fleet as wanted, and each POST request run once. */
import path from "node:path";
import { read } from "./processes.mjs";

/**
 * Returns the differences from the wanted state; empty if there are none.
 * @param history has the wanted state, and the existing processes
 */
export function differenceOf({ pools, balancers, pid }, history) {
  const slots = [...pools.flatMap(({ instances }) => instances), ...balancers];
  const web = pools.find(({ name }) => name === "web");
  if (web === undefined) return "there is no pool";
  if (history.wanted !== undefined && !history.wasFull && web.wanted !== history.wanted)
    return `web wants ${web.wanted}, not ${history.wanted}`;
  if (web.instances.length !== web.wanted) return `web has ${web.instances.length} of ${web.wanted} slots`;
  if (balancers.length !== history.balancers) return `${balancers.length} of ${history.balancers} balancers`;
  const unready = slots.filter(({ state, other }) => state !== "ready" || other !== null);
  if (unready.length > 0)
    return unready.map(({ name, state, other }) => `${name} ${state} ${JSON.stringify(other)}`).join(", ");
  if (web.rollout !== null) return `a rollout goes on: ${JSON.stringify(web.rollout)}`;
  const templates = pools.flatMap((pool) => pool.templates);
  const known = new Set([pid, ...[...slots, ...templates].map((one) => one.pid)]);
  // A command is a child of its shim.
  const unknown = history.processes().filter((one) => !known.has(one.pid) && !known.has(one.parent));
  return unknown.map((one) => `${one.name} (${one.pid}) is left over`).join(", ");
}

/** Returns the POST requests that ran twice, and those that have a response but did not run. */
export function ledgerProblems(folder, acknowledged) {
  const problems = [];
  const ran = read(path.join(folder, "ledger")).trimEnd().split("\n");
  const once = new Set(ran);
  if (once.size < ran.length) problems.push(`${ran.length - once.size} POSTs ran twice`);
  const missing = [...acknowledged].filter((body) => !once.has(body));
  if (missing.length > 0) problems.push(`no instance ran ${missing.join(", ")}, which have a response`);
  return problems;
}
