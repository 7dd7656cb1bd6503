/** The control groups (cgroup v2) of processes with a memory limit: where they can be created, and the contents of their files. Pure. */

/** The group of the supervisor, the balancers and all processes without a limit. An exported systemd unit contains its name. */
export const SUPERVISOR_GROUP = "paceline-supervisor";

/** Returns the group of a process, for example `web.3#7`. The kernel's own files have no such names. */
export function groupNameOf(id: string): string {
  return `paceline-${id}`;
}

/** Whether a folder beside the supervisor's group is the group of a process. */
export function isProcessGroup(name: string): boolean {
  return /^paceline-.+#\d+$/.test(name);
}

/**
 * Returns where cgroup v2 is mounted.
 * @param text `/proc/self/mounts`
 */
export function mountOfGroups(text: string): string | undefined {
  const mount = text.split("\n").find((line) => line.split(" ")[2] === "cgroup2");
  return mount?.split(" ")[1];
}

/**
 * Whether cgroup v1 limits memory, as on older systems that have both versions. Version 2 then cannot.
 * @param text `/proc/self/mounts`
 */
export function hasMemoryInV1(text: string): boolean {
  return /^\S+ \S+ cgroup (?:\S*,)?memory[, ]/m.test(text);
}

/**
 * Returns the path of a process's group of cgroup v2, below the mount point.
 * @param text `/proc/PID/cgroup`
 */
export function groupPathOf(text: string): string | undefined {
  const path = /^0::(\/.*)$/m.exec(text)?.[1];
  // With `/..` in its path, the group is outside this process's cgroup namespace and has no path below the mount point.
  return path?.includes("/..") ? undefined : path;
}

interface GroupFacts {
  /** The path of this process's group; undefined without cgroup v2. */
  path: string | undefined;
  /** Whether cgroup v1 has the memory controller. */
  isMemoryInV1: boolean;
  /** Whether this process is in the machine's root group, which has no limits. */
  isMachineRoot: boolean;
  /** The controllers of the group in which groups would be created. */
  controllers: readonly string[];
  /** Whether groups can be created there. */
  isWritable: boolean;
  /** How many processes of other programs are in this process's group. */
  strangers: number;
}

/**
 * Returns where groups are created, and whether all processes of this group must leave it first. If no groups are created, returns the
 * reason.
 */
export function placeOfGroups(facts: GroupFacts): { base: string; leaves: boolean } | { problem: string } {
  const { path, isMemoryInV1, isMachineRoot, controllers, isWritable, strangers } = facts;
  if (path === undefined) return { problem: "this system has no cgroup v2" };
  if (isMemoryInV1) return { problem: "this system limits memory with cgroup v1" };
  const found = baseOf(path);
  // In a group that contains groups with limits, a service manager could not start a supervisor again.
  if (found === undefined || isMachineRoot)
    return {
      problem: "Paceline has no control group of its own (a systemd unit needs Delegate= and DelegateSubgroup=)",
    };
  if (!isWritable) return { problem: "its control group cannot be written" };
  if (!controllers.includes("memory")) return { problem: "its control group has no memory controller" };
  if (found.leaves && strangers > 0) return { problem: "other programs are in its control group" };
  return found;
}

/** Returns the group in which groups would be created: the one above that of the supervisor, or the root of a container. */
export function baseOf(path: string): { base: string; leaves: boolean } | undefined {
  if (path === "/") return { base: path, leaves: true };
  if (!path.endsWith(`/${SUPERVISOR_GROUP}`)) return undefined;
  return { base: path.slice(0, -SUPERVISOR_GROUP.length - 1) || "/", leaves: false };
}

const MB = 1_000_000;

/**
 * Returns the kernel's limits for a process that should be recycled at `maxMemoryMb`. The kernel counts more than RSS, for example its
 * caches for the process, and recycling takes time. So the kernel slows the process down a quarter above that limit, and
 * kills it a half above.
 */
export function kernelLimits(maxMemoryMb: number): { highBytes: number; maxBytes: number } {
  const above = (share: number, leastMb: number) =>
    Math.round((maxMemoryMb + Math.max(maxMemoryMb * share, leastMb)) * MB);
  return { highBytes: above(0.25, 32), maxBytes: above(0.5, 64) };
}

/** Returns the files of a group and their contents. */
export function groupFiles(maxMemoryMb: number): Record<string, string> {
  const { highBytes, maxBytes } = kernelLimits(maxMemoryMb);
  return {
    "memory.high": `${highBytes}`,
    "memory.max": `${maxBytes}`,
    // A program cannot continue without the process that was killed.
    "memory.oom.group": "1",
  };
}

/** How the OOM killer has killed processes of a group. */
export interface GroupKill {
  /** Whether the group's own limit was reached, as opposed to the machine's memory. */
  atLimit: boolean;
}

/**
 * Returns undefined if it has killed none.
 * @param text `memory.events`
 */
export function killIn(text: string): GroupKill | undefined {
  const count = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
  return count("oom_kill") > 0 ? { atLimit: count("oom") > 0 } : undefined;
}

/** Returns why a process was killed. */
export function killText({ atLimit }: GroupKill, maxMemoryMb: number): string {
  if (!atLimit) return "the machine had no memory left";
  return `it reached its hard limit of ${Math.round(kernelLimits(maxMemoryMb).maxBytes / MB)} MB (maxMemoryMb ${maxMemoryMb})`;
}

/** A group this close to `memory.high` is one in which the kernel slows processes down. */
const SLOWED_SHARE = 0.98;

/**
 * Returns the end of a verdict on a process that the kernel slows down; empty if the kernel does not. A group may be full of caches, which
 * can be dropped. So the process must be above its limit without them.
 * @param current `memory.current` of its group
 * @param stat `memory.stat`
 */
export function slowedText(current: string, stat: string, maxMemoryMb: number): string {
  const bytes = Number(/^anon (\d+)$/m.exec(stat)?.[1] ?? 0);
  const isFull = Number(current) >= SLOWED_SHARE * kernelLimits(maxMemoryMb).highBytes;
  if (maxMemoryMb === 0 || !isFull || bytes < maxMemoryMb * MB) return "";
  return `; the kernel slows it down, because it uses ${Math.round(bytes / MB)} MB of memory (maxMemoryMb ${maxMemoryMb})`;
}
