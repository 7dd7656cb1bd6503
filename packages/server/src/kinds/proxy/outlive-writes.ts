/** Reads the response of an upstream that closes while the request is still written to it. */
import type { Socket } from "node:net";

type Done = (error?: Error | null) => void;

const known = new WeakSet<Socket>();
/** What a write says of a peer that has closed. */
const GONE: ReadonlySet<string | undefined> = new Set(["EPIPE", "ECONNRESET", "ECONNABORTED"]);

/**
 * Node gives a socket up as soon as a write fails, with what had come and was not read yet. Here such a write counts as done:
 * what the peer has said is read first, and then the end or the error that the reading meets decides.
 */
export function outliveWrites(socket: Socket): void {
  if (known.has(socket)) return;
  known.add(socket);
  const { _write, _writev } = socket;
  const without = (done: Done): Done => {
    return (error) => done(GONE.has((error as NodeJS.ErrnoException | null | undefined)?.code) ? null : error);
  };
  socket._write = (chunk, encoding, done) => _write.call(socket, chunk, encoding, without(done));
  if (_writev !== undefined) socket._writev = (chunks, done) => _writev.call(socket, chunks, without(done));
}
