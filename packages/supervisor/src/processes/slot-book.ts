/** What is remembered of each slot beyond the process that is in it now. */
import type { LastExit } from "../control/api.js";
import type { EventLog } from "../logs/event-log.js";
import type { OutputSink } from "../logs/output.js";
import type { Ending, LiveProcess } from "./live-process.js";

export interface SlotRecord {
  /** Spawns after an end that nobody asked for. */
  restarts: number;
  /** Processes that were replaced for having reached a limit of the pool. */
  recycles: number;
  lastExit: LastExit | null;
  /** It was ready once, so that a failure to start is not a mistake in the app or its config. */
  everReady: boolean;
  /** How the last attempts ended. */
  endings: Map<number, Ending>;
  /** The next spawn comes after an end that nobody asked for. */
  unwanted: boolean;
  /** Lines that its processes wrote, and those of them that could not be read in time. */
  linesTotal: number;
  linesLost: number;
}

/** Of a slot, only the ends of the last attempts matter. */
const MAX_ENDINGS = 4;

export class SlotBook {
  private readonly records = new Map<string, SlotRecord>();

  of(slot: string): SlotRecord {
    let record = this.records.get(slot);
    if (record === undefined) {
      record = {
        ...{ restarts: 0, recycles: 0, lastExit: null, everReady: false, endings: new Map(), unwanted: false },
        ...{ linesTotal: 0, linesLost: 0 },
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

  /** @param unwanted nobody asked this process to end. */
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

  /** Counts what the processes of `slot` write, and hands it on to the log. */
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

  /** Forgets a slot that is gone. */
  forget(slot: string): void {
    this.records.delete(slot);
  }
}
