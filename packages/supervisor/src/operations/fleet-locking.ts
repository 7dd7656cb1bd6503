/** The operator's lock on the fleet. It is a file in the run directory, so that it outlives the supervisor and a stop. */
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { readRegularFile } from "@paceline/wire";
import type { OperationResult, Status } from "../control/api.js";
import { type FleetLock, lockText, readLock, reasonProblem } from "../core/fleet-lock.js";
import { type Caller, callerText, readCaller } from "../core/history.js";
import type { EventLog } from "../logs/event-log.js";
import { replaceFile } from "../run-dir/run-dir-files.js";
import type { Refusal } from "./rollouts.js";

/** More than the size of any lock, in bytes. */
const MAX_BYTES = 64 << 10;
const HOW_TO_UNLOCK = "paceline unlock removes the lock";

export class FleetLocking {
  private lock: FleetLock | undefined;
  /** Identifies the contents of the file from which `lock` was read. */
  private version = "";
  private readonly path: string;

  constructor(
    runDir: string,
    private readonly log: Pick<EventLog, "event">,
  ) {
    this.path = join(runDir, "deploy-lock.json");
    this.look();
  }

  get status(): Status["lock"] {
    this.look();
    if (this.lock === undefined) return null;
    const { reason, by, since } = this.lock;
    return { reason, by: callerText(by), since };
  }

  /** Returns why changes are refused now; undefined without a lock. */
  refusal(): Refusal | undefined {
    this.look();
    if (this.lock === undefined) return undefined;
    return { ok: false, code: "busy", message: `the fleet is ${lockText(this.lock)}; ${HOW_TO_UNLOCK}` };
  }

  lockFor(reason: string, by: Caller | undefined): OperationResult {
    const problem = reasonProblem(reason);
    if (problem !== undefined) return { ok: false, code: "invalid", message: problem };
    const refusal = this.refusal();
    if (refusal !== undefined) return refusal;
    const lock: FleetLock = { version: 1, reason, by: by ?? readCaller(undefined), since: Date.now() };
    try {
      replaceFile(this.path, `${JSON.stringify(lock)}\n`);
    } catch (error) {
      return { ok: false, code: "failed", message: `the fleet is not locked: ${(error as Error).message}` };
    }
    this.lock = lock;
    this.version = this.versionNow();
    this.log.event("info", "paceline", lockText(lock));
    return { ok: true, message: lockText(lock) };
  }

  unlock(by: Caller | undefined): OperationResult {
    this.look();
    if (this.lock === undefined) return { ok: true, message: "the fleet is not locked" };
    const was = lockText(this.lock);
    try {
      rmSync(this.path, { force: true });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const why = code === "ERR_FS_EISDIR" || code === "EISDIR" ? `${this.path} is a folder: remove it` : message;
      return { ok: false, code: "failed", message: `the fleet stays ${was}: ${why}` };
    }
    this.lock = undefined;
    this.version = "";
    this.log.event("info", "paceline", `unlocked by ${callerText(by ?? readCaller(undefined))}`);
    return { ok: true, message: `unlocked; it was ${was}` };
  }

  /** Reads the file again if it was changed. If it was removed, the fleet stays locked until the next supervisor. */
  private look(): void {
    const version = this.versionNow();
    if (version === "" || version === this.version) return;
    this.version = version;
    this.lock = this.read();
  }

  /** Empty without a file. */
  private versionNow(): string {
    try {
      const stat = statSync(this.path, { throwIfNoEntry: false });
      return stat === undefined ? "" : `${stat.ino} ${stat.size} ${stat.ctimeMs}`;
    } catch (error) {
      return (error as Error).message;
    }
  }

  private read(): FleetLock | undefined {
    let text = "";
    let changedAt = Date.now();
    try {
      changedAt = Math.round(statSync(this.path).mtimeMs);
      text = readRegularFile(this.path, { maxBytes: MAX_BYTES }).toString();
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return undefined;
      this.log.event("warn", "paceline", `${this.path} cannot be read: ${message}; the fleet counts as locked`);
    }
    return readLock(text, readCaller(undefined), changedAt);
  }
}
