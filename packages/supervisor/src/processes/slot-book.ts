/** The history of each slot, which outlives the slot's current process. */
import type { ScheduledRun } from "@paceline/wire";
import type { LastExit } from "../control/api.js";
import type { EventLog } from "../logs/event-log.js";
import type { OutputSink } from "../logs/output.js";
import type { Ending, LiveProcess } from "./live-process.js";

export interface SlotRecord {
  /** Spawns after an unexpected exit. */
  restarts: number;
  /** Processes replaced because they reached a limit of the pool. */
  recycles: number;
  lastExit: LastExit | null;
  /** Whether a process of the slot has ever been ready. If so, a failed start is probably not an error in the app or its config. */
  everReady: boolean;
  /** The exits of the last attempts. */
  endings: Map<number, Ending>;
  /** Whether the next spawn follows an unexpected exit. */
  unwanted: boolean;
  /** The last run of its schedule, even if an earlier process ran it. */
  lastRun: ScheduledRun | null;
  /** Lines of its processes' output, and how many of them were lost because they came too fast. */
  linesTotal: number;
  linesLost: number;
}

/** Only the exits of a slot's last attempts are needed. */
const MAX_ENDINGS = 4;

export class SlotBook {
  private readonly records = new Map<string, SlotRecord>();

  of(slot: string): SlotRecord {
    let record = this.records.get(slot);
    if (record === undefined) {
      record = {
        ...{ restarts: 0, recycles: 0, lastExit: null, everReady: false, endings: new Map(), unwanted: false },
        ...{ linesTotal: 0, linesLost: 0, lastRun: null },
      };
      this.records.set(slot, record);
    }
    return record;
  }

  spawned(slot: string): void {
    const record = this.of(slot);
    if (record.unwanted) record.restarts++;
    record.unwanted = false;
  }

  /** Takes a run of the slot's schedule, which its process reports again when the next one starts. Returns whether the run is new. */
  ran(slot: string, run: ScheduledRun): boolean {
    const record = this.of(slot);
    const isNew = record.lastRun?.started !== run.started;
    record.lastRun = run;
    return isNew;
  }

  /** @param unwanted whether the process exited unexpectedly */
  ended(process: Pick<LiveProcess, "name" | "attempt">, ending: Ending, unwanted: boolean): void {
    const record = this.of(process.name);
    record.endings.set(process.attempt, ending);
    for (const attempt of record.endings.keys()) {
      if (record.endings.size > MAX_ENDINGS) record.endings.delete(attempt);
    }
    if (!unwanted) return;
    record.unwanted = true;
    record.lastExit = { ...ending.status, at: ending.at, reason: ending.reason, lastLines: ending.lastLines };
  }

  /** Returns a sink that counts the output of `slot` and forwards it to the log. */
  outputSink(slot: string, log: EventLog): OutputSink {
    return {
      lines: (texts) => {
        this.of(slot).linesTotal += texts.length;
        log.output(slot, texts);
      },
      lost: (count) => {
        const record = this.of(slot);
        record.linesTotal += count;
        record.linesLost += count;
        log.lost(slot, count, "they were written faster than they could be read");
      },
    };
  }

  /** Forgets a removed slot. */
  forget(slot: string): void {
    this.records.delete(slot);
  }
}
