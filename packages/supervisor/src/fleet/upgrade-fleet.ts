/**
 * Upgrades a running fleet to the version of this package: the supervisor first, then the balancers, then the pools. If that fails, returns
 * to the former version.
 */
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Status, SupervisorProgram } from "../control/api.js";
import { PacelineError } from "../errors.js";
import { builtFile, version } from "../package.js";
import { readState } from "../run-dir/fleet-state.js";
import { findRuntimes, runtimeCommand } from "../runtime/runtimes.js";
import type { OperationDone, OperationOptions } from "./api.js";
import type { FleetClient } from "./fleet.js";

const POLL_MS = 50;
/** Longer than the running supervisor waits for the one of this version. In milliseconds. */
const TAKE_OVER_MS = 60_000;
/** The supervisor's program, which is the same in every version. */
const ENTRY = "programs/cli/main.js";

interface UpgradeOptions extends OperationOptions {
  supervisorOnly?: boolean | undefined;
  /** Whether to upgrade even if the version is the same. */
  force?: boolean | undefined;
}

/**
 * @throws PacelineError `refused` or `busy` if nothing was changed; `rolled-back` if the former version runs the whole fleet again;
 * otherwise the message lists what each version runs, and how to go back
 */
export async function upgradeFleet(
  fleet: FleetClient,
  { supervisorOnly = false, force = false, timeoutMs, onProgress = () => {} }: UpgradeOptions,
): Promise<OperationDone> {
  const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  const left = () => (deadline === undefined ? undefined : Math.max(1, deadline - performance.now()));
  const how = () => ({ timeoutMs: left(), onProgress });
  const before = await fleet.status();
  const to = version();
  if (before.version === to && !processesOf(before).some(isOther(to)) && !force)
    return { ok: true, message: `the fleet runs Paceline ${to} already` };
  let former: SupervisorProgram | undefined;
  if (before.version !== to || force) {
    check(fleet.runDir);
    const { details } = await fleet.handOver(programOf(to), { timeoutMs: left() });
    former = details?.former as SupervisorProgram | undefined;
    const { pid } = await takenOver(fleet, before, deadline);
    onProgress(`the supervisor is Paceline ${to} (pid ${pid})`);
  }
  if (!supervisorOnly) {
    try {
      await replaceAll(fleet, before, how);
    } catch (error) {
      throw await undone(error as PacelineError, fleet, { before, former, how });
    }
  }
  const verb = isEarlier(to, before.version) ? "went back" : "upgraded";
  return { ok: true, message: `${verb} from Paceline ${before.version} to ${to}` };
}

type How = () => OperationOptions & { onProgress: (message: string) => void };

async function replaceAll(fleet: FleetClient, { balancers }: Pick<Status, "balancers">, how: How): Promise<void> {
  const { onProgress } = how();
  if (balancers.length > 0) onProgress((await fleet.restart("balancer", how())).message);
  onProgress((await fleet.reload(how())).message);
}

interface Undo {
  before: Status;
  former: SupervisorProgram | undefined;
  how: How;
}

/** Returns to the former version if its files exist and no other operation is in progress. Returns the error for the caller. */
async function undone(error: PacelineError, fleet: FleetClient, { before, former, how }: Undo): Promise<PacelineError> {
  const { code, message, lastLines } = error;
  const to = version();
  const program = former?.args.at(-1) ?? "";
  const isThere = former !== undefined && before.version !== to && versionOf(program) === before.version;
  const again = isThere
    ? `${commandOf(program)} upgrade`
    : `install Paceline ${before.version} and run its \`paceline upgrade\``;
  const mixed = async (why: string) => {
    const now = await fleet.status().catch(() => undefined);
    const runs = now === undefined ? "" : `; ${describeVersions(now)}`;
    const back = before.version === to ? "" : `; to go back: ${again}`;
    return new PacelineError(code, `${why}${runs}${back}`, { lastLines });
  };
  // The deadline ends only the wait. The operation in progress refuses another hand-over.
  if (code !== "failed" || !isThere) return mixed(message);
  const { onProgress } = how();
  onProgress(`${message}; going back to Paceline ${before.version}`);
  try {
    const now = await fleet.status();
    await fleet.handOver(former, how());
    await takenOver(fleet, now, undefined);
    const isNew = ({ version }: Versioned) => version === to;
    if (now.balancers.some(isNew)) onProgress((await fleet.restart("balancer", how())).message);
    if (now.pools.some(({ instances }) => instances.some(isNew))) onProgress((await fleet.reload(how())).message);
  } catch (failure) {
    return mixed(`${message}; going back failed: ${(failure as Error).message}`);
  }
  const text = `the upgrade failed, and Paceline ${before.version} runs the whole fleet again: ${message}`;
  return new PacelineError("rolled-back", text, { lastLines });
}

