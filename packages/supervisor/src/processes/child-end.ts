/** The exit of a process: waits for its final report, cleans up after it, and describes in one line why it exited. */
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { collectAll, controlLanePath } from "@paceline/wire";
import { countsPath, scoreboardPath } from "@paceline/wire/lane/scoreboard";
import { endLeftoverProcesses, errorLineIn, errorLineOf, isOrdinaryLine } from "@paceline/wire/proc";
import { killText } from "../core/control-groups.js";
import type { ExitStatus } from "../core/model.js";
import type { Report } from "../core/process.js";
import { frameText } from "../core/stacks.js";
import { exitReason, seconds, unseenText } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import { blockingInPython, exitOfApp, REPORTED_LINES, stackOfPython, whereInPython } from "../logs/output.js";
import type { ControlGroups } from "./control-groups.js";
import type { Ending, LiveProcess } from "./live-process.js";
import { type Leftovers, signalGroup, startTimeOf } from "./processes.js";

/** How long the final report of an exited process may take to arrive, in milliseconds. */
export const FINAL_REPORT_MS = 1000;

const NO_PID = -1;

/**
 * After this many exited processes all garbage is collected. By then the objects of each one are old, and Bun would keep them for a long
 * time.
 */
const MANY = 50;
const COLLECT_AFTER_MS = 1000;
/** How often the collection is repeated after the last exit. Each collection returns to the system what the one before has freed. */
const COLLECTIONS = 3;

/** Signals that a program raises itself, so that its output may explain them. */
const FATAL_SIGNALS = new Set(["SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGTRAP"]);

/** A process that has exited. A process that could not be started has only these fields. */
type EndedProcess = Pick<LiveProcess, "id" | "pool" | "name" | "index" | "attempt" | "generation"> &
  Partial<LiveProcess>;

export interface ChildEndsOptions {
  log: EventLog;
  leftovers: Leftovers;
  groups: Pick<ControlGroups, "killIn" | "end">;
  memoryLimitOf(pool: string, generation: number): number;
  /** Returns the path of its output file. */
  outputPath(id: string): string;
  /** Returns all known processes. */
  all(): Iterable<LiveProcess>;
  report(target: Pick<LiveProcess, "pool" | "index">, report: Report): void;
  onEnded(process: EndedProcess, ending: Ending): void;
  /** Called when the process has exited, and its final report has arrived or timed out. */
  onOver(child: LiveProcess): void;
}

export class ChildEnds {
  private readonly finalReports = new Map<string, NodeJS.Timeout>();
  /** The scoreboards of processes that have just exited. */
  private readonly leftScoreboards = new Map<string, NodeJS.Timeout>();

  private isClosed = false;
  /** How many processes have exited since the last collection of garbage, and how many collections are left. */
  private over = 0;
  private collections = 0;
  private collecting: NodeJS.Timeout | undefined;

  constructor(private readonly options: ChildEndsOptions) {}

  /** Called when its channel closed. Returns whether the process had already exited. */
  channelClosed(child: LiveProcess): boolean {
    if (child.heldExit !== null) this.ended(child, child.heldExit, null);
    if (child.exit === null) return false;
    this.forget(child);
    return true;
  }

  /** Forgets all exited processes without waiting for their final reports. From here on, exits are handled by another supervisor. */
  close(): void {
    this.isClosed = true;
    for (const child of [...this.options.all()]) if (child.exit !== null) this.forget(child);
    for (const [path, timer] of this.leftScoreboards) {
      clearTimeout(timer);
      rmSync(path, { force: true });
    }
    this.leftScoreboards.clear();
  }

  /** Handles the exit of a process. A shim reports its command's exit last, so this waits until its channel has closed. */
  exited(child: LiveProcess, status: ExitStatus): void {
    if (child.commandTag === null || child.connection === null) return this.ended(child, status, null);
    child.heldExit = status;
    setTimeout(() => this.ended(child, status, null), FINAL_REPORT_MS).unref();
  }

