/** Records each operation on the fleet in the run directory: who, when, what, its steps and its result. */
import type { OperationResult, ProgressListener } from "../control/api.js";
import {
  boundEntry,
  type Caller,
  CUT_OFF,
  entriesToRemove,
  type HistoryCommand,
  type HistoryEntry,
  MAX_STEPS,
  type PoolState,
  poolChanges,
  UNDER_WAY,
} from "../core/history.js";
import type { EventLog } from "../logs/event-log.js";
import { NumberedFiles, readDocuments } from "../run-dir/numbered-files.js";
import { isHistoryEntry } from "../run-dir/report-files.js";

/** Steps within this time are written together, in milliseconds. */
const SAVE_STEPS_AFTER_MS = 1000;

interface HistoryOptions {
  /** The folder of entries; it may not exist. */
  folder: string;
  log: Pick<EventLog, "event">;
  /** Returns the pools with the generation in service, without balancers. */
  pools(): PoolState[];
  onBegin?(entry: HistoryEntry): void;
}

interface HistoryBegin {
  command: HistoryCommand;
  target?: string | undefined;
  detail?: string | undefined;
  /** Default: the supervisor itself. */
  by?: Caller | undefined;
}

/** An operation in progress. */
interface HistoryRecord {
  readonly id: number | null;
  step(text: string): void;
  end(result: OperationResult): void;
}

export class History {
  private readonly files: NumberedFiles;
  private isFailing = false;

  constructor(private readonly options: HistoryOptions) {
    this.files = new NumberedFiles(options.folder, (kept) => entriesToRemove(kept));
  }

  /** Operations that a killed supervisor had started are no longer in progress. */
  settle(): void {
    const { documents, unusable } = readDocuments(this.options.folder, isHistoryEntry);
    const [first] = unusable;
    if (first !== undefined) {
      const more = unusable.length === 1 ? "" : ` (and ${unusable.length - 1} more)`;
      this.options.log.event("warn", "paceline", `${first}${more}: this history entry cannot be read`);
    }
    const pools = this.options
      .pools()
      .map(({ name, generation, release }) => `${name} generation ${generation} (${release})`);
    const goesOn = pools.length === 0 ? "" : `; the next one went on with ${pools.join(", ")}`;
    const message = `its supervisor was killed${goesOn}`;
    for (const entry of documents)
      if (entry.result === UNDER_WAY)
        this.write(() => this.files.update(boundEntry({ ...entry, result: CUT_OFF, message })));
  }

  begin({ command, target, detail, by = callerVia("supervisor") }: HistoryBegin): HistoryRecord {
    const before = this.options.pools();
    const startedAt = performance.now();
    const elapsedMs = () => Math.round(performance.now() - startedAt);
    let entry: HistoryEntry = {
      ...{ version: 1, id: 0, at: Date.now(), command, target: target ?? null, detail: detail ?? null, by },
      ...{ pools: [], steps: [], stepsOmitted: 0, result: UNDER_WAY, message: "", durationMs: null },
    };
    let isWritten = this.write(() => {
      entry = this.files.add(command, (id) => boundEntry({ ...entry, id }));
    });
    this.options.onBegin?.(entry);
    // Saved at each step, so that the steps can be read even if the supervisor is killed.
    let saving: NodeJS.Timeout | undefined;
    const save = () => {
      saving = undefined;
      entry = boundEntry(entry);
      if (isWritten) this.write(() => this.files.update(entry));
    };
    return {
      get id() {
        return isWritten ? entry.id : null;
      },
      step: (text) => {
        entry.steps.push({ afterMs: elapsedMs(), text });
        // Writing limits the steps, too. This limits the memory of a long operation.
        if (entry.steps.length > 2 * MAX_STEPS) entry = boundEntry(entry);
        saving ??= setTimeout(save, SAVE_STEPS_AFTER_MS).unref();
      },
      end: (result) => {
        clearTimeout(saving);
        entry = boundEntry({
          ...entry,
          pools: poolChanges(before, this.options.pools()),
          result: result.ok ? "done" : result.code,
          message: result.message,
          durationMs: elapsedMs(),
        });
        if (isWritten && this.write(() => this.files.update(entry))) return;
        // On a full disk, the earlier version of the entry would stay "under way" forever. Removing it may make room, or there may be room
        // by now.
        if (isWritten) this.write(() => this.files.remove(entry.id));
        isWritten = this.write(() => {
          entry = this.files.add(command, (id) => ({ ...entry, id }));
        });
      },
    };
  }

  /** Runs an operation and records it; its progress messages are its steps. */
  async record(
    begin: HistoryBegin,
    onProgress: ProgressListener,
    run: (onProgress: ProgressListener) => Promise<OperationResult>,
  ): Promise<OperationResult> {
    const record = this.begin(begin);
    try {
      const result = await run((text) => {
        record.step(text);
        onProgress(text);
      });
      record.end(result);
      return result;
    } catch (error) {
      record.end({ ok: false, code: "failed", message: error instanceof Error ? error.message : String(error) });
      throw error;
    }
  }

  /** A failure to write is reported once, and does not stop any operation. */
  private write(write: () => void): boolean {
    try {
      write();
      this.isFailing = false;
      return true;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (!this.isFailing)
        this.options.log.event(
          "warn",
          "paceline",
          `the history is incomplete: ${message}; operations continue without it`,
        );
      this.isFailing = true;
      return false;
    }
  }
}

/**
 * Returns the caller of an operation that no command has requested.
 * @param via for example `SIGHUP`
 */
export function callerVia(via: string): Caller {
  return { uid: null, user: null, sudoUser: null, actor: null, job: null, from: null, via };
}
