/** Which sockets' peers have sent FIN or are gone: Bun does not look at a socket that is paused, so the kernel is asked. */

const POLLERR = 0x8;
const POLLHUP = 0x10;
/** Of Linux. */
const POLLRDHUP = 0x2000;

/** Of a `struct pollfd`. */
const ENTRY_BYTES = 8;
const EVENTS_AT = 4;
const RETURNED_AT = 6;

type Ask = (entries: Buffer, count: number) => number;

let ask: Ask | undefined;

/** Those of these descriptors whose peer has left; none where the kernel cannot be asked. */
export function whosePeerLeft(descriptors: readonly number[]): number[] {
  if (process.platform !== "linux" || descriptors.length === 0) return [];
  ask ??= loadPoll();
  const entries = Buffer.alloc(descriptors.length * ENTRY_BYTES);
  for (const [at, descriptor] of descriptors.entries()) {
    entries.writeInt32LE(descriptor, at * ENTRY_BYTES);
    entries.writeInt16LE(POLLRDHUP, at * ENTRY_BYTES + EVENTS_AT);
  }
  if (ask(entries, descriptors.length) <= 0) return [];
  return descriptors.filter(
    (_, at) => (entries.readInt16LE(at * ENTRY_BYTES + RETURNED_AT) & (POLLRDHUP | POLLHUP | POLLERR)) !== 0,
  );
}

function loadPoll(): Ask {
  const { dlopen, ptr } = process.getBuiltinModule("bun:ffi") as unknown as typeof import("bun:ffi");
  try {
    const { poll } = dlopen("libc.so.6", { poll: { args: ["ptr", "u64", "int"], returns: "int" } }).symbols;
    return (entries, count) => poll(ptr(entries), count, 0);
  } catch {
    // A libc of another name (musl): what left is noticed at the deadlines.
    return () => 0;
  }
}
