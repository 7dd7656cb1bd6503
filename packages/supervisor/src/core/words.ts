/** How ends, durations, names and lost lines are put for people. */
import type { ExitStatus } from "./model.js";

/** `exited with code 1`, `was killed by SIGKILL`, `ended`. */
export function exitReason(status: ExitStatus): string {
  if (status.signal !== null) return `was killed by ${status.signal}`;
  return status.code === null ? "ended" : `exited with code ${status.code}`;
}

/** How a verdict on a process that was not ready in time begins. */
export const NOT_READY = "was not ready within";

/** A duration for people: `0.2 s`, `30 s`. */
export function seconds(ms: number): string {
  return `${Math.round(ms / 100) / 10} s`;
}

/**
 * Whether `subject` belongs to what was asked for: all, a slot (`web.3`, and its `web.3 (replacement)`), a pool (`web`), or
 * `paceline`.
 */
export function isAbout(subject: string, name: string | undefined): boolean {
  return name === undefined || subject === name || subject.startsWith(`${name}.`) || subject.startsWith(`${name} `);
}

/** Whether a line of the log belongs to what was asked for: what was written by it, or said of it. */
export function isLineOf(line: { name: string; subject?: string }, name: string | undefined): boolean {
  return isAbout(line.name, name) || (line.subject !== undefined && isAbout(line.subject, name));
}

/** What to say to a name that means nothing; `names` are those that mean something. */
export function unknownName(name: string, names: readonly string[]): string {
  const [pool] = name.split(".");
  // All instances of all pools would be many.
  const ofPool = names.filter((each) => each.startsWith(`${pool}.`));
  const known = name.includes(".") && ofPool.length > 0 ? ofPool : names.filter((each) => !each.includes("."));
  return `no pool or instance named ${JSON.stringify(name)} (known: ${known.join(", ")})`;
}

/** Stands where lines are missing: `[7 lines lost: they were written faster than they could be read]`. */
export function lostText(count: number, why: string): string {
  return `[${count === 1 ? "1 line" : `${count} lines`} lost: ${why}]`;
}
