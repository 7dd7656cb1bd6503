/** Handles the messages that processes send over the control channel, and notifies the other parts. */
import type {
  Applied,
  BalancerStats,
  ChildMessage,
  Dumped,
  Hello,
  InstanceStats,
  LostRequests,
  Notice,
  OpenRequests,
  OverdueRequest,
  Poison,
  Probed,
  RecordedRequests,
  RecordedSpans,
  RouteStats,
  ScheduledRun,
} from "@paceline/wire";
import type { ChannelConnection } from "../channel/channel-server.js";
import type { FleetEvent } from "../control/api.js";
import type { Report } from "../core/process.js";
import type { EventLog } from "../logs/event-log.js";
import type { JudgedCounts } from "../stats/judged-counts.js";
import type { StatsBook } from "../stats/stats.js";
import { FINAL_REPORT_MS } from "./child-end.js";
import { noteEjection } from "./ejections.js";
import { Exposure } from "./exposure.js";
import type { LiveProcess } from "./live-process.js";
import type { UnreportedEnds } from "./unreported-ends.js";

/** The listeners of these messages. */
export interface ChildChannelEvents {
  /** Reports an event to the state machine. */
  report(target: Pick<LiveProcess, "pool" | "index">, report: Report): void;
  onHello(child: LiveProcess, connection: ChannelConnection, hello: Hello): void;
  onApplied(child: LiveProcess, applied: Applied): void;
  onChannelLost(child: LiveProcess): void;
  onPoison(found: Poison): void;
  onDumped(dumped: Dumped): void;
  /** Called when a balancer lists the requests that instances have not finished. */
  onOpen(requests: OpenRequests): void;
  /** Called when a client of the balancer requests a name that has no certificate. */
  onWantCertificate(balancer: LiveProcess, name: string): void;
  /** Called when a process reported its counts. */
  onCounted(child: LiveProcess): void;
  /** Called when a balancer reported its counts of routes. */
  onRoutes(balancer: LiveProcess, routes: readonly RouteStats[]): void;
  /** Called when a balancer reported requests of a recording. */
  onRecorded(recorded: RecordedRequests): void;
  /** Called when a balancer reported sampled requests. */
  onSpans(recorded: RecordedSpans): void;
  /** Called when a balancer has lost requests at a process, which has exited or is about to. */
  onLost(lost: LostRequests): void;
  onNotice(child: LiveProcess, message: string, level: FleetEvent["level"], kind: FleetEvent["kind"]): void;
  /** Called once for a pool and generation: its app's own server asked for this port (0 for none), and is served elsewhere. */
  onAsked(child: LiveProcess, message: string, level: FleetEvent["level"], port: number): void;
  /** Called when a schedule reported a run that has ended. */
  onRun(child: LiveProcess, run: ScheduledRun): void;
  /** Whether others may be able to reach the process without a balancer. */
  mayBeReachable(child: LiveProcess): boolean;
  /** Called when the process listens, although it may not be ready yet. */
  onListens(child: LiveProcess): void;
  onProbed(child: LiveProcess, probed: Probed): void;
  /** Called when a message of any kind arrived, so that the event loop of the process is turning. */
  onHeard(child: LiveProcess): void;
  /** Called when a balancer, or the process itself, reported a request in it that runs too long. */
  onOverdue(child: LiveProcess): void;
}

interface ChildChannelOptions {
  events: ChildChannelEvents;
  log: EventLog;
  judged: Pick<JudgedCounts, "record">;
  stats: Pick<StatsBook, "recordLate">;
  unreported: Pick<UnreportedEnds, "trust" | "doubt">;
  find(id: string): LiveProcess | undefined;
  /** Called when its channel closed. Returns whether the process had already exited. */
  hasEnded(child: LiveProcess): boolean;
}

/** The maximum length of the text that a child sends as its runtime, for display. */
const MAX_RUNTIME_TEXT = 40;
/** The maximum length of a request's text, for display. */
const MAX_REQUEST_TEXT = 200;
const MAX_NOTICE_TEXT = 1000;

