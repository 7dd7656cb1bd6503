import { describe, expect, it } from "vitest";
import { Input } from "./input.js";

const BYTE = Buffer.from("x");

it("joins what a client sends ahead of its response in a buffer that seldom grows", () => {
  const input = new Input();
  input.push(Buffer.from("GET / HTTP/1.1\r\n\r\nab"));
  const kept = input.bytes;
  input.consume(18);
  const buffers = new Set<Buffer>([kept]);
  for (let i = 0; i < 60_000; i++) {
    input.push(BYTE);
    buffers.add(input.bytes);
  }
  expect(input.bytes.toString("latin1", input.start, input.end)).toBe(`ab${"x".repeat(60_000)}`);
  // The current request may still use the received bytes, so they are not overwritten.
  expect(kept.toString()).toBe("GET / HTTP/1.1\r\n\r\nab");
  expect(buffers.size).toBeLessThan(10);
});

it("keeps only the rest of a large read that is nearly used up", () => {
  const input = new Input();
  input.push(Buffer.from(`${"x".repeat(500_000)}GET / HT`));
  input.consume(500_000);
  input.compact();
  expect(input.bytes.buffer.byteLength).toBeLessThan(1000);
  input.push(Buffer.from("TP/1.1"));
  expect(input.bytes.toString("latin1", input.start, input.end)).toBe("GET / HTTP/1.1");
});

describe("a large read that is used up", () => {
  const holder = (held?: Buffer) => ({ holds: (bytes: Uint8Array) => bytes === held });
  const usedUp = () => {
    const input = new Input();
    const bytes = Buffer.allocUnsafeSlow(60_000);
    input.push(bytes);
    return { input, bytes };
  };

  it("returns its memory", () => {
    const { input, bytes } = usedUp();
    input.consume(60_000);
    input.freeSpent(holder());
    expect(bytes.length).toBe(0);
  });

  it("returns it when the rest has been moved to a separate buffer", () => {
    const { input, bytes } = usedUp();
    bytes.fill("y");
    input.consume(59_000);
    input.compact();
    input.freeSpent(holder());
    expect(bytes.length).toBe(0);
    expect(input.bytes.toString("latin1", input.start, input.end)).toBe("y".repeat(1000));
  });

  it("keeps it while something else uses a part of it: a head, a piece of a body, or the transport", () => {
    const { input: ofHead, bytes: head } = usedUp();
    ofHead.consume(60_000);
    ofHead.freeSpent(holder(head));
    const { input: ofBody, bytes: body } = usedUp();
    ofBody.lend();
    ofBody.consume(60_000);
    ofBody.freeSpent(holder());
    const { input: received, bytes } = usedUp();
    received.consume(60_000);
    received.freeSpent(holder(), bytes);
    const { input: unread, bytes: ahead } = usedUp();
    unread.consume(30_000);
    unread.freeSpent(holder());
    expect([head, body, bytes, ahead].map(({ length }) => length)).toEqual([60_000, 60_000, 60_000, 60_000]);
  });
});
