/** Sees to it that a program that listens where others can reach it, past the balancer, is told of. */
import { isLoopback, listenersOf, processesOf, readProcessTable } from "@paceline/wire/proc";
import type { EventLog } from "../logs/event-log.js";
import type { LiveProcess } from "./live-process.js";

/** Some listen once more when they have been ready for a while. */
const LOOK_AGAIN_MS = [500, 5_000];

export class Exposure {
  constructor(private readonly log: EventLog) {}

  /** Looks at an instance that has just got ready, and twice more. A balancer listens there because it was told to. */
  watch(child: LiveProcess): void {
    if (child.kind === "balancer") return;
    this.look(child);
    for (const ms of LOOK_AGAIN_MS) setTimeout(() => this.look(child), ms).unref();
  }

  private look(child: LiveProcess): void {
    const { pid, mark, name } = child;
    if (pid === null || child.exit !== null) return;
    const listeners = listenersOf([pid, ...(mark === null ? [] : processesOf(pid, readProcessTable()))]);
    const open = listeners.filter(({ host }) => !isLoopback(host));
    const exposed = open.map(({ host, port }) => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`));
    const added = exposed.filter((address) => !child.exposed.includes(address));
    child.exposed = exposed;
    if (added.length === 0) return;
    const advice = mark === null ? "listen on 127.0.0.1" : "let it listen on {socket}, or on {host} and {port}";
    this.log.event("warn", name, `listens on ${added.join(", ")}, where others reach it past the balancer; ${advice}`);
  }
}
