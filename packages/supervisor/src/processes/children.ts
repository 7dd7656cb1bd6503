/** The OS processes of the fleet: spawns them, finds them by id or token, sends them signals and drains them. */
import { randomBytes } from "node:crypto";
import { closeSync } from "node:fs";
import { dirname } from "node:path";
import { listenersOf, openTagFile, processesOf, readProcessTable } from "@paceline/wire/proc";
import { kindOfVerdict } from "../core/deaths.js";
import type { Reach } from "../core/fleet.js";
import type { FleetEffect } from "../core/fleet-changes.js";
import type { KillSignal } from "../core/process.js";
import { NOT_READY } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import { OutputFile, type OutputSink } from "../logs/output.js";
import type { ReadPositions } from "../logs/read-positions.js";
import type { SavedProcess } from "../run-dir/fleet-state.js";
import type { JudgedCounts } from "../stats/judged-counts.js";
import type { StatsBook } from "../stats/stats.js";
import { ChildChannel, type ChildChannelEvents, sendDrain } from "./child-channel.js";
import { ChildEnds, type ChildEndsOptions } from "./child-end.js";
import type { ControlGroups } from "./control-groups.js";
import { DeathNotes } from "./death-notes.js";
import { BALANCER_POOL, type LiveProcess, shimKey } from "./live-process.js";
import { Leftovers, lastSignIn, signalGroup, spawnDetached, startTimeOf } from "./processes.js";
import type { SpawnPlan } from "./spawn-plan.js";
import { Templates, type TemplatesOptions } from "./templates.js";
import { AdoptedEnds } from "./unreported-ends.js";

export interface ChildrenOptions extends ChildChannelEvents {
  log: EventLog;
  stats: StatsBook;
  judged: JudgedCounts;
  outputPath(id: string): string;
  positions: ReadPositions;
  /** Returns the sink for the output of the slot `name`. */
  outputSink(name: string): OutputSink;
  plan(effect: FleetEffect, token: string): SpawnPlan;
  planTemplate: TemplatesOptions["plan"];
  /** Whether processes of this generation may be requested again. */
  isWanted: TemplatesOptions["isWanted"];
  onTemplateDied: TemplatesOptions["onTemplateDied"];
  /**
   * Returns the descriptors that a process inherits as fd 3, 4, …: a balancer those of the fleet, an instance in direct mode those of its
   * slot.
   * @throws PacelineError if another balancer has exclusive use of them
   */
  listeningFds(effect: FleetEffect): number[];
  groups: ControlGroups;
  /** The `maxMemoryMb` of a pool's generation; 0: no limit. */
  memoryLimitOf(pool: string, generation: number): number;
  /** Called before the state machine is notified, also for a process that could not be started. */
  onEnded: ChildEndsOptions["onEnded"];
  /** Called when the process has exited and has sent its last report, or will not send one. */
  onOver(child: LiveProcess): void;
}

/** The fields that identify a process, and do not change while it runs. */
type KnownOfProcess = Pick<
  LiveProcess,
  | (
      | "outputRow"
      | "id"
      | "pool"
      | "name"
      | "index"
      | "attempt"
      | "generation"
      | "token"
      | "output"
      | "spawnedAt"
      | "runtime"
      | "socket"
    )
  | (
      | "tcp"
      | "commandTag"
      | "tag"
      | "maxInFlight"
      | "perClient"
      | "isForked"
      | "protocol"
      | "pid"
      | "startTime"
      | "isAdopted"
    )
>;

export class Children {
  private readonly byId = new Map<string, LiveProcess>();
  private readonly byToken = new Map<string, LiveProcess>();
  /** The templates that fork the processes of pools with `preload`. */
  readonly templates: Templates;
  private readonly leftovers: Leftovers;
  /** The control channel of the processes. */
  readonly channel: ChildChannel;
  private readonly ends: ChildEnds;
  private readonly adopted = new AdoptedEnds((child) => this.ends.exited(child, { code: null, signal: null }));