export class ChildChannel {
  private readonly exposure: Exposure;
  /** By pool: the last generation that reported its port. */
  private readonly asked = new Map<string, number>();

  constructor(private readonly options: ChildChannelOptions) {
    this.exposure = new Exposure(options.log);
  }

  private watchExposure(child: LiveProcess): void {
    if (!this.options.events.mayBeReachable(child)) this.exposure.watch(child);
  }

  /** Returns why this hello is refused; undefined when it is accepted. */
  objection(child: LiveProcess, hello: Hello): string | undefined {
    if (child.exit !== null) return "that process has ended";
    if (hello.name !== child.name || hello.attempt !== child.attempt) return `the token is that of ${child.id}`;
    if (child.isAdopted && hello.generation !== child.generation) return `${child.id} has another generation`;
    if (hello.role !== child.kind) return `${child.id} does not have the role ${hello.role}`;
    // The token proves its identity; its template reports the pid soon.
    if (child.isForked) child.pid ??= hello.pid;
    return hello.pid === child.pid ? undefined : `the token is that of pid ${child.pid}`;
  }

  hello(child: LiveProcess, hello: Hello, connection: ChannelConnection): void {
    child.connection?.destroy();
    child.connection = connection;
    this.options.unreported.trust(child.id);
    this.options.events.onHeard(child);
    this.options.events.onHello(child, connection, hello);
    child.protocol = hello.protocol ?? child.protocol;
    child.version = hello.version?.slice(0, MAX_RUNTIME_TEXT) ?? child.version;
    if (!/^(bun|node) /.test(hello.runtime)) child.runtime = hello.runtime.slice(0, MAX_RUNTIME_TEXT);
    if (hello.phase === "ready") {
      this.options.events.onListens(child);
      this.watchExposure(child);
    }
    sendDrain(child);
  }

  message(child: LiveProcess, message: Exclude<ChildMessage, Hello>): void {
    const { events } = this.options;
    events.onHeard(child);
    switch (message.type) {
      case "ready":
        child.protocol = message.protocol ?? child.protocol;
        // Its earlier warning that it might not become ready no longer applies.
        child.fault = null;
        events.onListens(child);
        this.watchExposure(child);
        return;
      case "stats":
        if (message.role !== child.kind) return;
        child.stats.record(message, performance.now());
        events.onCounted(child);
        child.death.history.noteLag(message.eventLoopLagMs);
        if (message.role !== "balancer") return this.recordOwn(child, message);
        this.recordRelayed(child, message);
        if (message.routes !== undefined) events.onRoutes(child, message.routes);
        return;
      case "applied":
        events.onApplied(child, message);
        return;
      case "poison":
        if (child.kind === "balancer") events.onPoison(message);
        return;
      case "dumped":
        events.onDumped(message);
        return;
      case "lost":
        if (child.kind === "balancer") events.onLost(message);
        return;
      case "wantCertificate":
        if (child.kind === "balancer") events.onWantCertificate(child, message.name);
        return;
      case "open":
        if (child.kind === "balancer") events.onOpen(message);
        return;
      case "recorded":
        if (child.kind === "balancer") events.onRecorded(message);
        return;
      case "spans":
        if (child.kind === "balancer") events.onSpans(message);
        return;
      case "notice":
        this.notice(child, message);
        return;
      case "schedule":
        child.schedule = message;
        if (message.last !== null) events.onRun(child, message.last);
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
        // Only templates send these messages.
        return;
      case "supervisorSpawned":
        // Only the caller that requested the spawn handles this message, in socket-holder.ts.
        return;
      default:
        message satisfies never;
    }
  }

  private notice(child: LiveProcess, { message, level = "warn", askedPort, kind }: Notice): void {
    const { events } = this.options;
    const text = message.slice(0, MAX_NOTICE_TEXT);
    if (askedPort === undefined) return events.onNotice(child, text, level, kind);
    // Reported once for each generation, because all its instances ask for the same port.
    if (this.asked.get(child.pool) === child.generation) return;
    this.asked.set(child.pool, child.generation);
    events.onAsked(child, text, level, askedPort);
  }