  ended(child: LiveProcess, ownStatus: ExitStatus, spawnFailure: string | null): void {
    if (child.exit !== null || this.isClosed) return;
    const { options } = this;
    const { commandTag } = child;
    // A shim exits with its command's status, as far as a process can.
    const status = child.commandExit ?? ownStatus;
    child.exit = status;
    // The pid of a process that was not a child of this one may have been reused.
    const pid = child.isAdopted && isReused(child) ? null : child.pid;
    // Kills the rest of its process group, because nothing could tell these processes to exit later.
    if (pid !== null) signalGroup(pid, "SIGKILL");
    // A shim that was killed could not kill the processes that its command had started in other sessions.
    const mayBeKilled = ownStatus.signal !== null || ownStatus.code === null;
    if (pid !== null && commandTag !== null && mayBeKilled) void endLeftoverProcesses({ leader: pid, tag: commandTag });
    if (child.pid !== null && child.tag !== null)
      options.leftovers.endOf(child.name, pid ?? NO_PID, child.tag, child.startTime);
    if (child.group !== null) {
      child.death.kernelKill = options.groups.killIn(child.group) ?? null;
      options.groups.end(child.group);
    }
    if (child.socket !== null) {
      for (const path of [child.socket, controlLanePath(child.socket)]) rmSync(path, { force: true });
      this.removeLater(scoreboardPath(child.socket));
    }
    try {
      child.output.close();
    } catch (error) {
      options.log.event("warn", child.name, `its output could not be read to the end: ${(error as Error).message}`);
    }
    if (child.kind === "balancer") {
      rmSync(countsPath(dirname(options.outputPath(child.id)), child.id), { force: true });
      for (const other of options.all()) {
        other.stats.balancerEnded(child.id);
        other.relayed.delete(child.id);
        other.ejections.delete(child.id);
        other.servedAnywayBy.delete(child.id);
      }
    }
    if (child.death.stack.length === 0) child.death.stack = stackOfPython(child.output.lastLines).map(frameText);
    const now = Date.now();
    const at = Math.min(child.lastSignAt ?? now, now);
    const how = spawnFailure === null ? exitReason(status).replace(/^was /, "") : `not started: ${spawnFailure}`;
    const unseen = child.lastSignAt === null ? "" : unseenText(at, now);
    const why = this.why(child, status);
    if (child.verdict !== null && why !== "") options.log.event("warn", child.name, why);
    else child.death.said = [unseen, why].filter((text) => text !== "").join(": ");
    const verdict = child.verdict === null ? "" : `${child.verdict}; `;
    const lived = seconds(Math.max(0, performance.now() - child.spawnedAt - (now - at)));
    const reason = `${verdict}${how} after ${lived}${unseen === "" ? "" : `, ${unseen}`}${why === "" ? "" : `: ${why}`}`;
    const lastLines = child.output.lastLines.slice(-REPORTED_LINES);
    const found = child.lastSignAt === null ? {} : { foundAt: now };
    options.onEnded(child, { status, at, ...found, reason, lastLines, isSpawnFailure: spawnFailure !== null });
    const { attempt } = child;
    if (spawnFailure === null) options.report(child, { type: "exited", attempt, status });
    else options.report(child, { type: "spawnFailed", attempt, reason: spawnFailure });
    if (child.connection === null) this.forget(child);
    else
      this.finalReports.set(
        child.id,
        setTimeout(() => this.forget(child), FINAL_REPORT_MS),
      );
  }

  /** Returns why it exited: a shim reports that over the control channel, other processes in their last output. */
  private why(child: LiveProcess, { code, signal }: ExitStatus): string {
    const { commandTag, fault, verdict, output, death } = child;
    if (death.kernelKill != null && verdict === null && signal === "SIGKILL")
      return killText(death.kernelKill, this.options.memoryLimitOf(child.pool, child.generation));
    if (commandTag !== null) return fault ?? "";
    if (verdict !== null) {
      const where = whereInPython(output.lastLines) ?? death.place;
      const request = blockingInPython(output.lastLines);
      if (request !== undefined) child.running = request;
      const running = request === undefined ? "" : `running ${request} `;
      return fault ?? (where === undefined ? "" : `it was ${running}in ${where}`);
    }
    const ended = exitOfApp(output.lastLines);
    if (ended !== undefined) {
      child.running = ended.request ?? child.running;
      return ended.text;
    }
    const lines = output.linesSince(linesCountSince(child.stats.servedAt, performance.now()));
    // Nobody knows whether it has failed.
    if (signal === null && code === null) return errorLineIn(lines);
    const isOwn = signal === null ? code !== 0 : FATAL_SIGNALS.has(signal);
    if (!isOwn) return "";
    const line = errorLineOf(lines);
    return isOrdinaryLine(line) ? "" : line;
  }

  /** Removes the scoreboard later, because balancers read from it what the process was running when it exited. */
  private removeLater(scoreboard: string): void {
    const timer = setTimeout(() => {
      this.leftScoreboards.delete(scoreboard);
      rmSync(scoreboard, { force: true });
    }, FINAL_REPORT_MS);
    this.leftScoreboards.set(scoreboard, timer);
  }

  private forget(child: LiveProcess): void {
    clearTimeout(this.finalReports.get(child.id));
    this.finalReports.delete(child.id);
    child.connection?.destroy();
    child.connection = null;
    this.options.onOver(child);
    if (++this.over < MANY) return;
    this.collections = COLLECTIONS;
    this.collectLater();
  }

  private collectLater(): void {
    this.collecting ??= setTimeout(() => {
      this.collecting = undefined;
      this.over = 0;
      collectAll();
      if (--this.collections > 0) this.collectLater();
    }, COLLECT_AFTER_MS).unref();
  }
}

/** Lines that are older than this, in milliseconds, do not explain the exit of a process that has served requests since. */
const SAID_AT_END_MS = 10_000;

/**
 * Returns the time from which on a process's lines may explain its exit, by performance.now().
 * @param servedAt when it last had a request
 */
function linesCountSince(servedAt: number | undefined, now: number): number {
  return servedAt === undefined ? Number.NEGATIVE_INFINITY : Math.min(servedAt, now - SAID_AT_END_MS);
}

function isReused({ pid, startTime }: LiveProcess): boolean {
  const found = pid === null ? undefined : startTimeOf(pid);
  return found !== undefined && found !== startTime;
}