  constructor(private readonly options: ChildrenOptions) {
    this.leftovers = new Leftovers(options.log);
    const { log, outputPath, outputSink, planTemplate, isWanted, onTemplateDied } = options;
    this.templates = new Templates({
      ...{ log, outputPath, outputSink, isWanted, onTemplateDied },
      leftovers: this.leftovers,
      plan: planTemplate,
    });
    this.ends = new ChildEnds({
      ...{ log, groups: options.groups, memoryLimitOf: options.memoryLimitOf, outputPath },
      leftovers: this.leftovers,
      all: () => this.byId.values(),
      report: options.report,
      onEnded: options.onEnded,
      onOver: (child) => {
        const { id, token, outputRow } = child;
        options.onOver(child);
        options.positions.free(outputRow);
        options.stats.close(id);
        this.byId.delete(id);
        this.byToken.delete(token);
      },
    });
    this.channel = new ChildChannel({
      events: options,
      log,
      judged: options.judged,
      stats: options.stats,
      unreported: this.templates.unreported,
      find: (id) => this.byId.get(id),
      hasEnded: (child) => {
        if (child.isAdopted) this.adopted.doubt(child);
        return this.ends.channelClosed(child);
      },
    });
  }

  /** Iterates over the processes that have not exited. */
  *alive(): Iterable<LiveProcess> {
    for (const child of this.byId.values()) if (child.exit === null) yield child;
  }

  /** Iterates over the keys of the memory and CPU time of processes outside of all slots: shims and templates. */
  *helpers(): Iterable<number> {
    for (const { pid, commandTag } of this.alive()) if (pid !== null && commandTag !== null) yield shimKey(pid);
    for (const { pid } of this.templates.alive()) if (pid !== null) yield pid;
  }

  get(id: string): LiveProcess | undefined {
    return this.byId.get(id);
  }

  /** Returns how balancers reach a ready instance; undefined if it gets no requests. */
  reach(id: string): Reach | undefined {
    const { socket, tcp, commandTag, protocol, maxInFlight, perClient, failsChecks } = this.byId.get(id) as LiveProcess;
    if (tcp === null && socket === null) return undefined;
    return {
      ...(tcp === null ? { socket: socket as string } : { tcp }),
      protocol,
      ...(maxInFlight !== null && { maxInFlight }),
      ...(commandTag !== null && { foreign: true }),
      ...(perClient && { perClient }),
      ...(failsChecks && { failsChecks }),
    };
  }

  /** The TCP ports in use by instances. */
  get ports(): Set<number> {
    return new Set([...this.alive()].flatMap(({ tcp }) => (tcp === null ? [] : [tcp.port])));
  }

  findByToken(token: string): LiveProcess | undefined {
    return this.byToken.get(token);
  }

  /** Starts the process of a `spawn` effect. A failure is reported in a later turn, like any other exit. */
  spawn(effect: FleetEffect): void {
    const { options } = this;
    const token = randomBytes(24).toString("base64url");
    let plan: SpawnPlan;
    let output: OutputFile;
    let tagFd: number | undefined;
    let inheritedFds: number[];
    const row = options.positions.take();
    try {
      plan = options.plan(effect, token);
      inheritedFds = options.listeningFds(effect);
      if (plan.commandTag !== null) tagFd = openTagFile(dirname(options.outputPath(effect.id)), plan.commandTag);
      output = this.openOutput(effect, plan.maxOutputBytes, row);
    } catch (error) {
      if (tagFd !== undefined) closeSync(tagFd);
      options.positions.free(row);
      const reason = (error as Error).message;
      const status = { code: null, signal: null };
      setImmediate(() => {
        const end = { status, at: Date.now(), reason: `not started: ${reason}`, lastLines: [], isSpawnFailure: true };
        options.onEnded(effect, end);
        options.report(effect, { type: "spawnFailed", attempt: effect.attempt, reason });
      });
      return;
    }
    const child = this.add({
      ...{ id: effect.id, pool: effect.pool, name: effect.name, index: effect.index, attempt: effect.attempt },
      ...{ generation: effect.generation, token, output, spawnedAt: performance.now() },
      ...{ runtime: plan.runtime, socket: plan.socket, tcp: plan.tcp, commandTag: plan.commandTag, tag: plan.tag },
      ...{ maxInFlight: plan.maxInFlight, perClient: plan.perClient, isForked: plan.own !== null },
      ...{ outputRow: row, protocol: "http1", pid: null, startTime: undefined, isAdopted: false },
    });
    if (plan.own !== null) {
      this.fork(child, plan.own);
      return;
    }
    child.pid = spawnDetached({
      command: plan.command,
      args: plan.args,
      title: plan.title,
      cwd: plan.cwd,
      environment: plan.environment,
      outputFd: output.fd,
      inheritedFds: tagFd === undefined ? inheritedFds : [tagFd],
      onExit: (status) => this.ends.exited(child, status),
      onSpawnFailed: (reason) => this.ends.ended(child, { code: null, signal: null }, reason),
    });
    if (child.pid !== null) this.started(child, child.pid);
    if (tagFd !== undefined) closeSync(tagFd);
  }

