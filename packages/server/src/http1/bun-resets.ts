/** Resets connections of Bun.serve and of node:http on Bun, which have no method for that: `resetAndDestroy` does nothing (1.4.5). */
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

/**
 * The descriptors of connections by the port of their peers, as of the last search; NONE if several have the same port. Some may be out of
 * date.
 */
const known = new Map<number, number>();

/** For one call at a time. */
const address = Buffer.alloc(ADDRESS_BYTES);
const length = new Uint32Array(1);
const atOnce = new Int32Array([1, 0]);

/**
 * Lets the kernel send a reset instead of FIN when the connections with these clients are closed, even if the process ends (SO_LINGER,
 * socket(7)). Asks about all descriptors only if a client is not where it was: thousands may be cut, one after another.
 * @param keys from `keyOf`
 */
export function resetAtClose(keys: ReadonlySet<string>): void {
  if (process.platform !== "linux") return;
  const missing = new Set(keys);
  for (const key of keys) {
    const descriptor = known.get(portIn(key));
    if (descriptor === undefined || !readPeer(descriptor) || keyOf(peer()) !== key) continue;
    setReset(descriptor);
    missing.delete(key);
  }
  if (missing.size > 0) search(missing);
}

function search(keys: ReadonlySet<string>): void {
  const ports = new Set([...keys].map(portIn));
  known.clear();
  for (const descriptor of fs().readdirSync("/proc/self/fd").map(Number)) {
    if (!readPeer(descriptor)) continue;
    const port = peerPort();
    known.set(port, known.has(port) ? NONE : descriptor);
    if (ports.has(port) && keys.has(keyOf(peer()))) setReset(descriptor);
  }
}

function portIn(key: string): number {
  return Number(key.slice(key.lastIndexOf(" ") + 1));
}

function setReset(descriptor: number): void {
  libc?.setsockopt(descriptor, SOL_SOCKET, SO_LINGER, libc.ptr(atOnce), atOnce.byteLength);
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
  try {
    const { symbols } = dlopen("libc.so.6", {
      getpeername: { args: ["int", "ptr", "ptr"], returns: "int" },
      setsockopt: { args: ["int", "int", "int", "ptr", "int"], returns: "int" },
    });
    return { ...symbols, ptr };
  } catch {
    // If the C library has another name (musl), clients get FIN.
    return { getpeername: () => -1, setsockopt: () => -1, ptr };
  }
}
