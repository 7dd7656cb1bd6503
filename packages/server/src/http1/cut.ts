/** Breaks a connection off so that a response that is not whole does not look whole. */
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";

/** A reset on TCP, since an HTTP/1.0 client takes a plain close for the end of the body; a unix socket has no reset. */
export function cut(socket: Duplex | null): void {
  const { remoteAddress, resetAndDestroy } = (socket ?? {}) as Partial<Socket>;
  if (remoteAddress !== undefined && typeof resetAndDestroy === "function") resetAndDestroy.call(socket);
  else socket?.destroy();
}
