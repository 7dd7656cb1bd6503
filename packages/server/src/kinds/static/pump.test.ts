/** Files sent by node:http: the memory that slow readers use, and the share of each turn. */
import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import { describe, expect, it } from "vitest";
import { OpenFileBody } from "./open-file-body.js";
import { pump } from "./pump.js";

type Callback = () => void;

/** A response that handles a block as the test specifies. */
class Outgoing extends EventEmitter {
  destroyed = false;
  isEnded = false;
  constructor(private readonly onWrite: (block: Uint8Array, taken: Callback) => void) {
    super();
  }
  write(block: Uint8Array, taken: Callback): boolean {
    this.onWrite(block, taken);
    return true;
  }
  end(): void {
    this.isEnded = true;
  }
  /** The connection is closed, and its callbacks are called. */
  destroy(waiting: Callback[]): void {
    this.destroyed = true;
    for (const taken of waiting) taken();
    this.emit("close");
  }
  get response(): ServerResponse {
    return this as unknown as ServerResponse;
  }
}

/** Bytes that show their position. */
function fileOf(size: number): { bytes: Buffer; body: OpenFileBody } {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at + 4 <= size; at += 4) bytes.writeUInt32LE(at, at);
  return { bytes, body: bodyOf(bytes) };
}

function bodyOf(bytes: Uint8Array): OpenFileBody {
  // It closes none of our descriptors.
  return Object.assign(new OpenFileBody(-1, [bytes], "memory"), { close: () => {} });
}

const takenAtOnce = (_: Uint8Array, taken: Callback) => process.nextTick(taken);

describe("the pump", () => {
  it("lets other work run while a socket accepts everything", async () => {
    const outgoing = new Outgoing(takenAtOnce);
    let turns = 0;
    const count = () => {
      turns++;
      if (!outgoing.isEnded) setImmediate(count);
    };
    setImmediate(count);
    await pump(bodyOf(new Uint8Array(16 << 20)), outgoing.response);
    expect(outgoing.isEnded).toBe(true);
    // Between any two turns it writes at most a quarter of a megabyte and one block.
    expect(turns).toBeGreaterThanOrEqual(50);
  });

  it("divides a turn among all of them", async () => {
    const progress = [0, 0, 0, 0];
    const pumps = progress.map((_, at) => {
      const outgoing = new Outgoing((block, taken) => {
        progress[at] = (progress[at] as number) + block.length;
        process.nextTick(taken);
        const others = progress.filter((_, other) => other !== at);
        expect((progress[at] as number) - Math.min(...others)).toBeLessThanOrEqual(1 << 20);
      });
      return pump(bodyOf(new Uint8Array(8 << 20)), outgoing.response);
    });
    await Promise.all(pumps);
    expect(progress).toEqual([8 << 20, 8 << 20, 8 << 20, 8 << 20]);
  });

  it("holds little memory for a thousand stuck readers, even for those that were quick before", async () => {
    let held = 0;
    const stuck: Callback[] = [];
    const readers = Array.from({ length: 1000 }, () => {
      let rounds = 0;
      return new Outgoing((block, taken) => {
        rounds++;
        if (rounds < 8) process.nextTick(taken);
        // A short wait: after it, the immediate capacity of the socket is known.
        else if (rounds === 8) setImmediate(taken);
        else if (rounds < 10) process.nextTick(taken);
        else {
          held += block.buffer.byteLength;
          stuck.push(taken);
        }
      });
    });
    const bytes = new Uint8Array(1 << 20);
    const pumps = readers.map((outgoing) => pump(bodyOf(bytes), outgoing.response));
    while (stuck.length < readers.length) await new Promise(setImmediate);
    expect(held).toBeLessThan(6 << 20);
    readers.forEach((outgoing, at) => {
      outgoing.destroy([stuck[at] as Callback]);
    });
    await Promise.all(pumps);
  });

  it("reuses no block before it has been sent", async () => {
    const check = async () => {
      const { bytes, body } = fileOf(700_001);
      const parts: Buffer[] = [];
      let n = 0;
      const outgoing = new Outgoing((block, taken) => {
        const leave = () => {
          parts.push(Buffer.from(block));
          taken();
        };
        if (n++ % 3 === 0) setImmediate(leave);
        else process.nextTick(leave);
      });
      await pump(body, outgoing.response);
      expect(Buffer.concat(parts).equals(bytes)).toBe(true);
    };
    await Promise.all(Array.from({ length: 40 }, check));
  });

  it("ends with the connection, and fails with the file", async () => {
    const waiting: Callback[] = [];
    const outgoing = new Outgoing((_, taken) => waiting.push(taken));
    const { body } = fileOf(1 << 20);
    let isClosed = false;
    body.close = () => {
      isClosed = true;
    };
    const done = pump(body, outgoing.response);
    outgoing.destroy(waiting);
    await done;
    expect([isClosed, outgoing.isEnded]).toEqual([true, false]);

    const broken = fileOf(1 << 20).body;
    broken.readInto = () => {
      throw new Error("shorter");
    };
    await expect(pump(broken, new Outgoing(takenAtOnce).response)).rejects.toThrow("shorter");
  });
});
