/** Entries of a fleet's history: who did what, when, and how it ended; their limits and their wording. Pure. */

/** The caller of an operation. The command itself states it, so this is as reliable as anyone who may open the control socket. */
export interface Caller {
  uid: number | null;
  user: string | null;
  /** The user who called `sudo`. */
  sudoUser: string | null;
  /** For whom the caller acts: PACELINE_ACTOR, or the user of a CI job. */
  actor: string | null;
  /** The URL of a CI job. */
  job: string | null;
  /** The address of an SSH client. */
  from: string | null;
  /** How the operation was requested: `command` (also by programs), a signal such as `SIGHUP`, `watch`, or `supervisor`. */
  via: string;
}

/** The operations that the history records. A new operation is one line here and one in the table of docs/cli.md. */
const HISTORY_COMMANDS = [
  "start",
  "stop",
  "reload",
  "restart",
  "scale",
  "drain",
  "undrain",
  "eject",
  "readmit",
  "weight",
  "upgrade",
  "deploy",
  "rollback",
  "lock",
  "unlock",
] as const;

export type HistoryCommand = (typeof HISTORY_COMMANDS)[number];

/** How a pool changed. A value is null if the pool did not exist then. */
interface PoolChange {
  name: string;
  generation: [from: number | null, to: number | null];
  instances: [from: number | null, to: number | null];
  release: [from: string | null, to: string | null];
}

interface HistoryStep {
  /** The time since the start of the operation, in milliseconds. */
  afterMs: number;
  text: string;
}

/** The file of an operation. Times are Unix times in milliseconds. */
export interface HistoryEntry {
  version: 1;
  id: number;
  at: number;
  command: HistoryCommand;
  /** The target that was named, for example a pool; null if none was. */
  target: string | null;
  /** The rest of the command, for example `to 4` or the reason of a lock; null if there is none. */
  detail: string | null;
  by: Caller;
  pools: PoolChange[];
  steps: HistoryStep[];
  stepsOmitted: number;
  /** `done`, or the code of the failure, for example `failed` or `busy`; `under way`; `cut off` if the supervisor was killed meanwhile. */
  result: string;
  message: string;
  durationMs: number | null;
}

/** The part of an entry that a list shows: without its steps. */
export type HistorySummary = Omit<HistoryEntry, "version" | "steps" | "stepsOmitted">;

export const UNDER_WAY = "under way";
export const CUT_OFF = "cut off";

/** The limits of one entry. The first and the last steps are kept. */
export const MAX_STEPS = 240;
const FIRST_STEPS = 40;
const MAX_TEXT = 400;
const MAX_MESSAGE = 2000;
const MAX_POOLS = 64;
/** The limits of all entries together. */
const KEPT_ENTRIES = { count: 300, bytes: 4 << 20 };

/** Returns the entry with every list and text limited. */
export function boundEntry(entry: HistoryEntry): HistoryEntry {
  const { steps, pools, by } = entry;
  const omitted = Math.max(0, steps.length - MAX_STEPS);
  const kept = omitted === 0 ? steps : [...steps.slice(0, FIRST_STEPS), ...steps.slice(FIRST_STEPS + omitted)];
  const release = ([from, to]: PoolChange["release"]): PoolChange["release"] => [cutOrNull(from), cutOrNull(to)];
  return {
    ...entry,
    target: cutOrNull(entry.target),
    detail: cutOrNull(entry.detail),
    by: boundCaller(by),
    pools: pools.slice(0, MAX_POOLS).map((pool) => ({ ...pool, release: release(pool.release) })),
    steps: kept.map(({ afterMs, text }) => ({ afterMs, text: cut(text) })),
    stepsOmitted: entry.stepsOmitted + omitted,
    message: cut(entry.message, MAX_MESSAGE),
  };
}

function boundCaller(by: Caller): Caller {
  const { user, sudoUser, actor, job, from, via } = by;
  return {
    ...{ uid: by.uid, user: cutOrNull(user), sudoUser: cutOrNull(sudoUser), actor: cutOrNull(actor) },
    ...{ job: cutOrNull(job), from: cutOrNull(from), via: cut(via) },
  };
}

function cutOrNull(text: string | null): string | null {
  return text === null ? null : cut(text);
}

function cut(text: string, most = MAX_TEXT): string {
  return text.length <= most ? text : `${text.slice(0, most)}…`;
}

/** A pool as the history sees it. */
export interface PoolState {
  name: string;
  generation: number;
  instances: number;
  release: string;
}

