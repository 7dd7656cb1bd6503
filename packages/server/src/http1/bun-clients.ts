/**
 * Finds the connections of Bun.serve and of node:http on Bun, and makes system calls on them. Bun has no method for these: it does not
 * expose the descriptor, and `resetAndDestroy` does nothing (1.4.5).
 */
import { fs } from "@paceline/wire";
import { hostOf } from "@paceline/wire/proc";

interface Peer {
  readonly address: string;
  readonly port: number;
}

/** Returns a text for each client. A dual-stack listener shows an IPv4 client as IPv6. */
export function keyOf({ address, port }: Peer): string {
  return `${address.replace(/^::ffff:(?=\d+\.)/, "")} ${port}`;
}

const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_LINGER = 13;
/** The size of `struct sockaddr_in6`, and where the address begins in it and in `struct sockaddr_in`. */
const ADDRESS_BYTES = 28;
const V6_AT = 8;
const V4_AT = 4;
const NONE = -1;
/** tcp(7). */
const SIOCOUTQ = 0x5411;

/**
 * The descriptors of connections by the port of their peers, as of the last search; NONE if several have the same port. Some may be out of
 * date.
 */
const known = new Map<number, number>();

/** For one call at a time. */
const address = Buffer.alloc(ADDRESS_BYTES);
const length = new Uint32Array(1);
const atOnce = new Int32Array([1, 0]);
const held = new Int32Array(1);

/**
 * Returns the connections with these clients: the client's key and the descriptor. Asks about all descriptors only if a client is not where
 * it was: thousands may be cut, one after another.
 * @param keys from `keyOf`
 */
export function connectionsWith(keys: ReadonlySet<string>): [key: string, descriptor: number][] {
  if (process.platform !== "linux") return [];
  const found: [string, number][] = [];
  const missing = new Set(keys);
  for (const key of keys) {
    const descriptor = known.get(portIn(key));
    if (descriptor === undefined || !readPeer(descriptor) || keyOf(peer()) !== key) continue;
    found.push([key, descriptor]);
    missing.delete(key);
  }
  return missing.size > 0 ? [...found, ...search(missing)] : found;
}

function search(keys: ReadonlySet<string>): [string, number][] {
  const found: [string, number][] = [];
  const ports = new Set([...keys].map(portIn));
  known.clear();
  for (const descriptor of ownDescriptors()) {
    if (!readPeer(descriptor)) continue;
    const port = peerPort();
    known.set(port, known.has(port) ? NONE : descriptor);
    if (!ports.has(port)) continue;
    const key = keyOf(peer());
    if (keys.has(key)) found.push([key, descriptor]);
  }
  return found;
}

function ownDescriptors(): number[] {
  try {
    return fs().readdirSync("/proc/self/fd").map(Number);
  } catch {
    // No /proc, or no free descriptor.
    return [];
  }
}

/**
 * Lets the kernel send a reset instead of FIN when the connections with these clients are closed, even if the process ends (SO_LINGER,
 * socket(7)).
 * @param keys from `keyOf`
 */
export function resetAtClose(keys: ReadonlySet<string>): void {
  for (const [, descriptor] of connectionsWith(keys))
    libc?.setsockopt(descriptor, SOL_SOCKET, SO_LINGER, libc.ptr(atOnce), atOnce.byteLength);
}

/** Returns the number of bytes that the kernel holds for the client of a connection. */
export function heldBytes(descriptor: number): number {
  libc ??= loadLibc();
  return libc.ioctl(descriptor, SIOCOUTQ, libc.ptr(held)) === 0 ? (held[0] as number) : 0;
}

function portIn(key: string): number {
  return Number(key.slice(key.lastIndexOf(" ") + 1));
}

/** Reads the address of a descriptor's peer. Returns false if it has none, or one of another kind. */
function readPeer(descriptor: number): boolean {
  libc ??= loadLibc();
  length[0] = ADDRESS_BYTES;
  if (libc.getpeername(descriptor, libc.ptr(address), libc.ptr(length)) !== 0) return false;
  const family = address.readUInt16LE(0);
  return family === AF_INET || family === AF_INET6;
}

/** Decodes the port of the address that was read: of a `struct sockaddr_in` or `sockaddr_in6`. */
function peerPort(): number {
  return address.readUInt16BE(2);
}

function peer(): Peer {
  const isV4 = address.readUInt16LE(0) === AF_INET;
  const words = address.subarray(isV4 ? V4_AT : V6_AT, isV4 ? V4_AT + 4 : V6_AT + 16);
  // `hostOf` expects the form of the kernel's tables, where each word is a number in the byte order of the machine.
  return { address: hostOf(Buffer.from(words).swap32().toString("hex")), port: peerPort() };
}

let libc: ReturnType<typeof loadLibc> | undefined;

function loadLibc() {
  const { dlopen, ptr } = process.getBuiltinModule("bun:ffi") as unknown as typeof import("bun:ffi");
  for (const name of ["libc.so.6", process.arch === "arm64" ? "libc.musl-aarch64.so.1" : "libc.musl-x86_64.so.1"]) {
    try {
      const { symbols } = dlopen(name, {
        getpeername: { args: ["int", "ptr", "ptr"], returns: "int" },
        setsockopt: { args: ["int", "int", "int", "ptr", "int"], returns: "int" },
        ioctl: { args: ["int", "u64", "ptr"], returns: "int" },
      });
      return { ...symbols, ptr };
    } catch {
      // The C library has the other name, or an unknown one.
    }
  }
  return { getpeername: () => -1, setsockopt: () => -1, ioctl: () => -1, ptr };
}
