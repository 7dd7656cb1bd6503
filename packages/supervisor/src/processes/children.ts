/** The OS processes of the fleet: spawned, heard on the control channel, read, signalled, and cleaned up after. */
import { randomBytes } from "node:crypto";
import { closeSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import {
  type Applied,
  type BalancerStats,
  type ChildMessage,
  controlLanePath,
  type Hello,
  type OverdueRequest,
  type Poison,
  type Probed,
} from "@paceline/wire";
import { scoreboardPath } from "@paceline/wire/lane/scoreboard";
import { endStrays, errorLineOf, listenersOf, openMark, processesOf, readProcessTable } from "@paceline/wire/proc";
import type { ChannelConnection } from "../channel/channel-connection.js";
import type { FleetEffect } from "../core/fleet.js";
import type { ExitStatus } from "../core/model.js";
import type { KillSignal, Report } from "../core/process.js";
import type { Reach } from "../core/snapshot.js";
import { exitReason, NOT_READY, seconds } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import { OutputFile, type OutputSink } from "../logs/output.js";
import { whereInPython } from "../logs/python-stack.js";
import type { StatsBook } from "../stats/stats.js";
import { Exposure } from "./exposure.js";
import { Leftovers } from "./leftover-processes.js";
import { BALANCER_POOL, type Ending, type LiveProcess } from "./live-process.js";
import { signalGroup, spawnDetached } from "./processes.js";
import type { SpawnPlan } from "./spawn-plan.js";
import { Templates, type TemplatesOptions } from "./templates.js";

/** A process that ended may have a last report on its way for this long. */
const LAST_WORD_MS = 1000;

export interface ChildrenOptions {
  log: EventLog;
  stats: StatsBook;
  outputPath(id: string): string;
  /** What takes the output of the slot `name`. */
  outputSink(name: string): OutputSink;
  plan(effect: FleetEffect, token: string): SpawnPlan;
  planTemplate: TemplatesOptions["plan"];
  /** Whether processes of this generation may be asked for again. */
  isWanted: TemplatesOptions["isWanted"];
  /** What a balancer inherits as fd 3, 4, …. */
  listeningFds(): number[];
  /** Something happened to the process that the state machine is to hear. */
  report(target: Pick<LiveProcess, "pool" | "index">, report: Report): void;
  onHello(child: LiveProcess, connection: ChannelConnection): void;
  onApplied(child: LiveProcess, applied: Applied): void;
  onLinkLost(child: LiveProcess): void;
  onPoison(found: Poison): void;
  onNotice(child: LiveProcess, message: string): void;
  /** It listens; whether it is ready is another matter. */
  onListens(child: LiveProcess): void;
  onProbed(child: LiveProcess, probed: Probed): void;
  /** Anything came from it: its event loop turns. */
  onHeard(child: LiveProcess): void;
  /** A balancer said that a request that nobody waits for goes on in this process. */
  onOverdue(child: LiveProcess): void;
  /** Comes before the state machine hears of it, and also for a process that could not even be started. */
  onEnded(process: Pick<LiveProcess, "id" | "pool" | "name" | "index" | "attempt">, ending: Ending): void;
}

/** Those that a program brings upon itself, so that it may have said why. */
const FATAL_SIGNALS = new Set(["SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGTRAP"]);

/** What a child calls its runtime is for people to read. */
const MAX_RUNTIME_TEXT = 40;
/** A request that is told to people. */
const MAX_REQUEST_TEXT = 200;
const MAX_NOTICE_TEXT = 1000;

export class Children {
  private readonly byId = new Map<string, LiveProcess>();
  private readonly byToken = new Map<string, LiveProcess>();
  private readonly lastWords = new Map<string, NodeJS.Timeout>();
  /** The scoreboards of processes that ended a moment ago. */
  private readonly leftScoreboards = new Map<string, NodeJS.Timeout>();

  /** What forks those of pools with `preload`. */
  readonly templates: Templates;
  private readonly leftovers: Leftovers;
  private readonly exposure: Exposure;

  constructor(private readonly options: ChildrenOptions) {
    this.leftovers = new Leftovers(options.log);
    const { log, outputPath, outputSink, planTemplate, isWanted } = options;
    this.templates = new Templates({
      ...{ log, outputPath, outputSink, isWanted },
      leftovers: this.leftovers,
      plan: planTemplate,
    });
    this.exposure = new Exposure(options.log);
  }

  /** Those whose process has not ended. */
  *alive(): Iterable<LiveProcess> {
    for (const child of this.byId.values()) if (child.exit === null) yield child;
  }

  get(id: string): LiveProcess | undefined {
    return this.byId.get(id);
  }

  /** How a balancer reaches an instance that is ready. */
  reach(id: string): Reach {
    const { socket, tcp, mark, protocol, maxInFlight, perClient } = this.byId.get(id) as LiveProcess;
    return {
      ...(tcp === null ? { socket: socket as string } : { tcp }),
      protocol,
      ...(maxInFlight !== null && { maxInFlight }),
      ...(mark !== null && { foreign: true }),
      ...(perClient && { perClient }),
    };
  }

  /** The TCP ports that are given out. */
  get ports(): Set<number> {
    return new Set([...this.alive()].flatMap(({ tcp }) => (tcp === null ? [] : [tcp.port])));
  }

  findByToken(token: string): LiveProcess | undefined {
    return this.byToken.get(token);
  }

  /** Starts the process that a `spawn` effect asks for; a failure is reported in a later turn, as any other. */
  spawn(effect: FleetEffect): void {
    const { options } = this;
    const token = randomBytes(24).toString("base64url");
    let plan: SpawnPlan;
    let output: OutputFile;
    let markFd: number | undefined;
    try {
      plan = options.plan(effect, token);
      if (plan.mark !== null) markFd = openMark(dirname(options.outputPath(effect.id)), plan.mark);
      output = new OutputFile(options.outputPath(effect.id), plan.maxOutputBytes, options.outputSink(effect.name));
    } catch (error) {
      if (markFd !== undefined) closeSync(markFd);
      const reason = (error as Error).message;
      const status = { code: null, signal: null };
      setImmediate(() => {
        options.onEnded(effect, { status, at: Date.now(), reason: `not started: ${reason}`, lastLines: [] });
        options.report(effect, { type: "spawnFailed", attempt: effect.attempt, reason });
      });
      return;
    }
    const child: LiveProcess = {
      id: effect.id,
      pool: effect.pool,
      name: effect.name,
      index: effect.index,
      attempt: effect.attempt,
      generation: effect.generation,
      kind: effect.pool === BALANCER_POOL ? "balancer" : "instance",
      runtime: plan.runtime,
      token,
      socket: plan.socket,
      tcp: plan.tcp,
      mark: plan.mark,
      tag: plan.tag,
      maxInFlight: plan.maxInFlight,
      perClient: plan.perClient,
      isForked: plan.own !== null,
      protocol: "http1",
      output,
      stats: options.stats.open(effect.id, effect.pool),
      spawnedAt: performance.now(),
      pid: null,
      connection: null,
      fault: null,
      verdict: null,
      running: null,
      overdue: null,
      relayed: new Map(),
      get isBusy() {
        return (this.stats.last?.inFlight ?? 0) > 0 || [...this.relayed.values()].some((count) => count > 0);
      },
      commandExit: null,
      exposed: [],
      drainDeadline: null,
      released: false,
      heldExit: null,
      exit: null,
    };
    this.byId.set(child.id, child);
    this.byToken.set(token, child);
    if (plan.own !== null) {
      this.fork(child, plan.own);
      return;
    }
    child.pid = spawnDetached({
      command: plan.command,
      args: plan.args,
      cwd: plan.cwd,
      environment: plan.environment,
      outputFd: output.fd,
      inheritedFds: child.kind === "balancer" ? options.listeningFds() : markFd === undefined ? [] : [markFd],
      onExit: (status) => this.exited(child, status),
      onSpawnFailed: (reason) => this.ended(child, { code: null, signal: null }, reason),
    });
    if (markFd !== undefined) closeSync(markFd);
  }

  private fork(child: LiveProcess, environment: Record<string, string>): void {
    const { id, pool, generation, output } = child;
    const later = (reason: string) => setImmediate(() => this.ended(child, { code: null, signal: null }, reason));
    try {
      this.templates.fork({
        ...{ id, pool, generation, environment, outputPath: this.options.outputPath(id) },
        pid: () => child.pid,
        onForked: (pid) => {
          child.pid = pid;
        },
        onExit: (status) => this.exited(child, status),
        onFailed: later,
        onTemplateEnded: (status, fault, verdict, lastLines) => {
          output.lastLines.push(...lastLines);
          child.fault ??= fault;
          child.verdict ??= verdict === null ? null : `its template ${verdict}`;
          setImmediate(() => this.ended(child, status, null));
        },
      });
    } catch (error) {
      later((error as Error).message);
    }
  }

  /** Signals the process and all that it started in its group. */
  signal(id: string, signal: KillSignal, verdict?: string): void {
    const child = this.byId.get(id);
    if (child === undefined || child.exit !== null) return;
    if (child.pid === null) {
      // A template that has not forked it by now does not: it loads for ever, or hangs.
      if (signal === "SIGKILL") this.templates.giveUp(id, "did not fork in time");
      if (!this.templates.cancel(id)) return;
      child.verdict ??= verdict ?? null;
      setImmediate(() => this.ended(child, { code: null, signal }, null));
      return;
    }
    child.verdict ??= verdict === undefined ? null : `${verdict}${this.whereItListens(child, verdict)}`;
    signalGroup(child.pid, signal);
    if (child.isForked && signal === "SIGKILL") this.templates.doubt(child.id);
  }

  /** Tells all instances that a drain will follow: an app can end early what would hold it up. */
  announceDrain(): void {
    for (const child of this.alive()) if (child.kind === "instance") child.connection?.send({ type: "draining" });
  }

  /** Of one that never got ready: the ports that it holds, which are then not those that it was told. */
  private whereItListens({ pid }: LiveProcess, verdict: string): string {
    if (pid === null || !verdict.startsWith(NOT_READY)) return "";
    const listeners = listenersOf([pid, ...processesOf(pid, readProcessTable())]);
    const addresses = listeners.map(({ host, port }) => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`));
    return addresses.length === 0 ? "" : `; it listens on ${addresses.join(", ")}`;
  }

  /** Resolves when nothing is left of what ended processes had started. */
  whenClean(): Promise<void> {
    return this.leftovers.whenSettled();
  }

  /** Says that it is to drain until then, now or as soon as it has a control channel again. */
  drain(id: string, deadline: number): void {
    const child = this.byId.get(id);
    if (child === undefined) return;
    child.drainDeadline = deadline;
    // One that is not there yet need not come.
    if (child.isForked && child.pid === null && this.templates.cancel(id))
      setImmediate(() => this.ended(child, { code: 0, signal: null }, null));
    sendDrain(child);
  }

  /** Says that nothing can be under way to it, likewise. */
  release(id: string): void {
    const child = this.byId.get(id);
    if (child === undefined) return;
    child.released = true;
    child.connection?.send({ type: "released" });
  }

  /** Why this child may not say this hello; undefined when it may. */
  objection(child: LiveProcess, hello: Hello): string | undefined {
    if (child.exit !== null) return "that process has ended";
    if (hello.name !== child.name || hello.attempt !== child.attempt) return `the token is that of ${child.id}`;
    if (hello.role !== child.kind) return `${child.id} is no ${hello.role}`;
    // Its token proves it; its template tells of it a moment later.
    if (child.isForked) child.pid ??= hello.pid;
    return hello.pid === child.pid ? undefined : `the token is that of pid ${child.pid}`;
  }

  hello(child: LiveProcess, hello: Hello, connection: ChannelConnection): void {
    child.connection?.destroy();
    child.connection = connection;
    this.templates.trust(child.id);
    this.options.onHeard(child);
    this.options.onHello(child, connection);
    child.protocol = hello.protocol ?? child.protocol;
    if (!/^(bun|node) /.test(hello.runtime)) child.runtime = hello.runtime.slice(0, MAX_RUNTIME_TEXT);
    if (hello.phase === "ready") {
      this.options.onListens(child);
      this.exposure.watch(child);
    }
    sendDrain(child);
  }

  message(child: LiveProcess, message: Exclude<ChildMessage, Hello>): void {
    this.options.onHeard(child);
    switch (message.type) {
      case "ready":
        child.protocol = message.protocol ?? child.protocol;
        // One that had warned that it might not get ready did.
        child.fault = null;
        this.options.onListens(child);
        this.exposure.watch(child);
        return;
      case "stats":
        if (message.role !== child.kind) return;
        child.stats.record(message, performance.now());
        if (message.role === "balancer") this.recordRelayed(child, message);
        return;
      case "applied":
        this.options.onApplied(child, message);
        return;
      case "poison":
        if (child.kind === "balancer") this.options.onPoison(message);
        return;
      case "notice":
        this.options.onNotice(child, message.message.slice(0, MAX_NOTICE_TEXT));
        return;
      case "fault":
        child.fault = message.message.slice(0, 1000);
        child.commandExit = message.exit ?? null;
        return;
      case "pong":
        return;
      case "probed":
        this.options.onProbed(child, message);
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

  /** What a command does is known to the balancers alone, and so is what a process that is silent is at. */
  private recordRelayed(balancer: LiveProcess, { upstreams, periodMs }: BalancerStats): void {
    for (const upstream of upstreams) {
      const child = this.byId.get(upstream.id);
      if (child === undefined) continue;
      child.relayed.set(balancer.id, upstream.inFlight);
      if (upstream.running !== undefined) child.running = upstream.running.slice(0, MAX_REQUEST_TEXT);
      noteOverdue(child, balancer.id, upstream.overdue);
      if (child.overdue !== null) this.options.onOverdue(child);
      if (child.mark !== null) child.stats.recordRelayed(balancer.id, upstream, periodMs, performance.now());
    }
  }

  linkClosed(child: LiveProcess, connection: ChannelConnection): void {
    if (child.connection !== connection) return;
    child.connection = null;
    if (child.heldExit !== null) this.ended(child, child.heldExit, null);
    if (child.exit !== null) {
      this.forget(child);
      return;
    }
    if (child.isForked) this.templates.doubt(child.id);
    this.options.onLinkLost(child);
    // Mostly it is about to end, or comes back at once: only of one that does neither is there something to say.
    setTimeout(() => {
      if (child.exit !== null || child.heldExit !== null || child.connection !== null) return;
      this.options.report(child, { type: "linkLost", attempt: child.attempt });
    }, LAST_WORD_MS).unref();
  }

  /** Forgets all that ended, without waiting for last words. */
  close(): void {
    for (const child of [...this.byId.values()]) {
      if (child.exit !== null) this.forget(child);
    }
    for (const [path, timer] of this.leftScoreboards) {
      clearTimeout(timer);
      rmSync(path, { force: true });
    }
    this.leftScoreboards.clear();
  }

  /** How a command ended is told by its shim: the end of the control channel is waited for, since what was said last comes before it. */
  private exited(child: LiveProcess, status: ExitStatus): void {
    if (child.mark === null || child.connection === null) return this.ended(child, status, null);
    child.heldExit = status;
    setTimeout(() => this.ended(child, status, null), LAST_WORD_MS).unref();
  }

  private ended(child: LiveProcess, ownStatus: ExitStatus, spawnFailure: string | null): void {
    if (child.exit !== null) return;
    const { options } = this;
    const { pid, mark } = child;
    // A shim ends as its command did, as far as a process can.
    const status = child.commandExit ?? ownStatus;
    child.exit = status;
    // What it started in its group ends with it; nothing there could be told to end later.
    if (pid !== null) signalGroup(pid, "SIGKILL");
    // A shim that was killed could not look after what its command had started elsewhere.
    if (pid !== null && mark !== null && ownStatus.signal !== null) void endStrays({ leader: pid, mark });
    if (pid !== null && child.tag !== null) this.leftovers.endOf(child.name, pid, child.tag);
    if (child.socket !== null) {
      for (const path of [child.socket, controlLanePath(child.socket)]) rmSync(path, { force: true });
      this.removeLater(scoreboardPath(child.socket));
    }
    try {
      child.output.close();
    } catch (error) {
      options.log.event("warn", child.name, `its output could not be read to the end: ${(error as Error).message}`);
    }
    if (child.kind === "balancer") {
      for (const other of this.byId.values()) {
        other.stats.balancerEnded(child.id);
        other.relayed.delete(child.id);
      }
    }
    const at = Date.now();
    const how = spawnFailure === null ? exitReason(status).replace(/^was /, "") : `not started: ${spawnFailure}`;
    const why = this.why(child, status);
    if (child.verdict !== null && why !== "") options.log.event("warn", child.name, why);
    const verdict = child.verdict === null ? "" : `${child.verdict}; `;
    const reason = `${verdict}${how} after ${seconds(performance.now() - child.spawnedAt)}${why === "" ? "" : `: ${why}`}`;
    options.onEnded(child, { status, at, reason, lastLines: [...child.output.lastLines] });
    const { attempt } = child;
    if (spawnFailure === null) options.report(child, { type: "exited", attempt, status });
    else options.report(child, { type: "spawnFailed", attempt, reason: spawnFailure });
    if (child.connection === null) this.forget(child);
    else
      this.lastWords.set(
        child.id,
        setTimeout(() => this.forget(child), LAST_WORD_MS),
      );
  }

  /** What a process said of its end: a shim on the control channel, others in what they wrote last. */
  private why({ mark, fault, verdict, output }: LiveProcess, { code, signal }: ExitStatus): string {
    if (mark !== null) return fault ?? "";
    if (verdict !== null) {
      const where = whereInPython(output.lastLines);
      return fault ?? (where === undefined ? "" : `it was in ${where}`);
    }
    const isOwn = signal === null ? code !== null && code !== 0 : FATAL_SIGNALS.has(signal);
    return isOwn ? errorLineOf(output.lastLines) : "";
  }

  /** Balancers read in it what the process was running when it ended. */
  private removeLater(scoreboard: string): void {
    const timer = setTimeout(() => {
      this.leftScoreboards.delete(scoreboard);
      rmSync(scoreboard, { force: true });
    }, LAST_WORD_MS);
    this.leftScoreboards.set(scoreboard, timer);
  }

  private forget(child: LiveProcess): void {
    clearTimeout(this.lastWords.get(child.id));
    this.lastWords.delete(child.id);
    child.connection?.destroy();
    child.connection = null;
    this.options.stats.close(child.id);
    this.byId.delete(child.id);
    this.byToken.delete(child.token);
  }
}

/** What was asked of it so far. */
function sendDrain({ connection, drainDeadline, released }: LiveProcess): void {
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
