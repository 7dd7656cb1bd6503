import { expect, it } from "vitest";
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
  // The bytes that came may be kept by the request in them, and are not written to.
  expect(kept.toString()).toBe("GET / HTTP/1.1\r\n\r\nab");
  expect(buffers.size).toBeLessThan(10);
});

it("keeps of a large read that is nearly used up only what is left", () => {
  const input = new Input();
  input.push(Buffer.from(`${"x".repeat(500_000)}GET / HT`));
  input.consume(500_000);
  input.compact();
  expect(input.bytes.buffer.byteLength).toBeLessThan(1000);
  input.push(Buffer.from("TP/1.1"));
  expect(input.bytes.toString("latin1", input.start, input.end)).toBe("GET / HTTP/1.1");
});
