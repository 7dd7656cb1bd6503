/** Detects whether the kernel's OOM killer has killed a process, from its counters and messages where they can be read. */
import { closeSync, constants, openSync, readFileSync, readSync } from "node:fs";

/** A counter that rose within this time may be explained by the process that has just exited. */
const SAME_KILL_MS = 10_000;
const MAX_MESSAGES = 4096;

/** The counter of OOM kills: of our control group, or else of the machine. */
export class OomKills {
  private readonly file: string | undefined;
  private count: number;
  /** When the counter rose. Has one entry for each kill that no exited process has explained yet. */
  private readonly unexplained: number[] = [];

  constructor(private readonly read: (path: string) => string | undefined = readIfThere) {
    const files = [...counterFiles(read("/proc/self/cgroup") ?? ""), "/proc/vmstat"];
    this.file = files.find((path) => parseOomKills(read(path) ?? "") !== undefined);
    this.count = this.now() ?? 0;
  }

  /** Reads the counter. Called at an interval, so that an old kill explains no new death. */
  look(at = performance.now()): void {
    const now = this.now() ?? this.count;
    for (let n = Math.min(now - this.count, 1000); n > 0; n--) this.unexplained.push(at);
    this.count = now;
    while (at - (this.unexplained[0] ?? at) > SAME_KILL_MS) this.unexplained.shift();
  }

  /** Whether the OOM killer has killed the process; undefined if that cannot be determined. */
  explain(pid: number | null, at = performance.now()): boolean | undefined {
    this.look(at);
    const isCounted = this.unexplained.shift() !== undefined;
    if (pid !== null && killedPids(kernelMessages(), this.uptimeUs()).has(pid)) return true;
    return this.file === undefined ? undefined : isCounted;
  }

  private now(): number | undefined {
    return this.file === undefined ? undefined : parseOomKills(this.read(this.file) ?? "");
  }

  /** Returns the time since the machine booted in microseconds, as in the kernel's messages. */
  private uptimeUs(): number {
    return Number.parseFloat(this.read("/proc/uptime") ?? "0") * 1e6;
  }
}

/**
 * Returns the files that count the OOM kills of a control group, for versions 1 and 2 of control groups.
 * @param text the content of `/proc/self/cgroup`
 */
export function counterFiles(text: string): string[] {
  return text.split("\n").flatMap((line) => {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === undefined || path.includes("/..")) return [];
    if (controllers === "") return [`/sys/fs/cgroup${path.replace(/\/$/, "")}/memory.events`];
    if (!controllers?.split(",").includes("memory")) return [];
    return [`/sys/fs/cgroup/memory${path.replace(/\/$/, "")}/memory.oom_control`];
  });
}

/** Parses the line `oom_kill 3` of memory.events, memory.oom_control or /proc/vmstat. */
export function parseOomKills(text: string): number | undefined {
  const [, count] = /^oom_kill (\d+)$/m.exec(text) ?? [];
  return count === undefined ? undefined : Number(count);
}

/**
 * Returns the processes that the OOM killer has just killed.
 * @param messages records of /dev/kmsg, for example `3,1234,5678901,-;Out of memory: Killed process 4711 (node) …`
 * @param nowUs the time since the machine booted, in microseconds
 */
export function killedPids(messages: readonly string[], nowUs: number): Set<number> {
  const pids = new Set<number>();
  for (const message of messages) {
    const [, at, pid] = /^\d+,\d+,(\d+),[^;]*;.*Killed process (\d+)\b/.exec(message) ?? [];
    if (pid !== undefined && nowUs - Number(at) <= SAME_KILL_MS * 1000) pids.add(Number(pid));
  }
  return pids;
}

/** Returns the kernel's messages, one per entry; empty if we are not allowed to read them. */
function kernelMessages(): string[] {
  const messages: string[] = [];
  let fd: number;
  try {
    fd = openSync("/dev/kmsg", constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return messages; // Not root, or in a container.
  }
  const record = Buffer.alloc(8192);
  try {
    while (messages.length < MAX_MESSAGES) {
      const length = readSync(fd, record, 0, record.length, null);
      if (length <= 0) break;
      const text = record.toString("latin1", 0, length);
      if (text.includes("Killed process")) messages.push(text);
    }
  } catch {
    // EAGAIN: there are no more messages.
  } finally {
    closeSync(fd);
  }
  return messages;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined; // Another platform, or another version of control groups.
  }
}
