/** Continues a stop whose supervisor was killed, until no process of the fleet is running. */
import { setTimeout as sleep } from "node:timers/promises";
import { PacelineError } from "../errors.js";
import { actAsOwner } from "../run-dir/fleet-user.js";
import { isRunning, lockHolder, type ProcessIdentity } from "../run-dir/lock.js";
import { findRevivals } from "../run-dir/orphans.js";
import { openRunDir } from "../run-dir/run-dir.js";
import type { OperationDone } from "./api.js";
import { findRunningFleet, findSettledFleet } from "./find-fleet.js";

/** How long a supervisor may take after its fleet has stopped to write its records and exit, in milliseconds. */
const END_TIMEOUT_MS = 10_000;
const END_POLL_MS = 10;
/** How long a supervisor may take to exit after its connection is lost, in milliseconds. */
const EXIT_TIMEOUT_MS = 3_000;
/** The maximum number of attempts. Each further attempt meets another supervisor that is also killed. */
const MAX_ROUNDS = 100;
/** A supervisor that keeps running loses the connection of at most one request. */
const MAX_LOST = 3;

/** Asks the supervisor of this control socket to stop its fleet. */
type Ask = (controlSocket: string, timeoutMs: number | undefined) => Promise<OperationDone>;

/**
 * Stops the rest of a fleet whose supervisor was killed. If another supervisor takes over meanwhile, asks it to stop the fleet.
 * @param deadline by performance.now()
 * @throws PacelineError `timeout`, `busy` during an upgrade, `failed` if a process does not exit
 */
export async function stopRest(runDir: string, ask: Ask, deadline = Number.POSITIVE_INFINITY): Promise<OperationDone> {
  const left = () => (deadline === Number.POSITIVE_INFINITY ? undefined : Math.max(1, deadline - performance.now()));
  let asked: ProcessIdentity | undefined;
  let lost = 0;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const { state, controlSocket } = await findSettledFleet({ runDir });
    if (state === "starting" || state === "upgrading") await findRunningFleet({ runDir });
    try {
      if (state === "up") return await untilEnded(runDir, () => ask(controlSocket, left()));
      // Even if none of the fleet's processes is left: programs that its apps have started may still run.
      await endRest(runDir, left());
      const message =
        state === "orphaned" ? "stopped the processes of a killed supervisor" : "nothing of the fleet runs any more";
      return { ok: true, message };
    } catch (error) {
      const isAnother = error instanceof PacelineError && error.code === "running";
      if (!isAnother && !isLoss(error)) throw error;
      const holder = await supervisorGone(runDir);
      lost = holder !== undefined && holder.pid === asked?.pid ? lost + 1 : 1;
      asked = holder;
      if (holder !== undefined && lost >= MAX_LOST)
        throw new PacelineError("failed", `the supervisor (pid ${holder.pid}) runs, but: ${(error as Error).message}`);
    }
  }
  throw new PacelineError("failed", "supervisors of the fleet are started and killed repeatedly");
}

/** Whether the supervisor has exited before it has finished the operation. */
export function isLoss(error: unknown): boolean {
  return error instanceof PacelineError && ["lost", "not-running", "orphaned"].includes(error.code);
}

/** Waits after `stop` until the supervisor has exited, too, or does not exit in time. */
export async function untilEnded(runDir: string, stop: () => Promise<OperationDone>): Promise<OperationDone> {
  const supervisor = lockHolder(runDir);
  const done = await stop();
  await ended(supervisor === undefined ? [] : [supervisor]);
  await ended(findRevivals(runDir));
  return done;
}

/**
 * Waits until the lock is free: the sockets of a killed process close before it has exited.
 * @returns the process that still holds it after that time
 */
export async function supervisorGone(
  runDir: string,
  timeoutMs = EXIT_TIMEOUT_MS,
): Promise<ProcessIdentity | undefined> {
  const deadline = performance.now() + timeoutMs;
  let holder = lockHolder(runDir);
  while (holder !== undefined && performance.now() < deadline) {
    await sleep(END_POLL_MS);
    holder = lockHolder(runDir);
  }
  return holder;
}

/** @throws PacelineError `running` if another supervisor has taken over the fleet */
async function endRest(runDir: string, timeoutMs: number | undefined): Promise<void> {
  const endActing = actAsOwner(runDir);
  try {
    const held = await openRunDir(runDir, { replace: true, timeoutMs });
    // A balancer may have started the next supervisor, which finds nothing to continue.
    await ended(findRevivals(runDir));
    held.release();
  } finally {
    endActing();
  }
}

async function ended(processes: ProcessIdentity[]): Promise<void> {
  const deadline = performance.now() + END_TIMEOUT_MS;
  while (processes.some(isRunning) && performance.now() < deadline) await sleep(END_POLL_MS);
}
