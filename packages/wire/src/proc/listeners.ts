/** The TCP addresses on which processes listen or to which they connect, from /proc; empty without it. */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { attempt } from "./processes.js";

export interface Listener {
  /** For example `0.0.0.0`, `127.0.0.1`, `::` or `::1`. */
  host: string;
  port: number;
}

/** States of a socket (proc(5)). */
const LISTEN = "0A";
const SYN_SENT = "02";

const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"];

/**
 * Returns the tables that have rows. Reading even an empty table scans all its buckets. The count in /proc/net/sockstat6 is cheaper to
 * read.
 */
function tables(): string[] {
  const counts = attempt(() => readFileSync("/proc/net/sockstat6", "latin1")) ?? "";
  return hasNoTcp6(counts) ? TABLES.slice(0, 1) : TABLES;
}

/** Whether `/proc/net/sockstat6` shows that no TCP socket of IPv6 is in use. */
export function hasNoTcp6(counts: string): boolean {
  return /^TCP6: inuse 0$/m.test(counts);
}

/** The size of a read, about 100 rows. */
const READ_BYTES = 16 * 1024;
/** A shorter read is the last one, because the kernel fills a page with whole rows. Another read would scan its whole table. */
const FULL_READ_BYTES = 3_500;
/** A limit in case of an unexpected table: more than the listening sockets of any machine need. */
const MAX_TABLE_BYTES = 16 * 1024 * 1024;

/** A listening socket, identified by the inode in its processes' descriptors. */
export interface ListeningSocket extends Listener {
  inode: string;
}

/**
 * Returns the addresses on which these processes listen, each once.
 * @param sockets the listening sockets of this machine. Read them once for several processes: for each reading the kernel scans a table of
 * some 100,000 entries, which takes 2 to 4 ms
 * @param unix the inodes of unix sockets: a process that has no other sockets needs no such reading
 */
export function listenersOf(
  pids: Iterable<number>,
  sockets: () => Iterable<ListeningSocket> = listeningSockets,
  unix: () => ReadonlySet<string> = unixSockets,
): Listener[] {
  const inodes = socketsOf(pids);
  if (inodes.size === 0) return [];
  const known = unix();
  if ([...inodes].every((inode) => known.has(inode))) return [];
  const found = new Map<string, Listener>();
  for (const { host, port, inode } of sockets()) {
    if (inodes.has(inode)) found.set(`${host} ${port}`, { host, port });
  }
  return [...found.values()];
}

/** Returns the inodes of the sockets that these processes have open. */
function socketsOf(pids: Iterable<number>): Set<string> {
  const inodes = new Set<string>();
  for (const pid of pids) {
    for (const fd of attempt(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
      const target = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? "";
      if (target.startsWith("socket:[")) inodes.add(target.slice(8, -1));
    }
  }
  return inodes;
}

/** Returns the addresses, for example `10.0.0.5:5432`, that have not responded to this process's connection attempts. */
export function connectingOf(pid: number): string[] {
  const inodes = socketsOf([pid]);
  if (inodes.size === 0) return [];
  const found = new Set<string>();
  for (const table of tables()) {
    for (const row of rowsOf(table)) {
      const fields = row.trim().split(/\s+/);
      if (fields[3] !== SYN_SENT || !inodes.has(fields[9] ?? "")) continue;
      const [address = "", port = ""] = (fields[2] ?? "").split(":");
      const host = hostOf(address).replace(/^::ffff:/, "");
      found.add(`${host.includes(":") ? `[${host}]` : host}:${Number.parseInt(port, 16)}`);
    }
  }
  return [...found];
}

/** Returns the inodes of all unix sockets of this machine. */
export function unixSockets(): Set<string> {
  const rows = attempt(() => readFileSync("/proc/net/unix", "latin1")) ?? "";
  return new Set(Array.from(rows.matchAll(/^[0-9a-f]+: (?:[0-9A-F]+ ){5} *([0-9]+)/gm), ([, inode = ""]) => inode));
}

/** Yields all listening TCP sockets of this machine. */
export function* listeningSockets(): Generator<ListeningSocket> {
  for (const table of tables()) {
    for (const row of rowsOf(table)) {
      const fields = row.trim().split(/\s+/);
      // The kernel lists listening sockets first; there may be 100,000 others.
      if (fields[3] !== LISTEN) break;
      const [address = "", port = ""] = (fields[1] ?? "").split(":");
      yield { host: hostOf(address), port: Number.parseInt(port, 16), inode: fields[9] ?? "" };
    }
  }
}

/** Yields the rows after the title. They are read on demand. */
function* rowsOf(table: string): Generator<string> {
  const file = attempt(() => openSync(table, "r"));
  if (file === undefined) return;
  try {
    const buffer = Buffer.alloc(READ_BYTES);
    let isTitle = true;
    let rest = "";
    for (let total = 0; total < MAX_TABLE_BYTES; ) {
      const read = attempt(() => readSync(file, buffer)) ?? 0;
      if (read === 0) return;
      total += read;
      const rows = (rest + buffer.toString("latin1", 0, read)).split("\n");
      rest = rows.pop() ?? "";
      for (const row of rows) {
        if (!isTitle) yield row;
        isTitle = false;
      }
      if (read < FULL_READ_BYTES) return;
    }
  } finally {
    closeSync(file);
  }
}

/** Whether only this machine can reach it. */
export function isLoopback(host: string): boolean {
  return host === "::1" || host.replace(/^::ffff:/, "").startsWith("127.");
}

/** `0100007F` is 127.0.0.1: words of four bytes in the machine's byte order, which is assumed to be little-endian. */
export function hostOf(hex: string): string {
  const bytes = Buffer.concat((hex.match(/.{8}/g) ?? []).map((word) => Buffer.from(word, "hex").reverse()));
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.subarray(0, 12).equals(V4_IN_V6)) return `::ffff:${bytes.subarray(12).join(".")}`;
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16)).join(":");
  // The longest run of zeros is omitted.
  const runs = groups.match(/(?:^|:)0(?::0)+(?=:|$)/g) ?? [];
  const longest = runs.sort((a, b) => b.length - a.length)[0];
  return longest === undefined ? groups : groups.replace(longest, ":").replace(/^:(?!:)|:$/, "::");
}

const V4_IN_V6 = Buffer.from("00000000000000000000ffff", "hex");
