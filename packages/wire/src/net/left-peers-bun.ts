/** Asks the kernel which peers have sent FIN or disconnected, because Bun does not poll paused sockets. */

const POLLERR = 0x8;
const POLLHUP = 0x10;
/** The value on Linux. */
const POLLRDHUP = 0x2000;

/** For `struct pollfd`. */
const ENTRY_BYTES = 8;
const EVENTS_AT = 4;
const RETURNED_AT = 6;

type Ask = (entries: Buffer, count: number) => number;

let ask: Ask | undefined;

/** Returns the descriptors whose peer has disconnected; empty if the kernel cannot be asked. */
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
    // If the C library has another name (musl), a disconnect is noticed only at the deadlines.
    return () => 0;
  }
}
