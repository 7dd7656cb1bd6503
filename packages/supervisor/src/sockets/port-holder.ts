/** Finds the process that holds an address, through /proc; where there is none, nobody is named. */
import { readFileSync } from "node:fs";
import { listeningSockets } from "@paceline/wire/proc";
import { processesWith, socketsBoundTo } from "@paceline/wire/unix-sockets";
import { visible } from "../control-characters.js";

const MAX_COMMAND = 120;

/** Such as `pid 4711 (nginx: master process)`; undefined when it cannot be told, as for a process of another user. */
export function tcpPortHolder(port: number): string | undefined {
  const inodes = new Set<string>();
  for (const socket of listeningSockets()) if (socket.port === port) inodes.add(socket.inode);
  return holder(inodes);
}

/** The same for the path of a unix socket. */
export function unixSocketHolder(path: string): string | undefined {
  return holder(socketsBoundTo(path));
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
