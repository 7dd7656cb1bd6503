import { EventEmitter } from "node:events";
import type { TLSSocket } from "node:tls";
import { expect, test } from "vitest";
import { NO_OWNER } from "../transport/transport.js";
import { type Below, TlsConnection } from "./tls-connection.js";

/** Writes only when the test says so. */
class FakeSocket extends EventEmitter {
  private readonly callbacks: (() => void)[] = [];

  write(_: Uint8Array, done: () => void): boolean {
    this.callbacks.push(done);
    return true;
  }

  written(): void {
    for (const done of this.callbacks.splice(0)) done();
  }
}

test("a write over TLS that leaves few bytes waiting is followed by one drain, only for those who request it", () => {
  const socket = new FakeSocket();
  const connection = new TlsConnection(socket as unknown as TLSSocket, {} as Below, "127.0.0.1", undefined);
  let drains = 0;
  connection.owner = { ...NO_OWNER, onDrain: () => drains++ };
  const write = () => expect([connection.write(Buffer.alloc(1000)), connection.waitingBytes]).toEqual([true, 1000]);
  write();
  socket.written();
  expect(drains).toBe(0);
  write();
  connection.asksDrain();
  expect(drains).toBe(0);
  socket.written();
  expect(drains).toBe(1);
  write();
  socket.written();
  expect(drains).toBe(1);
});

test("bytes that wait over TLS count with their encrypted form, and the start of the queue only once", () => {
  const socket = new FakeSocket();
  const connection = new TlsConnection(socket as unknown as TLSSocket, {} as Below, "127.0.0.1", undefined);
  const bytes = Buffer.alloc(65_536);
  for (let n = 0; n < 3; n++) connection.write(bytes);
  expect([connection.waitingBytes, connection.heldBytes]).toEqual([3 * 65_536, 3 * 65_536]);
  socket.written();
  expect([connection.waitingBytes, connection.heldBytes]).toEqual([2 * 65_536, 3 * 65_536]);
  socket.written();
  expect([connection.waitingBytes, connection.heldBytes]).toEqual([65_536, 2 * 65_536]);
});
