/**
 * Parses what a node:http connection sends in slices, so that its owner can pause it between two of them. By itself node:http reads
 * and parses 64 KB in one call, which takes 14 ms for chunks of a byte. Slices cost two microseconds a request.
 */
import type { Socket } from "node:net";
import { giveBack } from "@paceline/wire";

/** Larger than the pieces of bodies that are joined. */
const SLICE_BYTES = 8192;
/** The maximum number of connections whose last read is not parsed completely, each with up to 64 KB. */
const MAX_RESTS = 128;

const sliced = new WeakSet<Socket>();
const rests = new Map<Socket, Buffer>();

type DataListener = (bytes: Buffer) => void;

/** The internals of node:net sockets that its types omit. */
interface Internals {
  readonly _handle?: { reading: boolean; readStop(): void } | null;
}

/** @param isHeld whether `stopReads` applies to it already */
export function readInSlices(socket: Socket, isHeld: boolean): void {
  const [parse] = socket.listeners("data") as DataListener[];
  if (parse === undefined || sliced.has(socket)) return;
  sliced.add(socket);
  const parseSlice = (bytes: Buffer): void => {
    rests.delete(socket);
    const isSlice = bytes.length > SLICE_BYTES && rests.size < MAX_RESTS;
    parse.call(socket, isSlice ? bytes.subarray(0, SLICE_BYTES) : bytes);
    // It became a tunnel, which has the rest.
    const isTunnel = !socket.listeners("data").includes(parse);
    const rest = bytes.subarray(SLICE_BYTES);
    if (isSlice && (isTunnel || !socket.destroyed)) {
      if (socket.isPaused() && !isTunnel) rests.set(socket, rest);
      // Its reader is called again at once, or after a pause.
      socket.unshift(rest);
    } else if (!isTunnel) giveBack(bytes);
  };
  socket.once("close", () => {
    const rest = rests.get(socket);
    if (rest !== undefined) giveBack(rest);
    rests.delete(socket);
  });
  socket.removeListener("data", parse);
  // Another listener makes node:http leave reading to the socket. With `listener` it can remove this one like its own, when the
  // connection becomes a tunnel.
  socket.on("data", Object.assign(parseSlice, { listener: parse }));
  if (isHeld) stopReads(socket);
  else socket._read(0);
}

/** Returns whether bytes of its last read are left. */
export function hasRest(socket: Socket): boolean {
  return rests.has(socket);
}

/** Keeps a paused socket from reading ahead. */
export function stopReads(socket: Socket): void {
  const { _handle: handle } = socket as unknown as Internals;
  if (!sliced.has(socket) || !handle) return;
  handle.reading = false;
  handle.readStop();
  // Reads that are due start in `startReads`.
  socket._read = () => {};
}

export function startReads(socket: Socket): void {
  if (!sliced.has(socket)) return;
  delete (socket as Partial<Socket>)._read;
  socket._read(0);
}
