/** Lets a process write its stack, heap or CPU profile into a file of the run directory, from which the caller takes it. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Dumped, type DumpKind, readRegularFile } from "@paceline/wire";
import type { OperationResult } from "../control/api.js";
import { frameText } from "../core/stacks.js";
import { unknownName } from "../core/words.js";
import type { Children } from "../processes/children.js";
import { isInspectable, type LiveProcess } from "../processes/live-process.js";

interface DumpsOptions {
  children: Children;
  /** The folder of dumps, which only this user can read. */
  folder: string;
  names(): string[];
  stalledMs(id: string): number | null;
}

/** How long a process may take, in milliseconds; a large heap takes a minute. */
const TIMEOUTS_MS: Record<DumpKind, number> = { stack: 4000, heap: 120_000, cpu: 30_000 };
/** After this time, a file that nobody has taken is removed. In milliseconds. */
const KEPT_MS = 600_000;
const MAX_STACK_CHARACTERS = 64 << 10;

export class Dumps {
  private readonly waiting = new Map<number, (problem: string | undefined) => void>();
  private next = 1;

  constructor(private readonly options: DumpsOptions) {}

  /** Handles the reply of a process. */
  dumped({ id, problem }: Dumped): void {
    this.waiting.get(id)?.(problem?.slice(0, 1000));
  }

  /** @param durationMs how long the CPU is profiled */
  async dump(target: string, what: DumpKind, durationMs: number): Promise<OperationResult> {
    const path = join(this.options.folder, `${target.replace(/[^\w.-]/g, "_")}-${this.next}.dump`);
    if (target === "paceline") {
      if (what === "stack") return failed("the supervisor responds, so it is not blocked");
      const { writeDump } = await import("@paceline/wire/dump");
      return this.fileResult(target, what, path, "bun", await writeDump(what, path, durationMs));
    }
    const child = [...this.options.children.alive()].find(({ name, drainDeadline }) => {
      return name === target && drainDeadline === null;
    });
    if (child === undefined) {
      const names = this.options.names();
      if (!names.includes(target)) return { ok: false, code: "invalid", message: unknownName(target, names) };
      return failed(`${target} has no process of its own that runs`);
    }
    const problem = this.problemOf(child, what);
    if (problem !== undefined) return failed(`${target} ${problem}`);
    if (what === "stack" && isInspectable(child)) return stackOfNode(child);
    if (child.isDumping) return { ok: false, code: "busy", message: `another dump of ${target} is under way` };
    const found = await this.ask(child, what, path, durationMs);
    return what === "stack"
      ? stackInFile(target, path, found)
      : this.fileResult(target, what, path, child.runtime, found);
  }

  private problemOf(child: LiveProcess, what: DumpKind): string | undefined {
    const { commandTag, runtime, connection, running, id } = child;
    if (commandTag !== null) return "is a command: use the tools of its own language";
    if (what === "stack") {
      if (isInspectable(child)) return undefined;
      if (runtime === "node") return "was started with --inspect in NODE_OPTIONS: use that";
      if (runtime === "bun")
        return `runs on Bun, which cannot show the stack of a running process${running === null ? "" : `; it is running ${running}`}`;
    }
    if (connection === null) return "has no control channel";
    return this.options.stalledMs(id) === null || what === "stack"
      ? undefined
      : "does not respond: its event loop is blocked";
  }

  private async ask(child: LiveProcess, what: DumpKind, path: string, durationMs: number): Promise<string | undefined> {
    const id = this.next++;
    const timeoutMs = TIMEOUTS_MS[what] + durationMs;
    // A heap snapshot blocks the process, which must not count as a hang.
    child.isDumping = true;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<string | undefined>((resolve) => {
        this.waiting.set(id, resolve);
        timer = setTimeout(() => resolve(`it did not respond within ${timeoutMs / 1000} s`), timeoutMs);
        child.connection?.send({ type: "dump", id, what, path, durationMs });
      });
    } finally {
      clearTimeout(timer);
      this.waiting.delete(id);
      child.isDumping = false;
    }
  }

  private fileResult(
    target: string,
    what: DumpKind,
    path: string,
    runtime: string,
    problem: string | undefined,
  ): OperationResult {
    if (problem !== undefined) {
      rmSync(path, { force: true });
      return failed(`no dump of ${target}: ${problem}`);
    }
    setTimeout(() => rmSync(path, { force: true }), KEPT_MS).unref();
    const extension = what === "cpu" ? "cpuprofile" : runtime.startsWith("python ") ? "txt" : "heapsnapshot";
    return { ok: true, message: `${target}: written`, details: { path, extension } };
  }
}

function stackInFile(target: string, path: string, problem: string | undefined): OperationResult {
  try {
    if (problem !== undefined) return failed(`no stack of ${target}: ${problem}`);
    return {
      ok: true,
      message: readRegularFile(path, { maxBytes: 4 * MAX_STACK_CHARACTERS, onlyHead: true })
        .toString()
        .slice(0, MAX_STACK_CHARACTERS)
        .trimEnd(),
    };
  } catch (error) {
    return failed(`no stack of ${target}: ${(error as Error).message}`);
  } finally {
    rmSync(path, { force: true });
  }
}

async function stackOfNode({ name, pid, output, death }: LiveProcess): Promise<OperationResult> {
  const { readNodeStack } = await import("../processes/node-inspector.js");
  const timeoutMs = TIMEOUTS_MS.stack;
  const frames = pid === null ? undefined : await readNodeStack({ pid, output, timeoutMs, goesOn: true });
  if (frames === undefined) return failed(`no stack of ${name}: it did not respond within ${timeoutMs / 1000} s`);
  death.dumped = frames;
  if (frames.length === 0) return { ok: true, message: `${name} runs no JavaScript now` };
  return { ok: true, message: frames.map(frameText).join("\n") };
}

function failed(message: string): OperationResult {
  return { ok: false, code: "failed", message };
}
