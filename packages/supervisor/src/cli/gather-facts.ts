/** Collects the facts for `paceline explain`: status, events, deaths, history, watched requests, and log lines that name a request. */
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync } from "node:fs";
import { dirname, join } from "node:path";
import type { FleetEvent, LogLine, RecordingLine } from "../control/api.js";
import { explain, mayBeRequestId, targetOf } from "../core/explain.js";
import type { Explanation, Facts, LineFacts, OpenFacts, RequestFacts, Target } from "../core/explain-model.js";
import { PacelineError } from "../errors.js";
import type { FleetChoice } from "../fleet/api.js";
import { findRunningFleet, findSettledFleet } from "../fleet/find-fleet.js";
import { FleetClient } from "../fleet/fleet.js";
import type { FoundFleet } from "../fleet/known-fleets.js";
import { fleetSeenAt } from "../run-dir/registry.js";
import { readHistory, readReports } from "../run-dir/report-files.js";
import { readStoredLog } from "./follow.js";
import { logFilesIn } from "./log-file.js";

const MAX_WATCHED = 20_000;
/** A shorter text is not the id of a request. */
const LEAST_ID = 4;
const MAX_LINES = 200;
/** How many bytes at the end of an access log are searched. */
const MAX_ACCESS_BYTES = 16 << 20;

interface ExplainQuestion extends FleetChoice {
  target?: string | undefined;
  /** After `deploy`: the number of the entry in the history. */
  id?: number | undefined;
  /** How long requests are watched, in seconds. Default: 0. */
  watchSeconds?: number | undefined;
  timeoutMs?: number | undefined;
}

/** The targets that files explain as well as a supervisor. */
export const OF_FILES: ReadonlySet<Target["kind"]> = new Set(["deploy", "request"]);

/**
 * Returns the explanation, and whether the fleet is running.
 * @throws PacelineError `invalid` if nothing has this name; like `findRunningFleet` if no supervisor serves a fleet that has not stopped
 */
export async function explainFleet(question: ExplainQuestion): Promise<Explanation & { isRunning: boolean }> {
  const { target, id, watchSeconds = 0, timeoutMs, ...choice } = question;
  const found = await findSettledFleet(choice);
  const facts = await gatherFacts(found, watchSeconds, timeoutMs);
  let meant = targetOf(target, facts, id);
  if (typeof meant === "string" && target !== undefined && target.length >= LEAST_ID && mayBeRequestId(target)) {
    // Only if nothing else has this name, because searching the whole log takes time.
    await addLines(facts, target, found, timeoutMs);
    meant = targetOf(target, facts, id);
  } else if (typeof meant !== "string" && meant.kind === "request") {
    await addLines(facts, meant.id, found, timeoutMs);
  }
  const isUnserved = found.state !== "up" && found.state !== "down";
  if (isUnserved && (typeof meant === "string" || !OF_FILES.has(meant.kind))) {
    await findRunningFleet({ runDir: found.runDir });
    // Its next supervisor has just started.
    return explainFleet(question);
  }
  if (typeof meant === "string") throw new PacelineError("invalid", meant);
  return { ...explain(meant, facts), isRunning: facts.fleet !== null };
}

type OwnFacts = { -readonly [Key in keyof Facts]: Facts[Key] };

async function gatherFacts(found: FoundFleet, watchSeconds: number, timeoutMs: number | undefined): Promise<OwnFacts> {
  const { record, runDir } = found;
  const deathsFolder = record?.deathsFolder ?? join(runDir, "deaths");
  const uid = lstatSync(runDir, { throwIfNoEntry: false })?.uid;
  const stored = {
    now: Date.now(),
    record,
    ...(record !== undefined && found.state !== "up" && { seenAt: fleetSeenAt(runDir, record.channelSocket) }),
    deaths: readReports(deathsFolder, uid),
    history: readHistory(join(dirname(deathsFolder), "history"), runDir).entries,
    lines: [],
  };
  if (found.state !== "up") return { ...stored, fleet: null, events: [], requests: [], open: [], watchedMs: 0 };
  const client = new FleetClient(found);
  const requests = watchSeconds > 0 ? await watchRequests(client, watchSeconds * 1000) : [];
  const events: FleetEvent[] = [];
  const [fleet, { requests: open }] = await Promise.all([
    client.status({ timeoutMs }),
    // The supervisor of an earlier version does not list open requests.
    client.document<{ requests: OpenFacts[] }>("/v1/open-requests", timeoutMs).catch(() => ({ requests: [] })),
    client.read<FleetEvent>("events", { follow: false, timeoutMs }, (some) => void events.push(...some)),
  ]);
  return { ...stored, now: Date.now(), fleet, events, requests, open, watchedMs: watchSeconds * 1000 };
}

/** Watches the requests that end within this time. */
async function watchRequests(client: FleetClient, forMs: number): Promise<RequestFacts[]> {
  const requests: RequestFacts[] = [];
  const left = new AbortController();
  const timer = setTimeout(() => left.abort(), forMs);
  const take = (lines: RecordingLine[]) => {
    for (const line of lines) if ("path" in line && requests.length < MAX_WATCHED) requests.push(line);
  };
  try {
    await client.read<RecordingLine>("requests", { signal: left.signal }, take);
  } catch (error) {
    if (!left.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
  }
  return requests;
}

/** Adds the lines of the log, and of a file of the access log, that contain `id`. */
async function addLines(facts: OwnFacts, id: string, found: FoundFleet, timeoutMs: number | undefined): Promise<void> {
  const path = found.record?.accessLogFile;
  const { lines, problem } = path === undefined ? { lines: [] } : accessLinesNaming(id, path);
  facts.lines = [...(await linesNaming(id, found, timeoutMs)), ...lines];
  if (path !== undefined) facts.accessLog = { path, problem };
}

/** Returns the last JSON lines that contain `id` at the end of an access log, or the reason why it cannot be read. */
export function accessLinesNaming(
  id: string,
  path: string,
  most = MAX_ACCESS_BYTES,
): { lines: LineFacts[]; problem?: string } {
  let fd: number | undefined;
  try {
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    if (!stat.isFile()) return { lines: [], problem: `${path} is no regular file` };
    const bytes = Buffer.alloc(Math.min(most, stat.size));
    const length = readSync(fd, bytes, 0, bytes.length, stat.size - bytes.length);
    const naming = bytes
      .toString("utf8", 0, length)
      .split("\n")
      .filter((text) => text.startsWith("{") && text.includes(id));
    return { lines: naming.slice(-MAX_LINES).map((text) => ({ at: stat.mtimeMs, name: "access log", text })) };
  } catch (error) {
    return { lines: [], problem: (error as Error).message };
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Returns the last lines of the log that contain `id`, except the supervisor's own. */
async function linesNaming(id: string, found: FoundFleet, timeoutMs: number | undefined): Promise<LineFacts[]> {
  const naming = ({ at, name, text }: LogLine): LineFacts[] =>
    text.includes(id) && name !== "paceline" ? [{ at, name, text }] : [];
  const files = logFilesIn(join(found.runDir, "log"));
  if (files.length > 0) return readStoredLog(files, undefined, MAX_LINES, (line) => naming(line)[0]);
  if (found.state !== "up") return [];
  const lines: LineFacts[] = [];
  await new FleetClient(found).read<LogLine>("logs", { follow: false, timeoutMs }, (some) => {
    lines.push(...some.flatMap(naming));
  });
  return lines.slice(-MAX_LINES);
}