interface Versioned {
  name: string;
  version?: string | null;
}

function processesOf({ balancers, pools }: Status): Versioned[] {
  return [...balancers, ...pools.flatMap(({ instances }) => instances)];
}

function isOther(than: string): (process: Versioned) => boolean {
  return ({ version }) => version != null && version !== than;
}

const MAX_NAMED = 5;

/** Returns for example `the supervisor and balancer.1 run Paceline 0.2.0; web.1, web.2 run 0.1.0 until they end, then 0.2.0`. */
function describeVersions(status: Status): string {
  const others = processesOf(status).filter(isOther(status.version));
  if (others.length === 0) return `the whole fleet runs Paceline ${status.version}`;
  const names = others.slice(0, MAX_NAMED).map(({ name, version }) => `${name} (${version})`);
  const more = others.length > MAX_NAMED ? ` and ${others.length - MAX_NAMED} more` : "";
  return `the supervisor runs Paceline ${status.version}; ${names.join(", ")}${more} do not yet, and restart with it when they end`;
}

/** Returns the version of the package that contains the program now; undefined if it is gone. */
function versionOf(program: string): string | undefined {
  try {
    const manifest = readFileSync(`${packageOf(program)}/package.json`, "utf8");
    return existsSync(program) ? (JSON.parse(manifest) as { version: string }).version : undefined;
  } catch {
    return undefined;
  }
}

function commandOf(program: string): string {
  const command = `${packageOf(program)}/bin/paceline`;
  return existsSync(command) ? command : "paceline";
}

function packageOf(program: string): string {
  return program.slice(0, -`/dist/${ENTRY}`.length);
}

/** Compares numbers only: prereleases of one version count as equal. */
function isEarlier(a: string, b: string): boolean {
  const [left, right] = [a, b].map((each) => each.split(/[.-]/).slice(0, 3).map(Number)) as [number[], number[]];
  const at = left.findIndex((number, index) => number !== right[index]);
  return at >= 0 && (left[at] as number) < (right[at] ?? 0);
}

/** @throws PacelineError `refused` if this version cannot continue from the state of the running fleet */
function check(runDir: string): void {
  const { state, problem } = readState(runDir);
  if (state !== undefined) return;
  const why = problem ?? "there is none";
  throw new PacelineError(
    "refused",
    `Paceline ${version()} cannot use the state of the fleet: ${why}; nothing was changed`,
  );
}

function programOf(to: string): SupervisorProgram {
  const runtimes = findRuntimes();
  const { command, args } = runtimeCommand(runtimes, runtimes.preferred, {
    entry: builtFile(ENTRY),
    hasUserCode: false,
  });
  return { version: to, command, args };
}

/**
 * Resolves when the next supervisor runs the fleet.
 * @throws PacelineError `rolled-back` or `timeout`
 */
async function takenOver(fleet: FleetClient, before: Status, deadline: number | undefined): Promise<Status> {
  const end = Math.min(performance.now() + TAKE_OVER_MS, deadline ?? Number.POSITIVE_INFINITY);
  while (performance.now() < end) {
    await sleep(POLL_MS);
    const now = await fleet.status({ timeoutMs: 5_000 }).catch(() => undefined);
    if (now === undefined) continue;
    if (now.pid !== before.pid && now.state === "running") return now;
    if (now.rolledBack === null || now.rolledBack === undefined || now.rolledBack.at === before.rolledBack?.at)
      continue;
    throw new PacelineError("rolled-back", `Paceline ${before.version} continues to run: ${now.rolledBack.reason}`);
  }
  throw new PacelineError("timeout", "it is still unknown which supervisor runs the fleet");
}
