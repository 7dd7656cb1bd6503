/**
 * The hook that is running, in a file of the run directory. The supervisor that follows a killed one ends the hook at its deadline, or
 * earlier.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readRegularFile } from "@paceline/wire";
import { attempt, readProcessTable } from "@paceline/wire/proc";
import { HOOK_NAMES, type HookName } from "../core/model.js";
import { bootId, identify, isRunning, type ProcessIdentity } from "./lock.js";
import { replaceFile } from "./run-dir-files.js";

/** The process is the leader of a process group. */
interface HookRecord extends ProcessIdentity {
  name: HookName;
  /** The deadline, in Unix time in milliseconds. */
  until: number;
}

export interface FormerHook {
  readonly name: HookName;
  readonly until: number;
  /** Resolves when the hook has exited, at the latest a bounded time after its deadline. */
  readonly ended: Promise<void>;
  /** Kills the hook before its deadline. */
  kill(): void;
}

const NAME = "hook.json";
const MAX_BYTES = 64 << 10;
const LOOK_EVERY_MS = 100;
/** The time from SIGTERM to SIGKILL, and from SIGKILL to giving up. */
const KILL_AFTER_MS = 5_000;

/** @throws PacelineError with the system's code, for example `ENOSPC` */
export function writeHook(runDir: string, name: HookName, pid: number, timeoutMs: number): void {
  const identity = identify(pid);
  if (identity === undefined) return;
  const record: HookRecord = { ...identity, name, until: Date.now() + timeoutMs };
  replaceFile(join(runDir, NAME), `${JSON.stringify(record)}\n`);
}

export function removeHook(runDir: string): void {
  attempt(() => rmSync(join(runDir, NAME), { force: true }));
}

/** Returns the hook that a killed supervisor has left running. From now on this process enforces its deadline. */
export function followHook(runDir: string): FormerHook | undefined {
  const record = attempt(
    () => JSON.parse(readRegularFile(join(runDir, NAME), { maxBytes: MAX_BYTES }).toString()) as unknown,
  );
  if (!isRecord(record) || !isRunning(record)) {
    if (isRecord(record) && hasLeft(record)) attempt(() => process.kill(-record.pid, "SIGKILL"));
    removeHook(runDir);
    return undefined;
  }
  const { name, pid, until } = record;
  let endBy = until;
  const signal = (which: NodeJS.Signals) => attempt(() => process.kill(-pid, which));
  const follow = async () => {
    // A caller that kills the hook at once awaits this promise. Otherwise the timer must not keep alive a supervisor that hands over.
    await Promise.resolve();
    let killAt: number | undefined;
    while (isRunning(record)) {
      const now = Date.now();
      if (killAt === undefined && now >= endBy) {
        signal("SIGTERM");
        killAt = now + KILL_AFTER_MS;
      } else if (killAt !== undefined && now >= killAt) signal("SIGKILL");
      if (killAt !== undefined && now >= killAt + KILL_AFTER_MS) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOOK_EVERY_MS);
        if (killAt === undefined) timer.unref();
      });
    }
    // The processes that the hook left in the background have no owner.
    signal("SIGKILL");
    removeHook(runDir);
  };
  const kill = () => {
    endBy = 0;
  };
  return { name, until, ended: follow(), kill };
}

/**
 * Whether a hook that has exited by itself has left processes in its group. Its pid may be that of another group leader by now, so one of
 * the processes must be younger than the hook and have its environment.
 */
function hasLeft({ pid, startedAt, boot, name }: HookRecord): boolean {
  if (boot !== bootId()) return false;
  const mark = `PACELINE_HOOK=${name}`;
  const isMarked = (each: number) =>
    attempt(() => readFileSync(`/proc/${each}/environ`, "latin1").split("\0").includes(mark)) === true;
  return readProcessTable().some(
    (row) => row.session === pid && row.startTime >= Number(startedAt) && isMarked(row.pid),
  );
}

/** Kills the hook that a killed supervisor has left running. */
export async function endHook(runDir: string): Promise<void> {
  const hook = followHook(runDir);
  hook?.kill();
  await hook?.ended;
}

function isRecord(value: unknown): value is HookRecord {
  const { name, pid, startedAt, boot, until } = (value ?? {}) as Partial<HookRecord>;
  const isIdentity = Number.isSafeInteger(pid) && (pid as number) > 1 && typeof startedAt === "string";
  return (
    isIdentity && typeof boot === "string" && typeof until === "number" && HOOK_NAMES.some((each) => each === name)
  );
}
