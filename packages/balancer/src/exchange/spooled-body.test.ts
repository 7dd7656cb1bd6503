/** A body in the spool: it is complete and in order with any disk, and nothing of it remains. */
import { closeSync, mkdtempSync, openSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BufferBudget } from "./buffer-budget.js";
import { openNameless, Spool } from "./spool.js";
import { SpooledBody } from "./spooled-body.js";

let folder: string;
let budget: BufferBudget;
let problems: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "paceline-spool-"));
  budget = new BufferBudget(1_000_000);
  problems = [];
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function spool(maxBytes = 10_000_000): Spool {
  const made = new Spool({ folder, maxBytes, budget, onProblem: (message) => problems.push(message) });
  made.prepare();
  return made;
}

/** Reads bytes, at most `room` before it pauses. */
class Reader {
  readonly parts: Buffer[] = [];
  room = Number.POSITIVE_INFINITY;
  written = 0;
  reads = 0;
  failed: boolean[] = [];
  onSpoolWritten() {
    this.written++;
  }
  onSpooledBytes(bytes: Uint8Array, start: number, end: number) {
    this.parts.push(Buffer.from(bytes.subarray(start, end)));
    this.room -= end - start;
    return this.room > 0;
  }
  onSpoolRead() {
    this.reads++;
  }
  onSpoolFailed(isLost: boolean) {
    this.failed.push(isLost);
  }
  get bytes() {
    return Buffer.concat(this.parts);
  }
}

const pattern = (bytes: number) => Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 8)) % 251));

function append(body: SpooledBody, bytes: Buffer, piece = 10_000) {
  for (let at = 0; at < bytes.length; at += piece) body.append(bytes, at, Math.min(bytes.length, at + piece));
}

/** Whether `budget` and the spool are completely unused. */
const isAllBack = (used: Spool) => used.usedBytes === 0 && budget.take(1_000_000);

describe("a body in the spool", () => {
  it("is read completely and in order, again and from the middle, and returns all that it used", async () => {
    const used = spool();
    const reader = new Reader();
    const body = new SpooledBody(used, "request", reader);
    const bytes = pattern(700_001);
    append(body, bytes);
    body.finish();
    await expect.poll(() => body.isWritten).toBe(true);
    expect(readdirSync(folder)).toEqual([]);
    reader.room = 200_000;
    body.rewind();
    await expect.poll(() => reader.room).toBeLessThanOrEqual(0);
    // Another upstream is tried.
    reader.parts.length = 0;
    reader.room = 300_000;
    body.rewind();
    await expect.poll(() => reader.room).toBeLessThanOrEqual(0);
    reader.room = Number.POSITIVE_INFINITY;
    body.pump();
    await expect.poll(() => reader.reads).toBe(1);
    expect(reader.bytes.equals(bytes)).toBe(true);
    body.close();
    expect(isAllBack(used)).toBe(true);
  });

  it("that is read while it arrives is complete, and what is read soon never reaches the disk", async () => {
    const used = spool();
    const reader = new Reader();
    const body = new SpooledBody(used, "response", reader);
    const bytes = pattern(500_000);
    body.append(bytes, 0, 1000);
    body.pump();
    expect([reader.bytes.length, reader.reads, used.usedBytes]).toEqual([1000, 1, 0]);
    for (let at = 1000; at < bytes.length; at += 50_000) {
      body.append(bytes, at, Math.min(bytes.length, at + 50_000));
      body.pump();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => body.isRead).toBe(true);
    expect(reader.bytes.equals(bytes)).toBe(true);
    body.close();
    expect(isAllBack(used)).toBe(true);
  });

  it("has a bound, and all responses together have a bound that leaves room for requests", () => {
    const used = spool(100_000);
    const bytes = pattern(60_000);
    const response = new SpooledBody(used, "response", new Reader());
    expect(response.append(bytes, 0, 50_000)).not.toBe("full");
    // The excess stays in memory, and the instance waits.
    expect([response.append(bytes, 0, 1), used.usedBytes]).toEqual(["wait", 50_000]);
    const request = new SpooledBody(used, "request", new Reader());
    expect(request.append(bytes, 0, 50_000)).not.toBe("full");
    expect(request.append(bytes, 0, 1)).toBe("full");
    response.close();
    expect(request.append(bytes, 0, 1)).not.toBe("full");
    request.close();
    expect(used.usedBytes).toBe(0);
  });

  it("requests no more while many bytes are on their way to the disk, or memory is scarce, and tells when it continues", async () => {
    const used = spool();
    const reader = new Reader();
    const body = new SpooledBody(used, "request", reader);
    const bytes = pattern(200_000);
    expect(body.append(bytes, 0, 10_000)).toBe("taken");
    expect(body.append(bytes, 10_000, 200_000)).toBe("wait");
    await expect.poll(() => reader.written).toBeGreaterThan(0);
    await expect.poll(() => body.append(bytes, 0, 0)).toBe("taken");
    budget.take(1_000_000, true);
    expect(body.append(bytes, 0, 10)).toBe("wait");
    body.close();
    budget.give(1_000_000);
    await expect.poll(() => isAllBack(used)).toBe(true);
  });

  it("whose file cannot be written fails permanently, but the stored part of a response can be read", async () => {
    const used = spool();
    writeFileSync(join(folder, "read-only"), "");
    let opened = -1;
    used.open = (done) => {
      opened = openSync(join(folder, "read-only"), "r");
      done(null, opened);
    };
    const reader = new Reader();
    const body = new SpooledBody(used, "response", reader);
    const bytes = pattern(100_000);
    append(body, bytes);
    await expect.poll(() => reader.failed).toEqual([false]);
    expect(body.append(bytes, 0, 10)).toBe("wait");
    body.pump();
    expect(reader.bytes.equals(Buffer.concat([bytes, bytes.subarray(0, 10)]))).toBe(true);
    const other = new SpooledBody(used, "request", new Reader());
    append(other, bytes);
    await expect.poll(() => other.append(bytes, 0, 1)).toBe("full");
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/^the spool in .* fails: EBADF/);
    body.close();
    other.close();
    await expect.poll(() => isAllBack(used)).toBe(true);
    // Its descriptors are closed soon; another file may have the same number by then.
    const isOpen = () => {
      try {
        return readlinkSync(`/proc/self/fd/${opened}`) === join(folder, "read-only");
      } catch {
        return false;
      }
    };
    await expect.poll(isOpen).toBe(false);
  });

  it("that is closed during a disk operation waits for its end, and closes its file", async () => {
    const used = spool();
    const bodies = Array.from({ length: 20 }, () => new SpooledBody(used, "request", new Reader()));
    for (const body of bodies) {
      append(body, pattern(100_000));
      body.close();
    }
    await expect.poll(() => isAllBack(used)).toBe(true);
  });
});

it.each([true, false])("a nameless file can be written and read, O_TMPFILE: %s", async (isTmpfileKnown) => {
  const fd = await new Promise<number>((resolve, reject) =>
    openNameless(folder, (error, fd) => (error === null ? resolve(fd) : reject(error)), isTmpfileKnown),
  );
  writeFileSync(fd, "x");
  expect(readdirSync(folder)).toEqual([]);
  closeSync(fd);
});
