/** Binds sockets without listening, through system calls on Bun, because Bun.listen would listen immediately. */
import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { closeSync } from "node:fs";
import { isIPv4 } from "node:net";
import { arch, platform } from "node:os";
import type { BoundSocket } from "./bind-node.js";

const linux = platform() === "linux";
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = linux ? 10 : 30;
/** Linux has SOCK_CLOEXEC, so that only the balancers inherit the descriptor. */
const SOCK_STREAM = linux ? 1 | 0o2000000 : 1;
const SOL_SOCKET = linux ? 1 : 0xffff;
const SO_REUSEADDR = linux ? 2 : 4;
const SO_REUSEPORT = linux ? 15 : 0x200;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = linux ? 26 : 27;
const SHUT_RD = 0;
/** System calls with the same numbers on every CPU architecture. */
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;
const INET_BYTES = 16;
const INET6_BYTES = 28;
const UNIX_BYTES = linux ? 110 : 106;

const { symbols: libc } = open();

function open() {
  const musl = { x64: "libc.musl-x86_64.so.1", arm64: "libc.musl-aarch64.so.1" }[arch() as "x64" | "arm64"];
  const names = linux ? ["libc.so.6", ...(musl === undefined ? [] : [musl])] : ["libSystem.B.dylib"];
  let cause: unknown;
  for (const name of names) {
    try {
      const { i32, ptr: pointer } = FFIType;
      return dlopen(name, {
        socket: { args: [i32, i32, i32], returns: i32 },
        setsockopt: { args: [i32, i32, i32, pointer, i32], returns: i32 },
        bind: { args: [i32, pointer, i32], returns: i32 },
        getsockname: { args: [i32, pointer, pointer], returns: i32 },
        shutdown: { args: [i32, i32], returns: i32 },
        ...(linux
          ? { syscall: { args: [FFIType.i64, FFIType.i64, FFIType.i64, FFIType.i64], returns: FFIType.i64 } }
          : {}),
        inet_pton: { args: [i32, pointer, pointer], returns: i32 },
        ...(linux ? { __errno_location: { args: [], returns: pointer } } : { __error: { args: [], returns: pointer } }),
      });
    } catch (error) {
      cause = error;
    }
  }
  throw cause;
}

/**
 * Returns a TCP socket, or the negative errno of the call that failed.
 * @param isShared whether other sockets of this user may have the same address
 */
export function bindTcp(
  host: string,
  port: number,
  family: 4 | 6,
  ipv6Only: boolean,
  isShared = false,
): BoundSocket | number {
  const address = new DataView(new ArrayBuffer(family === 4 ? INET_BYTES : INET6_BYTES));
  setFamily(address, family === 4 ? AF_INET : AF_INET6);
  address.setUint16(2, port);
  const at = isIPv4(host) ? 4 : 8;
  const bytes = new Uint8Array(address.buffer);
  // The address bytes have no room for a scope such as %eth0; such an address is rejected as not available.
  if (libc.inet_pton(family === 4 ? AF_INET : AF_INET6, ptr(cString(host)), ptr(bytes, at)) !== 1)
    return -EADDRNOTAVAIL;
  const bound = bindSocket(family === 4 ? AF_INET : AF_INET6, bytes, ipv6Only, isShared);
  if (typeof bound === "number") return bound;
  const name = new Uint8Array(INET6_BYTES);
  const length = new Uint32Array([INET6_BYTES]);
  if (libc.getsockname(bound.fd, ptr(name), ptr(length)) !== 0) return failed(bound.fd);
  return { ...bound, port: new DataView(name.buffer).getUint16(2) };
}

/** Whether several sockets can share an address. */
export const canShare = true;

/** Returns a unix socket, or the negative errno of the call that failed. */
export function bindUnix(path: string): BoundSocket | number {
  const bytes = new Uint8Array(UNIX_BYTES);
  const encoded = Buffer.from(path);
  if (encoded.length > UNIX_BYTES - 3) return -ENAMETOOLONG;
  setFamily(new DataView(bytes.buffer), AF_UNIX);
  bytes.set(encoded, 2);
  return bindSocket(AF_UNIX, bytes);
}

const EADDRNOTAVAIL = linux ? 99 : 49;
const ENAMETOOLONG = linux ? 36 : 63;

function bindSocket(family: number, address: Uint8Array, ipv6Only = false, isShared = false): BoundSocket | number {
  const fd = libc.socket(family, SOCK_STREAM, 0);
  if (fd < 0) return failed();
  const one = new Uint32Array([1]);
  // SO_REUSEADDR: without it, a port stays in use for a minute after its last supervisor exited.
  if (family !== AF_UNIX && libc.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, ptr(one), 4) !== 0) return failed(fd);
  if (isShared && libc.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, ptr(one), 4) !== 0) return failed(fd);
  // Set in both cases, because the default depends on the system.
  const only = new Uint32Array([ipv6Only ? 1 : 0]);
  if (family === AF_INET6 && libc.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, ptr(only), 4) !== 0) return failed(fd);
  if (libc.bind(fd, ptr(address), address.length) !== 0) return failed(fd);
  return { fd, port: 0, shutDown: () => shutDown(fd), close: () => closeSync(fd) };
}

/** Stops accepting connections in every process that shares the descriptor. */
export function shutDown(fd: number): void {
  libc.shutdown(fd, SHUT_RD);
}

/** Returns a copy of another process's descriptor; undefined if that is not possible, for example because of the Yama security module. */
export function copyDescriptor(pid: number, fd: number): number | undefined {
  const { syscall } = libc as unknown as { syscall?: (...numbers: number[]) => bigint };
  if (syscall === undefined) return undefined;
  const process = Number(syscall(SYS_PIDFD_OPEN, pid, 0, 0));
  if (process < 0) return undefined;
  const copy = Number(syscall(SYS_PIDFD_GETFD, process, fd, 0));
  closeSync(process);
  return copy < 0 ? undefined : copy;
}

/** Writes the address family: two bytes on Linux; on BSDs a length byte and a family byte. */
function setFamily(address: DataView, family: number): void {
  if (linux) {
    address.setUint16(0, family, true);
    return;
  }
  address.setUint8(0, address.byteLength);
  address.setUint8(1, family);
}

function failed(fd?: number): number {
  const location = "__errno_location" in libc ? libc.__errno_location() : libc.__error();
  const errno = location === null ? 0 : read.i32(location, 0);
  if (fd !== undefined) closeSync(fd);
  return errno === 0 ? -1 : -errno;
}

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}
