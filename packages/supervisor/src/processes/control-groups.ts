/** Gives each process with a memory limit a control group of its own, in which the kernel enforces the limit and counts its OOM kills. */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { attempt, processesOf, readProcessTable } from "@paceline/wire/proc";
import {
  baseOf,
  type GroupKill,
  groupFiles,
  groupNameOf,
  groupPathOf,
  hasMemoryInV1,
  isProcessGroup,
  killIn,
  mountOfGroups,
  placeOfGroups,
  SUPERVISOR_GROUP,
  slowedText,
} from "../core/control-groups.js";

/** The maximum number of rounds. If a process forks while processes leave a group, one round can miss the fork. */
const MOST_ROUNDS = 10;
/** How often a group whose processes are exiting is checked, in milliseconds, and how many times at most. */
const LOOK_EVERY_MS = 50;
const MAX_LOOKS = 100;
/** From this check on, remaining processes are killed, because the search for leftover processes is over. */
const KILL_AT_LOOK = 10;

interface ControlGroupsOptions {
  /** Called once if the first process with a limit starts and the kernel does not enforce it. */
  onProblem(problem: string): void;
  /** The prefix for paths of files. Default: none. */
  root?: string;
  /** Removes a group. */
  remove?(path: string): void;
}

export class ControlGroups {
  /** Undefined before the first process with a limit. */
  private opened: { folder: string } | { problem: string } | undefined;
  private readonly ending = new Map<string, number>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: ControlGroupsOptions) {}

  /** Puts a process that has just been started into a group of its own. Returns its folder; null if there is none. */
  confine(id: string, pid: number, maxMemoryMb: number): string | null {
    if (maxMemoryMb === 0) return null;
    const place = this.open();
    if ("problem" in place) return null;
    const folder = join(place.folder, groupNameOf(id));
    try {
      if (!existsSync(folder)) mkdirSync(folder);
      for (const [file, text] of Object.entries(groupFiles(maxMemoryMb))) writeFileSync(join(folder, file), text);
      writeFileSync(join(folder, "cgroup.procs"), `${pid}`);
      return folder;
    } catch (error) {
      this.end(folder);
      // The process has already exited.
      if ((error as NodeJS.ErrnoException).code === "ESRCH") return null;
      this.opened = { problem: (error as Error).message };
      this.options.onProblem(this.opened.problem);
      return null;
    }
  }

  /** Returns the group of a process that an earlier supervisor has started; null if the process has no separate group. */
  of(pid: number): string | null {
    const path = groupPathOf(this.read(`/proc/${pid}/cgroup`));
    const mount = mountOfGroups(this.read("/proc/self/mounts"));
    if (path === undefined || mount === undefined || !isProcessGroup(basename(path))) return null;
    this.open();
    return join(this.root, mount, path);
  }

  /** How the OOM killer has killed processes of a group; undefined if it has not. */
  killIn(path: string): GroupKill | undefined {
    return killIn(attempt(() => readFileSync(join(path, "memory.events"), "latin1")) ?? "");
  }

  /**
   * Returns the last part of a verdict on a process that the kernel slows down because of its memory; empty if the kernel does not slow it
   * down.
   */
  slowedText(path: string, maxMemoryMb: number): string {
    const read = (file: string) => attempt(() => readFileSync(join(path, file), "latin1")) ?? "";
    return slowedText(read("memory.current"), read("memory.stat"), maxMemoryMb);
  }

  /** Removes the control group of an exited process, and kills leftover processes in it. */
  end(path: string): void {
    if (this.removed(path)) return;
    this.ending.set(path, 0);
    this.timer ??= setTimeout(() => this.look(), LOOK_EVERY_MS);
  }

  /** Removes all groups that are empty by now. */
  close(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const path of this.ending.keys()) {
      attempt(() => writeFileSync(join(path, "cgroup.kill"), "1"));
      this.removed(path);
    }
    this.ending.clear();
    this.sweep();
  }

  private get root(): string {
    return this.options.root ?? "";
  }

  private read(path: string): string {
    return attempt(() => readFileSync(join(this.root, path), "latin1")) ?? "";
  }

  private open(): { folder: string } | { problem: string } {
    if (this.opened !== undefined) return this.opened;
    const opened = this.prepare();
    this.opened = opened;
    if ("problem" in opened) this.options.onProblem(opened.problem);
    // The groups of processes that exited while no supervisor was running.
    else this.sweep();
    return opened;
  }

  private prepare(): { folder: string } | { problem: string } {
    const path = groupPathOf(this.read("/proc/self/cgroup"));
    const mounts = this.read("/proc/self/mounts");
    const mount = mountOfGroups(mounts);
    const own = join(this.root, mount ?? "", path ?? "");
    const folder = join(this.root, mount ?? "", (path === undefined ? undefined : baseOf(path)?.base) ?? "");
    const found = placeOfGroups({
      path: mount === undefined ? undefined : path,
      isMemoryInV1: hasMemoryInV1(mounts),
      isMachineRoot: !existsSync(join(own, "cgroup.type")),
      controllers: this.wordsIn(join(folder, "cgroup.controllers")),
      isWritable: ["", "cgroup.procs", "cgroup.subtree_control"].every((file) => isWritable(join(folder, file))),
      strangers: this.strangersIn(own),
    });
    if ("problem" in found) return found;
    try {
      if (found.leaves) this.leave(folder);
      if (!this.wordsIn(join(folder, "cgroup.subtree_control")).includes("memory"))
        writeFileSync(join(folder, "cgroup.subtree_control"), "+memory");
      return { folder };
    } catch (error) {
      return { problem: (error as Error).message };
    }
  }

  private wordsIn(file: string): string[] {
    return (attempt(() => readFileSync(file, "latin1")) ?? "").trim().split(/\s+/);
  }

  /**
   * Counts the processes in a group that do not belong to this fleet and are not its ancestors, such as the first process of a container.
   */
  private strangersIn(group: string): number {
    const rows = readProcessTable();
    const parents = new Map(rows.map(({ pid, parent }) => [pid, parent]));
    const own = new Set(processesOf(process.pid, rows));
    for (let pid: number | undefined = process.pid; pid !== undefined; pid = parents.get(pid)) own.add(pid);
    return this.wordsIn(join(group, "cgroup.procs")).filter((pid) => pid !== "" && !own.has(Number(pid))).length;
  }

  /**
   * Moves all processes of a group into a new child group, because a group with processes of its own cannot have child groups with limits
   * (cgroups(7), "no internal processes").
   */
  private leave(folder: string): void {
    const leaf = join(folder, SUPERVISOR_GROUP);
    if (!existsSync(leaf)) mkdirSync(leaf);
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const pids = this.wordsIn(join(folder, "cgroup.procs")).filter((pid) => pid !== "");
      if (pids.length === 0) return;
      for (const pid of pids) attempt(() => writeFileSync(join(leaf, "cgroup.procs"), pid));
    }
  }

  private sweep(): void {
    if (this.opened === undefined || "problem" in this.opened) return;
    const { folder } = this.opened;
    for (const name of attempt(() => readdirSync(folder)) ?? [])
      if (isProcessGroup(name)) this.removed(join(folder, name));
  }

  /** Returns false while the group still has processes. */
  private removed(path: string): boolean {
    try {
      (this.options.remove ?? rmdirSync)(path);
      return true;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === "ENOENT";
    }
  }

  private look(): void {
    for (const [path, looks] of this.ending) {
      if (looks >= KILL_AT_LOOK) attempt(() => writeFileSync(join(path, "cgroup.kill"), "1"));
      if (this.removed(path) || looks + 1 >= MAX_LOOKS) this.ending.delete(path);
      else this.ending.set(path, looks + 1);
    }
    this.timer = this.ending.size === 0 ? undefined : setTimeout(() => this.look(), LOOK_EVERY_MS);
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
