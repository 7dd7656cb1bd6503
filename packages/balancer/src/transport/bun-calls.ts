/** System calls on the descriptors of sockets that Bun has no methods for. */
import { dlopen, ptr } from "bun:ffi";
import { LISTEN_BACKLOG } from "./transport.js";

/**
 * How many unsent bytes the kernel accepts for a client. The default over loopback is megabytes. Some hundred clients that read nothing
 * would then use up the memory of all TCP connections of the machine (net.ipv4.tcp_mem), and all others would wait for retransmissions.
 */
const UNSENT_BYTES = 131_072;

/**
 * The receive buffer for an upstream, which limits the size of a read: Bun reads up to half a megabyte at once, and the bytes that a client
 * does not take wait in this process. A unix socket ignores it, but the buffer of its sender is smaller.
 */
const UPSTREAM_RECEIVE_BYTES = 131_072;

/**
 * The send buffer of a lane, and of an HTTP/1.1 connection to a local instance. Bun reads half a megabyte of a client at once. By default
 * the kernel takes less than half of that. The rest must be copied and sent later, or waits here while the instance reads nothing. The
 * kernel limits the value to net.core.wmem_max, and doubles it.
 */
const LOCAL_SEND_BYTES = 262_144;

/** The receive buffer of a client whose reads are limited: the size that a new connection has. The kernel doubles it. */
const LITTLE_RECEIVE_BYTES = 65_536;

const isDarwin = process.platform === "darwin";
const libc = isDarwin ? "libSystem.dylib" : "libc.so.6";
const SET_OPTION = { args: ["int", "int", "int", "ptr", "int"], returns: "int" } as const;
const SEND = { args: ["int", "ptr", "u64", "int"], returns: "int" } as const;
const LISTEN = { args: ["int", "int"], returns: "int" } as const;
const IPPROTO_TCP = 6;
const TCP_NOTSENT_LOWAT = isDarwin ? 0x201 : 25;
const SOL_SOCKET = isDarwin ? 0xffff : 1;
const SO_RCVBUF = isDarwin ? 0x1002 : 8;
const SO_SNDBUF = isDarwin ? 0x1001 : 7;
/** Linux only; macOS has something similar with other rules. */
const TCP_CORK = 3;
/** Linux: for how many seconds a client may send nothing before it is accepted anyway. */
const TCP_DEFER_ACCEPT = 9;
/** Linux 5.14 and later: 0 lets the kernel choose the sizes of buffers again. */
const SO_BUF_LOCK = 72;
const receiveBytes = new Int32Array([UPSTREAM_RECEIVE_BYTES]);
const sendBytes = new Int32Array([LOCAL_SEND_BYTES]);
const littleReceiveBytes = new Int32Array([LITTLE_RECEIVE_BYTES]);
const onOrOff = [new Int32Array([0]), new Int32Array([1])] as const;

/** On Linux: MSG_DONTWAIT and MSG_NOSIGNAL, as Bun sends (send(2)); with MSG_MORE the kernel waits for the FIN. */
const AS_BUN_SENDS = 0x40 | 0x4000;
const BEFORE_FIN = 0x8000 | AS_BUN_SENDS;

interface Calls {
  setsockopt(fd: number, level: number, option: number, value: number, size: number): number;
  send(fd: number, bytes: number, length: number, flags: number): number;
  listen(fd: number, backlog: number): number;
}

let calls: Calls | undefined;

/**
 * Limits the reads from an upstream.
 * @param sendsMuch whether the kernel should accept many bytes for the upstream at once
 */
export function tuneUpstream(fd: number, sendsMuch: boolean): void {
  set(fd, SOL_SOCKET, SO_RCVBUF, receiveBytes);
  if (sendsMuch) set(fd, SOL_SOCKET, SO_SNDBUF, sendBytes);
}

/** Sets or removes a limit on how many bytes the kernel receives for a client, and so on the size of a read. */
export function limitReceipt(fd: number, isLimited: boolean): void {
  if (isDarwin) return;
  if (isLimited) set(fd, SOL_SOCKET, SO_RCVBUF, littleReceiveBytes);
  else set(fd, SOL_SOCKET, SO_BUF_LOCK, onOrOff[0]);
}

/** Returns false if the kernel does not support it. */
export function setCork(fd: number, isOn: boolean): boolean {
  return !isDarwin && set(fd, IPPROTO_TCP, TCP_CORK, onOrOff[isOn ? 1 : 0]) === 0;
}

/**
 * Sends bytes without Bun. Returns how many bytes the kernel has accepted; 0 if it accepts none now, the connection is broken, or this is
 * not supported: then Bun's `write` shows which.
 * @param isLast whether the connection's FIN follows: the kernel then sends both in one packet; a second packet would cost as much again
 */
export function sendNow(fd: number, bytes: Uint8Array, length: number, isLast: boolean): number {
  if (isDarwin) return 0;
  calls ??= loadCalls();
  return Math.max(0, calls.send(fd, ptr(bytes) as number, length, isLast ? BEFORE_FIN : AS_BUN_SENDS));
}

function set(fd: number, level: number, option: number, value: Int32Array): number {
  calls ??= loadCalls();
  return calls.setsockopt(fd, level, option, ptr(value) as number, value.byteLength);
}

function loadCalls(): Calls {
  try {
    return dlopen(libc, { setsockopt: SET_OPTION, send: SEND, listen: LISTEN }).symbols as never;
  } catch {
    // If the C library has another name (musl), the defaults stay.
    return { setsockopt: () => -1, send: () => -1, listen: () => -1 };
  }
}

/** Sets options that Bun cannot set. Accepted TCP connections inherit the socket option; unix sockets do not have it. */
export function tuneListener(fd: number): void {
  calls ??= loadCalls();
  // Bun requests an accept queue of 512, which is too small for a thousand clients at once. A second listen(2) only changes its length.
  calls.listen(fd, LISTEN_BACKLOG);
  set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, new Int32Array([UNSENT_BYTES]));
  // A balancer on Node limits the whole buffer.
  if (!isDarwin) set(fd, SOL_SOCKET, SO_BUF_LOCK, onOrOff[0]);
  // Another balancer may have ended while clients were deferred.
  deferClients(fd, false);
}

/** See Listener; a unix socket has no such option. */
export function deferClients(fd: number, isOn: boolean): void {
  if (!isDarwin) set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, onOrOff[isOn ? 1 : 0]);
}

/** SIOCOUTQ on Linux (tcp(7)). For a unix socket it counts the bytes that the peer has not read, including kernel overhead. */
const SIOCOUTQ = 0x5411;

type Ioctl = (fd: number, request: number, out: number) => number;

const out = new Int32Array(1);
let ioctl: Ioctl | undefined;

export const seesOutgoing = process.platform === "linux";

/** Returns the bytes that the kernel holds for the peer; 0 if unknown. */
export function outgoingBytes(fd: number): number {
  if (!seesOutgoing || fd < 0) return 0;
  ioctl ??= loadIoctl();
  return ioctl(fd, SIOCOUTQ, ptr(out)) === 0 ? (out[0] as number) : 0;
}

function loadIoctl(): Ioctl {
  try {
    // Kept loaded, because it is called for every slow reader.
    return dlopen("libc.so.6", { ioctl: { args: ["int", "u64", "ptr"], returns: "int" } }).symbols.ioctl as never;
  } catch {
    // If the C library has another name (musl), bytes count as acknowledged once they have left this process.
    return () => -1;
  }
}
