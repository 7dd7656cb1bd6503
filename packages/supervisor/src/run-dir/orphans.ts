/** The processes of a fleet whose supervisor was killed: which they are, what is said of them, and how they are ended from outside. */
import { readFileSync, statSync } from "node:fs";
import { CHANNEL_ENVIRONMENT, lostMarkPath, SPAWN_MARK } from "@paceline/wire";
import { attempt, endAll, endLeftoverProcesses, processesOf, readProcessTable, spawnTagOf } from "@paceline/wire/proc";
import { PacelineError } from "../errors.js";
import { identify, isRunning, type ProcessIdentity } from "./process-identity.js";
import type { FleetRecord } from "./record.js";
import { fleetTag } from "./run-dir-paths.js";

export interface Orphan {
  /** It leads a session and a process group. */
  pid: number;
  identity: ProcessIdentity;
  /** Such as `web.3` or `balancer.1`. */
  name: string;
  isBalancer: boolean;
  /** How long it may take over what it has in hand. */
  drainTimeoutMs: number;
  /** The mark of the processes of a command. */
  mark: string | undefined;
}

const LOOK_EVERY_MS = 50;
/** After SIGKILL. */
const KILL_TIMEOUT_MS = 5_000;
const DEFAULT_DRAIN_MS = 30_000;

/** The processes that were started with this link; none where there is no /proc. */
export function findOrphans(channelSocket: string): Orphan[] {
  return readProcessTable().flatMap(({ pid }) => {
    const environment = attempt(() => readFileSync(`/proc/${pid}/environ`, "utf8")) ?? "";
    if (!environment.includes(`${CHANNEL_ENVIRONMENT.channel}=${channelSocket}\0`)) return [];
    const identity = identify(pid);
    if (identity === undefined) return [];
    const value = (name: string) => new RegExp(`(?:^|\\0)${name}=([^\\0]*)`).exec(environment)?.[1];
    const spec = attempt(() => JSON.parse(value(CHANNEL_ENVIRONMENT.spec) ?? "{}") as { drainTimeoutMs?: number });
    const pool = value("PACELINE_POOL");
    return {
      pid,
      identity,
      name: value("PACELINE_INSTANCE") ?? `pid ${pid}`,
      isBalancer: pool === "balancer",
      drainTimeoutMs: spec?.drainTimeoutMs ?? DEFAULT_DRAIN_MS,
      mark: value(SPAWN_MARK),
    };
  });
}

/**
 * Ends them gracefully, the balancers before the instances that respond to them, and then what their apps have started.
 * @returns those that could not be ended
 * @throws PacelineError `timeout`; what has not ended by then goes on draining
 */
export async function endOrphans(channelSocket: string, timeoutMs = Number.POSITIVE_INFINITY): Promise<Orphan[]> {
  const all = findOrphans(channelSocket);
  const deadline = performance.now() + timeoutMs;
  await end(
    all.filter(({ isBalancer }) => isBalancer),
    deadline,
  );
  const instances = all.filter(({ isBalancer }) => !isBalancer);
  await end(instances, deadline);
  await endLeftovers(channelSocket, instances);
  return findOrphans(channelSocket);
}

/** Ends what the apps of a fleet have started, once their instances have ended: what is in a session of theirs, or has a spawn tag of the fleet. */
export async function endLeftovers(channelSocket: string, instances: readonly Orphan[] = []): Promise<void> {
  const tag = fleetTag(channelSocket);
  await endAll(() => {
    const rows = readProcessTable();
    const found = new Set(rows.filter(({ pid }) => spawnTagOf(pid)?.startsWith(tag)).map(({ pid }) => pid));
    for (const { pid, identity } of instances) {
      // Another process may have its number by now.
      if (rows.some((row) => row.pid === pid) && !isRunning(identity)) continue;
      for (const each of processesOf(pid, rows)) found.add(each);
    }
    // Whoever asks for it may itself be started by an app.
    const parents = new Map(rows.map(({ pid, parent }) => [pid, parent]));
    for (let own: number | undefined = process.pid; own !== undefined; own = parents.get(own)) found.delete(own);
    return [...found];
  });
}

async function end(orphans: Orphan[], deadline: number): Promise<void> {
  for (const orphan of orphans) signal(orphan, "SIGTERM");
  const drainMs = Math.max(0, ...orphans.map(({ drainTimeoutMs }) => drainTimeoutMs));
  await gone(orphans, Math.min(deadline, performance.now() + drainMs));
  if (orphans.some(isThere) && performance.now() >= deadline) {
    throw new PacelineError("timeout", "some processes did not exit in time and keep draining");
  }
  for (const orphan of orphans.filter(isThere)) {
    signal(orphan, "SIGKILL");
    // A shim that is killed cannot look after what its command has started.
    if (orphan.mark !== undefined) void endLeftoverProcesses({ leader: orphan.pid, mark: orphan.mark });
  }
  await gone(orphans, performance.now() + KILL_TIMEOUT_MS);
}

async function gone(orphans: Orphan[], deadline: number): Promise<void> {
  while (orphans.some(isThere) && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

function isThere({ identity }: Orphan): boolean {
  return isRunning(identity);
}

function signal(orphan: Orphan, name: "SIGTERM" | "SIGKILL"): void {
  if (!isThere(orphan)) return;
  // The shim hands SIGTERM on to its command; a program in its group would get it twice.
  attempt(() => process.kill(name === "SIGTERM" ? orphan.pid : -orphan.pid, name));
}

export function describeOrphans(record: FleetRecord | undefined, channelSocket: string, count: number): string {
  const remedy = "`paceline stop` ends them now; `paceline start --replace` ends them and starts the fleet again";
  return `${describeLoss(record, channelSocket, count)}\n${remedy}`;
}

/** The same in one line, without what can be done about it. */
export function describeLoss(record: FleetRecord | undefined, channelSocket: string, count: number): string {
  const lostAt = statSync(lostMarkPath(channelSocket), { throwIfNoEntry: false })?.mtimeMs;
  const who = record === undefined ? "the supervisor" : `the supervisor of ${record.name} (pid ${record.pid})`;
  const since = lostAt === undefined ? "" : ` at ${clock(lostAt)}`;
  const processes = count === 1 ? "1 process of it keeps serving" : `${count} processes of it keep serving`;
  const until =
    lostAt === undefined || record === undefined
      ? "for the rest of orphanGraceMs"
      : `until ${clock(lostAt + record.orphanGraceMs)}, then drain and exit`;
  return `${who} was killed${since}; ${processes} ${until}`;
}

/** `14:03:22`, local time. */
function clock(at: number): string {
  return new Date(at).toTimeString().slice(0, 8);
}
