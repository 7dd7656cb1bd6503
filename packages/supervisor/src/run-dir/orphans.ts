/** The processes of a fleet whose supervisor was killed: how they are found, described and stopped. */
import { readFileSync, realpathSync, statSync } from "node:fs";
import { CHANNEL_ENVIRONMENT, type CommandSpec, lostMarkPath, SPAWN_TAG } from "@paceline/wire";
import { attempt, endAll, endLeftoverProcesses, processesOf, readProcessTable, spawnTagOf } from "@paceline/wire/proc";
import { PacelineError } from "../errors.js";
import { type FleetFile, startCommandOf } from "./fleet-file.js";
import { readState } from "./fleet-state.js";
import { bootId, identify, isRunning, type ProcessIdentity } from "./lock.js";
import { fleetTag } from "./run-dir-files.js";

/** The part of a ChildSpec that is needed here. */
interface SpecOfOrphan {
  restart?: object;
  drainTimeoutMs?: number;
  command?: Pick<CommandSpec, "address">;
}

export interface Orphan {
  /** The leader of a session and of a process group. */
  pid: number;
  identity: ProcessIdentity;
  /** For example `web.3` or `balancer.1`. */
  name: string;
  isBalancer: boolean;
  /** For example `web`; undefined if the environment of a template does not have it any more. */
  pool: string | undefined;
  /** NaN if its environment does not have it. */
  attempt: number;
  generation: number;
  /** The command of a shim. */
  command: SpecOfOrphan["command"] | undefined;
  /** For a balancer: whether it starts the supervisor again after a kill. */
  canRevive: boolean;
  /** The secret in its hello message. */
  token: string | undefined;
  /** The drain timeout of its pool. */
  drainTimeoutMs: number;
  /** The spawn tag of a command's processes, or of the processes that an instance starts. */
  spawnTag: string | undefined;
}

const LOOK_EVERY_MS = 50;
/** How long the processes may take to exit after SIGKILL. */
const KILL_TIMEOUT_MS = 5_000;
const DEFAULT_DRAIN_MS = 30_000;

/** Finds the processes that were started with this control channel socket; returns none without /proc. */
export function findOrphans(channelSocket: string): Orphan[] {
  return readProcessTable().flatMap(({ pid }) => {
    const environment = attempt(() => readFileSync(`/proc/${pid}/environ`, "utf8")) ?? "";
    if (!environment.includes(`${CHANNEL_ENVIRONMENT.channel}=${channelSocket}\0`)) return [];
    const identity = identify(pid);
    if (identity === undefined) return [];
    const value = (name: string) => new RegExp(`(?:^|\\0)${name}=([^\\0]*)`).exec(environment)?.[1];
    const spec = attempt(() => JSON.parse(value(CHANNEL_ENVIRONMENT.spec) ?? "{}") as SpecOfOrphan);
    const pool = value("PACELINE_POOL");
    return {
      pid,
      identity,
      name: value("PACELINE_INSTANCE") ?? `pid ${pid}`,
      isBalancer: pool === "balancer",
      pool,
      attempt: Number(value(CHANNEL_ENVIRONMENT.attempt)),
      generation: Number(value("PACELINE_GENERATION")),
      command: spec?.command,
      canRevive: spec?.restart !== undefined,
      token: value(CHANNEL_ENVIRONMENT.token),
      drainTimeoutMs: spec?.drainTimeoutMs ?? DEFAULT_DRAIN_MS,
      spawnTag: value(SPAWN_TAG),
    };
  });
}

/**
 * Finds the `start` processes that balancers have launched to continue with this fleet, even if they have not opened its run directory yet.
 */
export function findRevivals(runDir: string): ProcessIdentity[] {
  const meant = attempt(() => realpathSync(runDir)) ?? runDir;
  return readProcessTable().flatMap(({ pid }) => {
    const words = (attempt(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) ?? "").split("\0");
    const given = words[words.indexOf("--run-dir") + 1] ?? "";
    if (!words.includes("--only-adopts") || (attempt(() => realpathSync(given)) ?? given) !== meant) return [];
    return identify(pid) ?? [];
  });
}

/** Whether the process with a pid and start time from the state is another program, for example because the state was copied or edited. */
export function isForeign(boot: string | undefined, pid: number, token: string, channelSocket: string): boolean {
  if (boot !== undefined && boot !== bootId()) return true;
  const environment = attempt(() => readFileSync(`/proc/${pid}/environ`, "latin1"));
  return environment !== undefined && isOfAnother(environment, token, channelSocket);
}

/**
 * Whether an environment, as /proc shows it, belongs to a program that is not a process of the fleet. False if that cannot be decided,
 * because a program that changes its title may have overwritten its environment.
 */
