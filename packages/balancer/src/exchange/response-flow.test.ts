/** A compressed response that waits in the spool uses the shared compression budget of each turn. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { codingShare } from "../coding/coding-share.js";
import { BufferBudget } from "./buffer-budget.js";
import { ResponseFlow } from "./response-flow.js";
import { Spool } from "./spool.js";

const PIECES = 4;
const PIECE = Buffer.alloc(32_768, "a");

it("continues from the spool only in a turn that has time to compress, and arrives complete", async () => {
  const folder = mkdtempSync(join(tmpdir(), "paceline-flow-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const budget = new BufferBudget(1_000_000);
  const spool = new Spool({ folder, maxBytes: 1_000_000, budget, onProblem: () => {} });
  spool.prepare();
  let takes = false;
  const sent: Uint8Array[] = [];
  const client = {
    deadlineAt: 0,
    response: {
      body: (bytes: Uint8Array, start: number, end: number) => {
        sent.push(bytes.slice(start, end));
        return takes;
      },
      ...{ flush: () => true, mayHold: () => false, beginSlowReading: () => 1, isBehind: false },
    },
  };
  const stream = { pause() {}, resume() {} };
  /** Whether others wait behind it. */
  const waits: boolean[] = [];
  const isOver = new Promise<void>((resolve) => {
    const onSpoolSent = () => {
      flow.closeSpool();
      resolve();
    };
    const relay = { limits: { bufferBytes: 65_536 }, spool };
    const flow = new ResponseFlow(relay as never, client as never, { onSpoolSent, abort: () => {} });
    // Each piece takes more time than a turn has.
    flow.coded = { takeBatch: () => 1 << 18 } as never;
    flow.send(PIECE, 0, PIECE.length, stream as never, true);
    expect(flow.isSpooling).toBe(true);
    for (let n = 1; n < PIECES; n++) flow.spool(PIECE, 0, PIECE.length);
    takes = true;
    flow.isClientBlocked = false;
    const { body } = client.response;
    client.response.body = (bytes, start, end) => {
      queueMicrotask(() => {
        const other = { batchBytes: 8192, onCodingTurn() {} };
        waits.push(!codingShare.take(other));
        codingShare.leave(other);
      });
      return body(bytes, start, end);
    };
    flow.resume(stream as never);
  });
  await isOver;
  expect(Buffer.concat(sent).equals(Buffer.concat(Array.from({ length: PIECES }, () => PIECE)))).toBe(true);
  expect(waits).toContain(true);
  expect(waits).not.toContain(false);
});
