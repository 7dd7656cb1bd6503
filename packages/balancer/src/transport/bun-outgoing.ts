/** How much of what a socket was given its peer has not acknowledged: the kernel tells it by a call that Bun does not have. */
import { dlopen, ptr } from "bun:ffi";

/** SIOCOUTQ of Linux. On a unix socket it counts what the peer has not read, with what it costs the kernel to keep. */
const SIOCOUTQ = 0x5411;

type Ioctl = (fd: number, request: number, out: number) => number;

const out = new Int32Array(1);
let ioctl: Ioctl | undefined;

export const seesOutgoing = process.platform === "linux";

/** Bytes that the kernel holds for the peer; 0 where it cannot be asked. */
export function outgoingBytes(fd: number): number {
  if (!seesOutgoing || fd < 0) return 0;
  ioctl ??= loadIoctl();
  return ioctl(fd, SIOCOUTQ, ptr(out)) === 0 ? (out[0] as number) : 0;
}

function loadIoctl(): Ioctl {
  try {
    // Kept for good: it is asked of every slow reader.
    return dlopen("libc.so.6", { ioctl: { args: ["int", "u64", "ptr"], returns: "int" } }).symbols.ioctl as never;
  } catch {
    // A libc of another name (musl): what left this process has to do.
    return () => -1;
  }
}
