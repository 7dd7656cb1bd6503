/** Reports programs that listen on addresses that other machines can reach, which bypasses the balancer. */
import {
  isLoopback,
  type Listener,
  type ListeningSocket,
  listenersOf,
  listeningSockets,
  type ProcessRow,
  processesOf,
  readProcessTable,
  unixSockets,
} from "@paceline/wire/proc";
import type { EventLog } from "../logs/event-log.js";
import type { LiveProcess } from "./live-process.js";

/** When to check an instance after it became ready: some programs open another port later. */
const LOOK_AFTER_MS = [0, 500, 5_000];
/** Checks due within this time are combined, because the kernel's tables need to be read only once for all of them. */
const TOGETHER_MS = 250;

function adviceFor({ commandTag, socket }: LiveProcess): string {
  if (commandTag !== null && socket === null)
    return "a worker gets no requests from the balancer; a server needs `command`";
  return commandTag === null ? "listen on 127.0.0.1" : "let it listen on {socket}, or on {host} and {port}";
}

export class Exposure {
  /** The instances to check, by due time (`performance.now()`). */
  private readonly due = new Map<number, Set<LiveProcess>>();

  constructor(
    private readonly log: EventLog,
    private readonly readSockets = (): ListeningSocket[] => [...listeningSockets()],
  ) {}

  /** Checks an instance three times after it became ready. Balancers are not checked, because they are meant to be reachable. */
  watch(child: LiveProcess): void {
    if (child.kind === "balancer") return;
    // An adopted instance was already checked by the former supervisor, and many are adopted at once, so one check is enough.
    for (const ms of child.isAdopted ? LOOK_AFTER_MS.slice(-1) : LOOK_AFTER_MS) this.lookAfter(child, ms);
  }

  private lookAfter(child: LiveProcess, ms: number): void {
    const now = performance.now();
    const at = Math.ceil((now + ms) / TOGETHER_MS) * TOGETHER_MS;
    const children = this.due.get(at);
    if (children !== undefined) return void children.add(child);
    this.due.set(at, new Set([child]));
    setTimeout(() => this.look(at), at - now).unref();
  }

  private look(at: number): void {
    const children = this.due.get(at) ?? [];
    this.due.delete(at);
    let sockets: ListeningSocket[] | undefined;
    let unix: Set<string> | undefined;
    let rows: ProcessRow[] | undefined;
    for (const child of children) {
      const { pid, commandTag } = child;
      if (pid === null || child.exit !== null) continue;
      if (commandTag !== null) rows ??= readProcessTable();
      const pids = [pid, ...(rows === undefined || commandTag === null ? [] : processesOf(pid, rows))];
      this.reportNew(
        child,
        listenersOf(
          pids,
          () => (sockets ??= this.readSockets()),
          () => (unix ??= unixSockets()),
        ),
      );
    }
  }

  private reportNew(child: LiveProcess, listeners: Listener[]): void {
    const open = listeners.filter(({ host }) => !isLoopback(host));
    const exposed = open.map(({ host, port }) => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`));
    const added = exposed.filter((address) => !child.exposed.includes(address));
    child.exposed = exposed;
    if (added.length === 0) return;
    const advice = adviceFor(child);
    this.log.event(
      "warn",
      child.name,
      `listens on ${added.join(", ")}, where others can reach it without the balancer; ${advice}`,
    );
  }
}
