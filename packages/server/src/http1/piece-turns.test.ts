import type { Socket } from "node:net";
import { PassThrough } from "node:stream";
import { expect, it } from "vitest";
import { countPiece, leaveConnection, watchConnection } from "./piece-turns.js";

const connection = (): Socket => {
  const socket = new PassThrough();
  watchConnection(socket.resume() as unknown as Socket);
  return socket as unknown as Socket;
};

it("many small pieces of one body keep every connection from being read for the rest of the turn, idle ones too", async () => {
  const [busy, idle, tunnel, gone] = [connection(), connection(), connection(), connection()];
  const all = [busy, idle, tunnel, gone];
  leaveConnection(tunnel);
  await new Promise((resolve) => gone.once("close", resolve).destroy());
  const paused = () => all.map((socket) => socket.isPaused());
  for (let i = 0; i < 2048; i++) {
    expect(paused()).toEqual([false, false, false, false]);
    countPiece();
  }
  expect(paused()).toEqual([true, true, false, false]);
  const late = connection();
  expect(late.isPaused()).toBe(true);
  await new Promise((resolve) => setImmediate(resolve));
  expect([...paused(), late.isPaused()]).toEqual([false, false, false, false, false]);
});
