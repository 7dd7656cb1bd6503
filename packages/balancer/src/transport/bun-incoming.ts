/** Bounds what the kernel takes for us of a peer that is not read: Bun reads half a megabyte of it at once, and has no option for that. */
import { dlopen, ptr } from "bun:ffi";

/** Of Linux. */
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;

/** The kernel doubles it, and its bookkeeping takes half. */
const size = new Int32Array([32_768]);

type SetSockOpt = (fd: number, level: number, option: number, value: number, length: number) => number;

let setsockopt: SetSockOpt | undefined;

/** From now on the kernel holds some tens of kilobytes of this peer, and no reading brings more. */
export function limitIncoming(fd: number): void {
  if (process.platform !== "linux" || fd < 0) return;
  setsockopt ??= load();
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, ptr(size), size.byteLength);
}

function load(): SetSockOpt {
  try {
    const args = ["int", "int", "int", "ptr", "u32"] as const;
    return dlopen("libc.so.6", { setsockopt: { args, returns: "int" } }).symbols.setsockopt as never;
  } catch {
    // A libc of another name (musl): the budget for slow clients has to do.
    return () => -1;
  }
}
