/** Prints a fleet's log or events as they arrive, or from the log files if the fleet is not running. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { attempt } from "@paceline/wire/proc";
import type { LogLine } from "../control/api.js";
import { isAbout, isLineOf, KEPT_EVENTS, KEPT_LINES, unknownName, visible } from "../core/words.js";
import { PacelineError } from "../errors.js";
import type { FleetChoice } from "../fleet/api.js";
import { afterLoss, findFleet } from "../fleet/find-fleet.js";
import { connectFleet, FleetClient } from "../fleet/fleet.js";
import { channelSocketOf, type FoundFleet, inspect } from "../fleet/known-fleets.js";
import { isLoss } from "../fleet/stop-fleet.js";
import { describeLoss, findOrphans } from "../run-dir/orphans.js";
import { parseLogJson } from "./format-line.js";
import { logFilesIn } from "./log-file.js";
import { elsewhere } from "./operate.js";
import { type JsonOption, MOST_LINES, milliseconds, type TimeoutOption, unlessAll } from "./options.js";
import { afterOutput, EXIT, type ExitStatus, printError } from "./output.js";

export type FollowOptions = FleetChoice & JsonOption & TimeoutOption & { follow?: boolean; lines?: number };

/** Prints each line with `format`, or unchanged with --json. If the deadline is reached, the command succeeds. */
export async function follow<Line extends object>(
  what: "events" | "logs",
  given: string | undefined,
  options: FollowOptions,
  { format, fromLog }: LineKind<Line>,
): Promise<ExitStatus> {
  const show = formatter(options, format);
  const named = unlessAll(given);
  const fleet = await elsewhere(findFleet(options), options, named);
  if (fleet.state === "down" || fleet.state === "orphaned") {
    const files = logFilesIn(join(fleet.runDir, "log"));
    if (files.length > 0) {
      const lines = readStoredLog(files, named, options.lines ?? 100, fromLog, fleet.record?.name);
      printError(`${whyStored(fleet)}; these are the last lines of its log`);
      await printAll(lines.map(show));
      return EXIT.done;
    }
  }
  const { lines, follow = false, timeout } = options;
  const timeoutMs = milliseconds(timeout);
  const deadline = performance.now() + (timeoutMs ?? Number.POSITIVE_INFINITY);
  let running = await connectFleet(options);
  const name = await running.unlessOwn(named);
  const kept = what === "logs" ? KEPT_LINES : KEPT_EVENTS;
  if (lines !== undefined && lines > kept) {
    printError(
      `a running fleet keeps only its last ${kept} ${what === "logs" ? "lines" : "events"}; older ones are in ${join(fleet.runDir, "log")}`,
    );
  }
  let lastAt = Date.now();
  let printed = 0;
  let oldestAt = lastAt;
  for (let isAgain = false; ; isAgain = true) {
    const [knownUntil, now] = [lastAt, Date.now()];
    // Lines that were stored before a loss have already been printed.
    const isNew = ({ at = now }: { at?: number }) => !isAgain || at > knownUntil || at >= now;
    const take = (some: Line[]) => {
      const shown = some.filter(isNew);
      for (const { at = 0 } of shown as { at?: number }[]) lastAt = Math.max(lastAt, at);
      printed += shown.length;
      for (const { at = oldestAt } of shown as { at?: number }[]) oldestAt = Math.min(oldestAt, at);
      return printAll(shown.map(show));
    };
    const leftMs = isAgain && timeoutMs !== undefined ? Math.max(1, deadline - performance.now()) : timeoutMs;
    try {
      await running.read<Line>(what, { name, lines: isAgain ? kept : lines, follow, timeoutMs: leftMs }, take);
      // The supervisor was replaced, or the lines are long.
      if (!follow && lines !== undefined && lines <= kept && printed < lines) {
        const folder = join(fleet.runDir, "log");
        const read = () => readStoredLog(logFilesIn(folder), named, lines, fromLog, fleet.record?.name);
        if (isOlder(attempt(read), oldestAt))
          printError(`the running fleet keeps only these ${printed}; older ones are in ${folder}`);
      }
      return EXIT.done;
    } catch (error) {
      if (!follow || !isLoss(error)) throw error;
      const next = await reconnect(running, deadline);
      if (performance.now() >= deadline)
        throw new PacelineError("timeout", `the deadline of ${(timeoutMs ?? 0) / 1000} s passed`);
      if (next === undefined) throw error;
      running = next;
    }
  }
}

/** Whether the first of these lines is older than this time. */
export function isOlder(lines: readonly { at?: number }[] | undefined, at: number): boolean {
  return (lines?.[0]?.at ?? Number.POSITIVE_INFINITY) < at;
}