export function isOfAnother(environment: string, token: string, channelSocket: string): boolean {
  const entries = environment.split("\0").filter((entry) => entry !== "");
  if (entries.length === 0 || !entries.every((entry) => /^[^=\s]+=/.test(entry))) return false;
  // A forked process shows the environment of its template, with another token.
  const { channel, token: name } = CHANNEL_ENVIRONMENT;
  return !entries.includes(`${name}=${token}`) && !entries.includes(`${channel}=${channelSocket}`);
}

/**
 * Stops the processes gracefully: the balancers first, then the instances, then the processes that the apps have started.
 * @returns the processes that could not be stopped
 * @throws PacelineError `timeout`; processes that are still running then continue to drain
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

/**
 * Kills leftover processes of a fleet's apps after their instances have exited: those in the sessions of the instances, or with the fleet's
 * spawn tag.
 */
export async function endLeftovers(channelSocket: string, instances: readonly Orphan[] = []): Promise<void> {
  const tag = fleetTag(channelSocket);
  await endAll(() => {
    const rows = readProcessTable();
    const found = new Set(rows.filter(({ pid }) => spawnTagOf(pid)?.startsWith(tag)).map(({ pid }) => pid));
    for (const { pid, identity } of instances) {
      // The pid may have been reused.
      if (rows.some((row) => row.pid === pid) && !isRunning(identity)) continue;
      for (const each of processesOf(pid, rows)) found.add(each);
    }
    // The process that calls this may itself have been started by an app.
    const parents = new Map(rows.map(({ pid, parent }) => [pid, parent]));
    for (let own: number | undefined = process.pid; own !== undefined; own = parents.get(own)) found.delete(own);
    return [...found];
  });
}

/** Stops processes gracefully, and kills those that take longer than their drain timeout. */
export function endGracefully(orphans: Orphan[]): Promise<void> {
  return end(orphans, Number.POSITIVE_INFINITY);
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
    // A killed shim cannot kill the processes that its command has started.
    if (orphan.spawnTag !== undefined) void endLeftoverProcesses({ leader: orphan.pid, tag: orphan.spawnTag });
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
  // The shim forwards SIGTERM to its command; a signal to the group would reach the command twice.
  attempt(() => process.kill(name === "SIGTERM" ? orphan.pid : -orphan.pid, name));
}

export const HOW_TO_REPLACE =
  "`paceline stop` ends them; `paceline start --replace` ends them and starts the fleet again";

export function describeOrphans(
  runDir: string,
  record: FleetFile | undefined,
  channelSocket: string,
  count: number,
): string {
  const lostAt = statSync(lostMarkPath(channelSocket), { throwIfNoEntry: false })?.mtimeMs;
  const isRecent = lostAt === undefined || Date.now() - lostAt < REVIVAL_MS;
  const revives = isRecent && findOrphans(channelSocket).some(({ canRevive }) => canRevive);
  return `${describeLoss(record, channelSocket, count)}\n${howToGoOn(readState(runDir).state !== undefined, revives, record === undefined ? "paceline start" : startCommandOf(record))}`;
}

/** By then a balancer has made its first attempts to start the next supervisor; see Revival. */
const REVIVAL_MS = 15_000;

/**
 * @param revives whether a balancer is about to start the next supervisor
 * @param start the command that starts the fleet; undefined if it is unknown
 */
export function howToGoOn(canGoOn: boolean, revives: boolean, start: string | undefined): string {
  if (!canGoOn) return HOW_TO_REPLACE;
  const command = start === undefined ? "`paceline start` with the arguments of the first start" : `\`${start}\``;
  const how = revives
    ? `a balancer starts the next supervisor within seconds, which takes them over; so does ${command}`
    : `${command} takes them over`;
  return `${how}; \`paceline stop\` ends them`;
}

/** Describes in one line, without advice, that the supervisor was lost. */
export function describeLoss(record: FleetFile | undefined, channelSocket: string, count: number): string {
  const lostAt = statSync(lostMarkPath(channelSocket), { throwIfNoEntry: false })?.mtimeMs;
  const who = record === undefined ? "the supervisor" : `the supervisor of ${record.name} (pid ${record.pid})`;
  const since = lostAt === undefined ? "" : ` at ${clock(lostAt)}`;
  const [processes, then] =
    count === 1
      ? ["1 process of it keeps running", "drains and exits"]
      : [`${count} processes of it keep running`, "drain and exit"];
  const until =
    lostAt === undefined || record === undefined
      ? "for the rest of orphanGraceMs"
      : `until ${clock(lostAt + record.orphanGraceMs)}, then ${then}`;
  return `${who} was killed${since}; ${processes} ${until}`;
}

/** Formats a time as local HH:MM:SS. */
function clock(at: number): string {
  return new Date(at).toTimeString().slice(0, 8);
}
