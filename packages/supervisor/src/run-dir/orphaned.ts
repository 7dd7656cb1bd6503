/** What is said of a fleet whose supervisor was killed: since when, until when, and what can be done. */
import { statSync } from "node:fs";
import { lostMarkPath } from "@paceline/wire";
import type { FleetRecord } from "./record.js";

export function describeOrphans(record: FleetRecord | undefined, linkSocket: string, count: number): string {
  const remedy = "`paceline stop` ends them now; `paceline start --replace` ends them and starts anew";
  return `${describeLoss(record, linkSocket, count)}\n${remedy}`;
}

/** The same in one line, without what can be done about it. */
export function describeLoss(record: FleetRecord | undefined, linkSocket: string, count: number): string {
  const lostAt = statSync(lostMarkPath(linkSocket), { throwIfNoEntry: false })?.mtimeMs;
  const who = record === undefined ? "the supervisor" : `the supervisor of ${record.name} (pid ${record.pid})`;
  const since = lostAt === undefined ? "" : ` at ${clock(lostAt)}`;
  const processes = count === 1 ? "1 process of it serves" : `${count} processes of it serve`;
  const until =
    lostAt === undefined || record === undefined
      ? "for the rest of orphanGraceMs"
      : `until ${clock(lostAt + record.orphanGraceMs)}, then drain and exit`;
  return `${who} was killed${since}; ${processes} on ${until}`;
}

/** `14:03:22`, local time. */
function clock(at: number): string {
  return new Date(at).toTimeString().slice(0, 8);
}