  closed(child: LiveProcess, connection: ChannelConnection): void {
    if (child.connection !== connection) return;
    child.connection = null;
    const { events, unreported, hasEnded } = this.options;
    if (hasEnded(child)) return;
    if (child.isForked) unreported.doubt(child.id);
    events.onChannelLost(child);
    // Usually the process exits or reconnects at once. The loss is logged only if it does neither.
    setTimeout(() => {
      if (child.exit !== null || child.heldExit !== null || child.connection !== null) return;
      events.report(child, { type: "channelLost", attempt: child.attempt });
    }, FINAL_REPORT_MS).unref();
  }

  /** Records a request that an instance in direct mode reports because the request has exceeded its time limit: no balancer sees it. */
  private recordOwn(child: LiveProcess, { overdue }: InstanceStats): void {
    noteOverdue(child, child.id, overdue);
    if (child.overdue?.by === child.id) this.options.events.onOverdue(child);
  }

  /** Records the balancers' figures, because only they know what a command or a stalled process is doing. */
  private recordRelayed(balancer: LiveProcess, { upstreams, periodMs }: BalancerStats): void {
    for (const upstream of upstreams) {
      const child = this.options.find(upstream.id);
      if (upstream.judged !== undefined)
        this.options.judged.record(
          upstream.id,
          child,
          balancer.id,
          upstream.judged,
          performance.now(),
          upstream.inFlight,
        );
      if (child === undefined) {
        if (upstream.statuses !== undefined) this.options.stats.recordLate(upstream.id, balancer.id, upstream.statuses);
        continue;
      }
      child.relayed.set(balancer.id, upstream.inFlight);
      if (upstream.servesAnyway === true) child.servedAnywayBy.add(balancer.id);
      else child.servedAnywayBy.delete(balancer.id);
      noteEjection(this.options.log, child, balancer, upstream.ejected, performance.now());
      noteRunning(child, balancer.id, upstream.running);
      noteOverdue(child, balancer.id, upstream.overdue);
      if (child.overdue !== null) this.options.events.onOverdue(child);
      if (upstream.statuses !== undefined) child.stats.recordStatuses(balancer.id, upstream.statuses);
      if (child.commandTag !== null) child.stats.recordRelayed(balancer.id, upstream, periodMs, performance.now());
    }
  }
}

/** Sends the drain requests made so far. */
export function sendDrain({ connection, drainDeadline, released }: LiveProcess): void {
  if (drainDeadline !== null)
    connection?.send({ type: "drain", deadlineMs: Math.max(0, drainDeadline - performance.now()) });
  if (released) connection?.send({ type: "released" });
}

/**
 * Records the request that a stalled process is running, as `by` reports it. While the process stays stalled, reports of other balancers
 * are ignored, because they know only requests that wait, like a balancer that has replaced the first one. A report after the kill was
 * decided is ignored, too.
 */
export function noteRunning(
  child: Pick<LiveProcess, "running" | "runningBy" | "verdict">,
  by: string,
  request: string | undefined,
): void {
  if (request === undefined || child.verdict !== null || (child.running !== null && child.runningBy !== by)) return;
  child.running = request.slice(0, MAX_REQUEST_TEXT);
  child.runningBy = by;
}

/** Records a request that `by` reports as overdue. If `by` no longer reports it, the request has ended. */
function noteOverdue(child: LiveProcess, by: string, overdue: OverdueRequest | undefined): void {
  if (overdue === undefined) {
    if (child.overdue?.by === by) child.overdue = null;
    return;
  }
  const since = performance.now() - overdue.forMs;
  if (child.overdue !== null && child.overdue.by !== by && child.overdue.since <= since) return;
  child.overdue = { by, request: overdue.request.slice(0, MAX_REQUEST_TEXT), since };
}