  private started(child: LiveProcess, pid: number): void {
    child.startTime = startTimeOf(pid);
    const { groups, memoryLimitOf } = this.options;
    child.group = groups.confine(child.id, pid, memoryLimitOf(child.pool, child.generation));
  }

  private openOutput({ id, name }: { id: string; name: string }, maxBytes: number, row: number, from = 0): OutputFile {
    const { outputPath, outputSink, positions } = this.options;
    positions.write(row, from);
    return new OutputFile(outputPath(id), maxBytes, outputSink(name), {
      from,
      save: (position) => positions.write(row, position),
    });
  }

  /**
   * Adopts a process of an earlier supervisor, which may have exited. The template that forked it is no longer needed.
   * @param outputBytes how much of its output was read
   */
  adopt(saved: SavedProcess, outputBytes: number): LiveProcess {
    const { options } = this;
    const { maxOutputBytes, spawnedAt, requestsTotal, errorsTotal, relayed, statuses, statusesOf, mark, ...known } =
      saved;
    // Reading the file changes its times.
    const lastSignAt = lastSignIn(options.outputPath(saved.id), spawnedAt);
    const output = this.openOutput(saved, maxOutputBytes, options.positions.take(saved.outputRow), outputBytes);
    const at = spawnedAt - performance.timeOrigin;
    const child = this.add({ ...known, commandTag: mark, output, spawnedAt: at, isForked: false, isAdopted: true });
    child.lastSignAt = lastSignAt;
    child.stats.restore(saved);
    if (child.pid !== null) child.group = options.groups.of(child.pid);
    this.adopted.add(child);
    return child;
  }

  /** Whether an adopted process is still running. Handles its exit. */
  checkAdopted(child: LiveProcess): boolean {
    return this.adopted.check(child);
  }

  private add(known: KnownOfProcess): LiveProcess {
    const child: LiveProcess = {
      ...known,
      kind: known.pool === BALANCER_POOL ? "balancer" : "instance",
      stats: this.options.stats.open(known.id, known.pool),
      version: null,
      death: new DeathNotes(),
      ...{ isDumping: false, group: null, lastSignAt: null },
      connection: null,
      fault: null,
      verdict: null,
      running: null,
      runningBy: null,
      overdue: null,
      relayed: new Map(),
      failsChecks: false,
      ejections: new Map(),
      servedAnywayBy: new Set(),
      ejectionsTotal: 0,
      get isBusy() {
        return (this.stats.last?.inFlight ?? 0) > 0 || [...this.relayed.values()].some((count) => count > 0);
      },
      schedule: null,
      commandExit: null,
      exposed: [],
      drainDeadline: null,
      released: false,
      heldExit: null,
      exit: null,
    };
    this.byId.set(child.id, child);
    this.byToken.set(child.token, child);
    return child;
  }

