/** Finds the process that holds an address, through /proc; where there is none, nobody is named. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

const TCP_LISTEN = "0A";

/** Such as `pid 4711 (nginx: master process)`; undefined when it cannot be told, as for a process of another user. */
export function tcpPortHolder(port: number): string | undefined {
  const inodes = new Set<string>();
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    for (const fields of rows(table)) {
      const [, local = "", , state] = fields;
      const inode = fields[9];
      if (state !== TCP_LISTEN || inode === undefined) continue;
      if (Number.parseInt(local.slice(local.lastIndexOf(":") + 1), 16) === port) inodes.add(inode);
    }
  }
  return holder(inodes);
}

/** The same for the path of a unix socket. */
export function unixSocketHolder(path: string): string | undefined {
  const inodes = new Set<string>();
  for (const fields of rows("/proc/net/unix")) {
    const inode = fields[6];
    if (fields[7] === path && inode !== undefined) inodes.add(inode);
  }
  return holder(inodes);
}

function rows(table: string): string[][] {
  const text = attempt(() => readFileSync(table, "latin1")) ?? "";
  return text
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/));
}

/** The lowest pid among those that have one of the sockets open: a parent rather than the child that inherited it. */
function holder(inodes: ReadonlySet<string>): string | undefined {
  if (inodes.size === 0) return undefined;
  const pids = (attempt(() => readdirSync("/proc")) ?? []).filter((name) => /^\d+$/.test(name)).map(Number);
  for (const pid of pids.sort((a, b) => a - b)) {
    for (const fd of attempt(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
      const target = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? "";
      if (target.startsWith("socket:[") && inodes.has(target.slice(8, -1))) return `pid ${pid} (${commandLine(pid)})`;
    }
  }
  return undefined;
}

function commandLine(pid: number): string {
  const line = attempt(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) ?? "";
  const text = line.replaceAll("\0", " ").trim();
  return text === "" ? "unknown command" : text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

/** A process may end, or belong to someone else, while we look at it; either way it has nothing to tell. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