/** How long a fleet waits for its next supervisor, in milliseconds. */
const NEXT_MS = 60_000;
const LOOK_EVERY_MS = 500;

/**
 * Called after the supervisor was lost. Waits for the supervisor that continues the fleet, and reports it.
 * @param deadline by performance.now()
 * @returns undefined if the fleet has stopped, or no supervisor appears
 */
export async function reconnect(
  fleet: FleetClient,
  deadline = Number.POSITIVE_INFINITY,
): Promise<FleetClient | undefined> {
  const lostAt = performance.now();
  let isSaid = false;
  for (;;) {
    const found = await inspect(fleet.runDir).catch(() => undefined);
    const now = performance.now();
    const next = found === undefined ? "ended" : afterLoss(found, fleet.pid, now - lostAt);
    if (found === undefined || next === "ended" || now >= Math.min(lostAt + NEXT_MS, deadline)) return undefined;
    if (next === "next") {
      printError(`connected again: another supervisor has taken over the fleet (pid ${found.record?.pid})`);
      return new FleetClient(found);
    }
    if (!isSaid && found.state === "orphaned") {
      printError("the supervisor was killed, and the fleet keeps serving: waiting for the next supervisor");
      isSaid = true;
    }
    await sleep(LOOK_EVERY_MS);
  }
}

/** Returns why the log is read from files: the fleet is not running, or has no supervisor. */
function whyStored(fleet: FoundFleet): string {
  if (fleet.state !== "orphaned") return "the fleet is not running";
  const channelSocket = channelSocketOf(fleet);
  return describeLoss(fleet.record, channelSocket, findOrphans(channelSocket).length);
}

/** A kind of line: log lines or events. */
interface LineKind<Line> {
  format(line: Line, forTerminal: boolean): string;
  /** Converts a log line to this kind; undefined if it is not of this kind. */
  fromLog(line: LogLine): Line | undefined;
}

/** Returns the function that formats a line as JSON or text. In a terminal, control characters are escaped. */
function formatter<Line>(
  { json }: JsonOption,
  format: (line: Line, forTerminal: boolean) => string,
): (line: Line) => string {
  const forTerminal = process.stdout.isTTY === true;
  if (!json) return (line) => format(line, forTerminal);
  return (line) => (forTerminal ? visible(JSON.stringify(line)) : JSON.stringify(line));
}

/** Prints the lines, and resolves when stdout has room for more. */
export async function printAll(lines: readonly string[]): Promise<void> {
  const { stdout } = process;
  // The reader of stdout is gone.
  if (stdout.listenerCount("error", leave) === 0) stdout.on("error", leave);
  if (lines.length === 0 || stdout.write(`${lines.join("\n")}\n`)) return;
  await new Promise<void>((resolve) => stdout.once("drain", resolve));
}

function leave(error: NodeJS.ErrnoException): void {
  process.exit(afterOutput(error));
}

/**
 * Returns the last `count` lines of `name`, oldest first. `files` starts with the newest. `fleetName` means all lines, unless a pool has
 * the same name.
 * @throws PacelineError `invalid` if `name` never wrote a line
 */
export function readStoredLog<Line>(
  files: readonly string[],
  name: string | undefined,
  count: number,
  fromLog: (line: LogLine) => Line | undefined,
  fleetName?: string,
): Line[] {
  const kept: Line[][] = [];
  const names = new Set<string>();
  let left = Math.min(count, MOST_LINES);
  for (const file of files) {
    const lines = readLines(file);
    for (const { name: writer, subject = writer } of lines) names.add(subject.replace(/ .*/, ""));
    const ours = lines.filter((line) => isLineOf(line, name)).flatMap((line) => fromLog(line) ?? []);
    const wanted = left === 0 ? [] : ours.slice(-left);
    kept.push(wanted);
    left -= wanted.length;
    if (left === 0 && kept.some((some) => some.length > 0)) break;
  }
  const lines = kept.reverse().flat();
  if (name !== undefined && lines.length === 0) {
    if (name === fleetName && ![...names].some((writer) => isAbout(writer, name)))
      return readStoredLog(files, undefined, count, fromLog);
    checkName(name, names);
  }
  return lines;
}

function readLines(file: string): LogLine[] {
  try {
    return readFileSync(file, "utf8")
      .split("\n")
      .flatMap((json) => parseLogJson(json) ?? []);
  } catch {
    return []; // The file was rotated away meanwhile.
  }
}

function checkName(name: string, writers: ReadonlySet<string>): void {
  const pools = new Set([...writers].map((each) => each.split(".")[0] as string));
  const known = [...new Set([...pools, ...writers, "paceline"])].sort();
  if (!known.includes(name)) throw new PacelineError("invalid", unknownName(name, known));
}
