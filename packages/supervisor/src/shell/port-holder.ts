/** Finds the process that holds an address, through /proc; where there is none, nobody is named. */
import { readFileSync } from "node:fs";
import { processesWith, socketsBoundTo } from "@paceline/link/unix-sockets";
import { visible } from "../control-characters.js";

const TCP_LISTEN = "0A";
const MAX_COMMAND = 120;

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
  return holder(socketsBoundTo(path));
}

function rows(table: string): string[][] {
  const text = attempt(() => readFileSync(table, "latin1")) ?? "";
  return text
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/));
}

function holder(inodes: ReadonlySet<string>): string | undefined {
  for (const pid of processesWith(inodes)) return `pid ${pid} (${commandLine(pid)})`;
  return undefined;
}

/** In one line, whatever the process calls itself. */
function commandLine(pid: number): string {
  const line = attempt(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) ?? "";
  const words = line.replaceAll("\0", " ").trim();
  const text = visible(words.slice(0, MAX_COMMAND + 1))
    .replaceAll("\n", "\\n")
    .replaceAll("\t", "\\t");
  if (text === "") return "unknown command";
  return text.length > MAX_COMMAND ? `${text.slice(0, MAX_COMMAND)}…` : text;
}

/** A process may end, or belong to someone else, while we look at it; either way it has nothing to tell. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
