/**
 * Holds bodies in many small chunks to a share of each turn of the event loop. node:http hands each chunk over by itself, over a
 * microsecond each, and one read may have ten thousand: forty clients would keep everybody else waiting for a second.
 */
import type { Socket } from "node:net";
import { holdSocket, releaseSocket } from "./held-sockets.js";

/** So many small pieces, of all bodies together, are taken; then no such body is read on before the next turn. */
const MAX_TURN_PIECES = 2048;

let left = MAX_TURN_PIECES;
const reading = new Set<Socket>();
let held: Socket[] | undefined;

/**
 * A connection of Node, whatever it brings: many of those that are idle may begin such a body in one turn. Bun tells of a body before
 * its pieces.
 */
export function watchConnection(socket: Socket): void {
  beginPieces(socket);
  socket.once("close", () => reading.delete(socket));
}

/** It has become a tunnel. */
export function leaveConnection(socket: Socket): void {
  reading.delete(socket);
}

/** A body in chunks has begun to come over this socket. */
export function beginPieces(socket: Socket): void {
  if (reading.has(socket)) return;
  reading.add(socket);
  if (held === undefined) return;
  held.push(socket);
  holdSocket(socket);
}

export function endPieces(socket: Socket): void {
  if (process.versions.bun !== undefined) reading.delete(socket);
}

/** Counts a small piece. */
export function countPiece(): void {
  if (--left > 0 || held !== undefined) return;
  held = [...reading];
  for (const socket of held) holdSocket(socket);
  setImmediate(goOn);
}

function goOn(): void {
  const sockets = held ?? [];
  held = undefined;
  left = MAX_TURN_PIECES;
  for (const socket of sockets) releaseSocket(socket);
}
