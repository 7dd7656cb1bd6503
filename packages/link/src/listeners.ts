/** Where processes listen on TCP, as /proc tells it; where there is none, nowhere. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { attempt } from "./process-table.js";

export interface Listener {
  /** Such as `0.0.0.0`, `127.0.0.1`, `::` or `::1`. */
  host: string;
  port: number;
}

/** proc(5): the state of a socket that listens. */
const LISTEN = "0A";

/** The addresses that these processes listen on, each once. */
export function listenersOf(pids: Iterable<number>): Listener[] {
  const inodes = new Set<string>();
  for (const pid of pids) {
    for (const fd of attempt(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
      const target = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? "";
      if (target.startsWith("socket:[")) inodes.add(target.slice(8, -1));
    }
  }
  if (inodes.size === 0) return [];
  const found = new Map<string, Listener>();
  for (const table of ["tcp", "tcp6"]) {
    for (const row of (attempt(() => readFileSync(`/proc/net/${table}`, "latin1")) ?? "").split("\n")) {
      const fields = row.trim().split(/\s+/);
      if (fields[3] !== LISTEN || !inodes.has(fields[9] ?? "")) continue;
      const [address = "", port = ""] = (fields[1] ?? "").split(":");
      const listener = { host: hostOf(address), port: Number.parseInt(port, 16) };
      found.set(`${listener.host} ${listener.port}`, listener);
    }
  }
  return [...found.values()];
}

/** Whether nobody but this machine can reach it. */
export function isLoopback(host: string): boolean {
  return host === "::1" || host.replace(/^::ffff:/, "").startsWith("127.");
}

/** `0100007F` is 127.0.0.1: words of four bytes in the order of this machine, which is taken to be a little-endian one. */
export function hostOf(hex: string): string {
  const bytes = Buffer.concat((hex.match(/.{8}/g) ?? []).map((word) => Buffer.from(word, "hex").reverse()));
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.subarray(0, 12).equals(V4_IN_V6)) return `::ffff:${bytes.subarray(12).join(".")}`;
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16)).join(":");
  // The longest run of zeros is left out.
  const runs = groups.match(/(?:^|:)0(?::0)+(?=:|$)/g) ?? [];
  const longest = runs.sort((a, b) => b.length - a.length)[0];
  return longest === undefined ? groups : groups.replace(longest, ":").replace(/^:(?!:)|:$/, "::");
}

const V4_IN_V6 = Buffer.from("00000000000000000000ffff", "hex");
