/** What the processes of the fleet say over the control channel, and who is told of it. */
import type { Applied, BalancerStats, ChildMessage, Hello, OverdueRequest, Poison, Probed } from "@paceline/wire";
import type { ChannelConnection } from "../channel/channel-connection.js";
import type { Report } from "../core/process.js";
import type { EventLog } from "../logs/event-log.js";
import { FINAL_REPORT_MS } from "./child-end.js";
import { Exposure } from "./exposure.js";
import type { LiveProcess } from "./live-process.js";
import type { UnreportedEnds } from "./unreported-ends.js";

/** Who is told of what. */
export interface ChildChannelEvents {
  /** Something happened to the process that the state machine is to hear. */
  report(target: Pick<LiveProcess, "pool" | "index">, report: Report): void;
  onHello(child: LiveProcess, connection: ChannelConnection): void;
  onApplied(child: LiveProcess, applied: Applied): void;
  onChannelLost(child: LiveProcess): void;
  onPoison(found: Poison): void;
  onNotice(child: LiveProcess, message: string): void;
  /** It listens; whether it is ready is another matter. */
  onListens(child: LiveProcess): void;
  onProbed(child: LiveProcess, probed: Probed): void;
  /** Anything came from it: its event loop turns. */
  onHeard(child: LiveProcess): void;
  /** A balancer said that a request that nobody waits for goes on in this process. */
  onOverdue(child: LiveProcess): void;
}

export interface ChildChannelOptions {
  events: ChildChannelEvents;
  log: EventLog;
  unreported: Pick<UnreportedEnds, "trust" | "doubt">;
  find(id: string): LiveProcess | undefined;
  /** Its channel has closed: whether that was the end of it. */
  hasEnded(child: LiveProcess): boolean;
}

/** What a child calls its runtime is for people to read. */
const MAX_RUNTIME_TEXT = 40;
/** A request that is told to people. */
const MAX_REQUEST_TEXT = 200;
const MAX_NOTICE_TEXT = 1000;

export class ChildChannel {
  private readonly exposure: Exposure;

  constructor(private readonly options: ChildChannelOptions) {
    this.exposure = new Exposure(options.log);
  }

  /** Why this child may not say this hello; undefined when it may. */
  objection(child: LiveProcess, hello: Hello): string | undefined {
    if (child.exit !== null) return "that process has ended";
    if (hello.name !== child.name || hello.attempt !== child.attempt) return `the token is that of ${child.id}`;
    if (hello.role !== child.kind) return `${child.id} does not have the role ${hello.role}`;
    // Its token proves it; its template tells of it a moment later.
    if (child.isForked) child.pid ??= hello.pid;
    return hello.pid === child.pid ? undefined : `the token is that of pid ${child.pid}`;
  }

  hello(child: LiveProcess, hello: Hello, connection: ChannelConnection): void {
    child.connection?.destroy();
    child.connection = connection;
    this.options.unreported.trust(child.id);
    this.options.events.onHeard(child);
    this.options.events.onHello(child, connection);
    child.protocol = hello.protocol ?? child.protocol;
    if (!/^(bun|node) /.test(hello.runtime)) child.runtime = hello.runtime.slice(0, MAX_RUNTIME_TEXT);
    if (hello.phase === "ready") {
      this.options.events.onListens(child);
      this.exposure.watch(child);
    }
    sendDrain(child);
  }

  message(child: LiveProcess, message: Exclude<ChildMessage, Hello>): void {
    const { events } = this.options;
    events.onHeard(child);
    switch (message.type) {
      case "ready":
        child.protocol = message.protocol ?? child.protocol;
        // One that had warned that it might not get ready did.
        child.fault = null;
        events.onListens(child);
        this.exposure.watch(child);
        return;
      case "stats":
        if (message.role !== child.kind) return;
        child.stats.record(message, performance.now());
        if (message.role === "balancer") this.recordRelayed(child, message);
        return;
      case "applied":
        events.onApplied(child, message);
        return;
      case "poison":
        if (child.kind === "balancer") events.onPoison(message);
        return;
      case "notice":
        events.onNotice(child, message.message.slice(0, MAX_NOTICE_TEXT));
        return;
      case "fault":
        child.fault = message.message.slice(0, 1000);
        child.commandExit = message.exit ?? null;
        return;
      case "pong":
        return;
      case "probed":
        events.onProbed(child, message);
        return;
      case "forked":
      case "forkFailed":
      case "ended":
        // For templates to say.
        return;
      default:
        message satisfies never;
    }
  }

  closed(child: LiveProcess, connection: ChannelConnection): void {
    if (child.connection !== connection) return;
    child.connection = null;
    const { events, unreported, hasEnded } = this.options;
    if (hasEnded(child)) return;
    if (child.isForked) unreported.doubt(child.id);
    events.onChannelLost(child);
    // Mostly it is about to end, or comes back at once: only of one that does neither is there something to say.
    setTimeout(() => {
      if (child.exit !== null || child.heldExit !== null || child.connection !== null) return;
      events.report(child, { type: "channelLost", attempt: child.attempt });
    }, FINAL_REPORT_MS).unref();
  }

  /** What a command does is known to the balancers alone, and so is what a process that is silent is at. */
  private recordRelayed(balancer: LiveProcess, { upstreams, periodMs }: BalancerStats): void {
    for (const upstream of upstreams) {
      const child = this.options.find(upstream.id);
      if (child === undefined) continue;
      child.relayed.set(balancer.id, upstream.inFlight);
      if (upstream.running !== undefined) child.running = upstream.running.slice(0, MAX_REQUEST_TEXT);
      noteOverdue(child, balancer.id, upstream.overdue);
      if (child.overdue !== null) this.options.events.onOverdue(child);
      if (child.mark !== null) child.stats.recordRelayed(balancer.id, upstream, periodMs, performance.now());
    }
  }
}

/** What was asked of it so far. */
export function sendDrain({ connection, drainDeadline, released }: LiveProcess): void {
  if (drainDeadline !== null)
    connection?.send({ type: "drain", deadlineMs: Math.max(0, drainDeadline - performance.now()) });
  if (released) connection?.send({ type: "released" });
}

/** What a balancer does not tell of any more has ended, unless it tells nothing of that process. */
function noteOverdue(child: LiveProcess, balancer: string, overdue: OverdueRequest | undefined): void {
  if (overdue === undefined) {
    if (child.overdue?.balancer === balancer) child.overdue = null;
    return;
  }
  const since = performance.now() - overdue.forMs;
  if (child.overdue !== null && child.overdue.balancer !== balancer && child.overdue.since <= since) return;
  child.overdue = { balancer, request: overdue.request.slice(0, MAX_REQUEST_TEXT), since };
}
