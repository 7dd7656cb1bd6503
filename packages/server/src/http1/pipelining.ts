/** Requests that a client sends ahead of its responses, on node:http: each begins when the one before has its response, and that is read. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { holdSocket, releaseSocket } from "./held-sockets.js";

/** With more than this waiting for the client no next request is begun, in bytes. */
const MAX_UNREAD_BYTES = 65_536;

type Begin = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * Wraps what begins a request. node:http parses all that one read brought and would begin each request of it at once,
 * thousands of them, whatever waits for the client.
 */
export function oneAfterTheOther(begin: Begin): Begin {
  /** How many requests of a connection wait for their turn. */
  const waiting = new WeakMap<Socket, number>();

  function beginInTurn(request: IncomingMessage, response: ServerResponse, socket: Socket): void {
    const left = (waiting.get(socket) ?? 1) - 1;
    waiting.set(socket, left);
    if (left === 0) releaseSocket(socket);
    if (!response.destroyed) begin(request, response);
  }

  return (request, response) => {
    // It has no socket while another response has it.
    if (response.socket !== null) return begin(request, response);
    const { socket } = request;
    const before = waiting.get(socket) ?? 0;
    waiting.set(socket, before + 1);
    if (before === 0) holdSocket(socket);
    response.once("socket", () => {
      if (socket.writableLength <= MAX_UNREAD_BYTES) return beginInTurn(request, response, socket);
      socket.once("drain", () => beginInTurn(request, response, socket));
    });
  };
}