/** Returns the pools that differ. */
export function poolChanges(before: readonly PoolState[], after: readonly PoolState[]): PoolChange[] {
  const names = new Set([...before, ...after].map(({ name }) => name));
  return [...names].flatMap((name): PoolChange[] => {
    const [from, to] = [before, after].map((pools) => pools.find((pool) => pool.name === name));
    const change: PoolChange = {
      name,
      generation: [from?.generation ?? null, to?.generation ?? null],
      instances: [from?.instances ?? null, to?.instances ?? null],
      release: [from?.release ?? null, to?.release ?? null],
    };
    const isSame = [change.generation, change.instances, change.release].every(([one, other]) => one === other);
    return isSame ? [] : [change];
  });
}

/** Returns `web: generation 3 → 4, 2 → 4 instances, /srv/shop/releases/6 → /srv/shop/releases/7`. */
export function changeText({ name, generation, instances, release }: PoolChange): string {
  const [from, to] = [generation[0], generation[1]];
  if (from === null) return `${name}: added, ${instances[1]} instances`;
  if (to === null) return `${name}: removed`;
  const parts = [
    ...(from === to ? [] : [`generation ${from} → ${to}`]),
    ...(instances[0] === instances[1] ? [] : [`${instances[0]} → ${instances[1]} instances`]),
    ...(release[0] === release[1] ? [] : [`${release[0]} → ${release[1]}`]),
  ];
  return `${name}: ${parts.join(", ")}`;
}

/** Returns `alice`, `root (sudo by alice)`, `deploy for octocat`, `SIGHUP`. */
export function callerText({ uid, user, sudoUser, actor, via }: Caller): string {
  if (via !== "command") return via;
  const name = user ?? (uid === null ? "unknown" : `uid ${uid}`);
  return `${name}${sudoUser === null ? "" : ` (sudo by ${sudoUser})`}${actor === null ? "" : ` for ${actor}`}`;
}

/** A start that failed is stopped within this time by its command, in milliseconds. */
const GIVEN_UP_MS = 10_000;

/** Returns the failed start that a stop has ended; undefined for other operations. */
export function givenUpStart<Entry extends HistorySummary>(
  stop: HistorySummary,
  all: readonly Entry[],
): Entry | undefined {
  if (stop.command !== "stop" || stop.by.via === "command") return undefined;
  const start = all.find(({ id }) => id === stop.id - 1);
  if (start?.command !== "start" || ["done", UNDER_WAY, CUT_OFF].includes(start.result)) return undefined;
  return stop.at - start.at - (start.durationMs ?? 0) < GIVEN_UP_MS ? start : undefined;
}

interface KeptEntry {
  id: number;
  bytes: number;
}

/** Returns the entries to remove, which are the oldest. */
export function entriesToRemove<Entry extends KeptEntry>(kept: readonly Entry[], most = KEPT_ENTRIES): Entry[] {
  const sorted = [...kept].sort((a, b) => b.id - a.id);
  let bytes = 0;
  // The newest stays, however large it is.
  return sorted.filter((entry, at) => {
    bytes += entry.bytes;
    return at > 0 && (at >= most.count || bytes > most.bytes);
  });
}

/** Returns the caller that a request to the control socket names. Missing values are null. */
export function readCaller(text: string | undefined): Caller {
  const known = fieldsOf(text ?? "");
  const textOf = (key: keyof Caller) => (typeof known[key] === "string" ? known[key] : null);
  return boundCaller({
    uid: Number.isSafeInteger(known.uid) ? (known.uid as number) : null,
    ...{ user: textOf("user"), sudoUser: textOf("sudoUser"), actor: textOf("actor") },
    ...{ job: textOf("job"), from: textOf("from"), via: "command" },
  });
}

function fieldsOf(text: string): Partial<Record<keyof Caller, unknown>> {
  try {
    const value: unknown = JSON.parse(decodeURIComponent(text));
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {}; // The program does not name a caller.
  }
}

/** Returns whether a value that was read from a file is an entry. */
export function isEntry(value: Partial<HistoryEntry> | null): value is HistoryEntry {
  if (typeof value !== "object" || value?.version !== 1) return false;
  const texts = [value.command, value.result, value.message];
  return (
    Number.isFinite(value.id) &&
    Number.isFinite(value.at) &&
    texts.every((text) => typeof text === "string") &&
    typeof value.by === "object" &&
    value.by !== null &&
    Array.isArray(value.pools) &&
    value.pools.every(
      ({ name, generation, instances, release }) =>
        typeof name === "string" && [generation, instances, release].every(Array.isArray),
    ) &&
    Array.isArray(value.steps) &&
    value.steps.every((step) => typeof step?.text === "string" && Number.isFinite(step.afterMs))
  );
}
