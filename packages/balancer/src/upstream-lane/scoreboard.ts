/** Reads what an instance has in its work mark: whose handler it is calling, though it cannot say anything now. */
import { workMarkPath } from "@paceline/wire";
import { uint32 } from "./decoder.js";

/** What an instance was at when its mark was read; requests are numbered in the order in which their lane brought them, from 1. */
export type WorkAtHand = {
  /** Of this lane's requests it has called those up to this one. */
  called: number;
} & (
  | { /** It is calling the handler of a request of this lane. */ on: "ours"; request: number }
  /** It is calling the handler of a request of another lane. */
  | { on: "another" }
  /** It is calling none. */
  | { on: "none" }
);

/** The words of a mark that belong to no lane. */
const LANE_AT = 0;
const REQUEST_AT = 4;

/**
 * Undefined where it cannot be read.
 * @param lane the number that the instance gave this lane in its HELLO; 0 when it keeps no mark.
 */
export function readWorkMark(socketPath: string, lane: number): WorkAtHand | undefined {
  if (lane === 0) return undefined;
  // Not imported: it would cost a balancer 0.6 MB that may never need it.
  const { closeSync, openSync, readSync } = process.getBuiltinModule("node:fs");
  const bytes = Buffer.alloc(8);
  const lastCalled = Buffer.alloc(4);
  try {
    // Read when an instance is taken for stalled, which is seldom: no descriptor for each instance is kept for it.
    const file = openSync(workMarkPath(socketPath), "r");
    try {
      if (readSync(file, bytes, 0, 8, LANE_AT) < 8 || readSync(file, lastCalled, 0, 4, 4 * (lane + 1)) < 4)
        return undefined;
    } finally {
      closeSync(file);
    }
  } catch {
    // Not there: the instance has ended, or could make none. What is known without it will do.
    return undefined;
  }
  const at = uint32(bytes, LANE_AT);
  const called = uint32(lastCalled, 0);
  if (at === lane) return { on: "ours", called, request: uint32(bytes, REQUEST_AT) };
  return { on: at === 0 ? "none" : "another", called };
}