  private fork(child: LiveProcess, environment: Record<string, string>): void {
    const { id, pool, generation, output } = child;
    const later = (reason: string) => setImmediate(() => this.ends.ended(child, { code: null, signal: null }, reason));
    try {
      this.templates.fork({
        ...{ id, pool, generation, environment, outputPath: this.options.outputPath(id) },
        pid: () => child.pid,
        onForked: (pid) => {
          child.pid = pid;
          this.started(child, pid);
        },
        onExit: (status) => this.ends.exited(child, status),
        onFailed: later,
        onTemplateEnded: (status, fault, verdict, lastLines) => {
          output.lastLines.push(...lastLines);
          child.fault ??= fault;
          child.death.killedAs ??= "template";
          child.verdict ??= verdict === null ? null : `its template ${verdict}`;
          setImmediate(() => this.ends.ended(child, status, null));
        },
      });
    } catch (error) {
      later((error as Error).message);
    }
  }

  /** Sends a signal to the process and its process group. */
  signal(id: string, signal: KillSignal, verdict?: string): void {
    const child = this.byId.get(id);
    if (child === undefined || child.exit !== null) return;
    if (verdict !== undefined || signal !== "SIGTERM")
      child.death.killedAs ??= kindOfVerdict(verdict, child.death.isOverMemory);
    if (child.pid === null) {
      // A template that has not forked it by now is stuck while loading, or hangs.
      if (signal === "SIGKILL") this.templates.giveUp(id, "did not fork in time");
      if (!this.templates.cancel(id)) return;
      child.verdict ??= verdict ?? null;
      setImmediate(() => this.ends.ended(child, { code: null, signal }, null));
      return;
    }
    // Its pid may have been reused.
    if (child.isAdopted && !this.adopted.check(child)) return;
    child.verdict ??=
      verdict === undefined ? null : `${verdict}${this.whereItListens(child, verdict)}${this.slowedText(child)}`;
    signalGroup(child.pid, signal);
    if (child.isForked && signal === "SIGKILL") this.templates.unreported.doubt(child.id);
  }

  /** Announces the drain to all instances, so that apps can end long-running requests early. */
  announceDrain(): void {
    for (const child of this.alive()) if (child.kind === "instance") child.connection?.send({ type: "draining" });
  }

  /** If a process failed to become ready, returns the ports on which it listens, which are probably not the assigned ones. */
  private whereItListens({ pid }: LiveProcess, verdict: string): string {
    if (pid === null || !verdict.startsWith(NOT_READY)) return "";
    const listeners = listenersOf([pid, ...processesOf(pid, readProcessTable())]);
    const addresses = listeners.map(({ host, port }) => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`));
    return addresses.length === 0 ? "" : `; it listens on ${addresses.join(", ")}`;
  }

  /**
   * If memory may be the reason why the process did not respond, returns a text: the kernel keeps pausing a process above its
   * `memory.high`.
   */
  private slowedText({ group, pool, generation }: LiveProcess): string {
    const { groups, memoryLimitOf } = this.options;
    return group === null ? "" : groups.slowedText(group, memoryLimitOf(pool, generation));
  }

  /** Resolves when the leftover processes of all exited processes are gone. */
  whenClean(): Promise<void> {
    return this.leftovers.whenSettled();
  }

  /** Tells a process to drain until `deadline`, now or when it reconnects. */
  drain(id: string, deadline: number): void {
    const child = this.byId.get(id);
    if (child === undefined) return;
    child.drainDeadline = deadline;
    // A process that has not been forked yet is not needed.
    if (child.isForked && child.pid === null && this.templates.cancel(id))
      setImmediate(() => this.ends.ended(child, { code: 0, signal: null }, null));
    sendDrain(child);
  }

  /** Tells a process that no further request can arrive, now or when it reconnects. */
  release(id: string): void {
    const child = this.byId.get(id);
    if (child === undefined) return;
    child.released = true;
    child.connection?.send({ type: "released" });
  }

  /** Forgets all exited processes without waiting for their final reports. */
  close(): void {
    this.adopted.close();
    this.ends.close();
    this.options.groups.close();
  }
}
