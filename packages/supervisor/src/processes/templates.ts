/** The templates of pools with `preload`: each loads the app once and forks the instances of one generation. */
import { randomBytes } from "node:crypto";
import { type ChildMessage, type Hello, SPAWN_TAG } from "@paceline/wire";
import type { ChannelConnection } from "../channel/channel-server.js";
import type { ExitStatus } from "../core/model.js";
import { exitReason, seconds } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import { OutputFile, type OutputSink, REPORTED_LINES } from "../logs/output.js";
import { DeathNotes } from "./death-notes.js";
import type { Ending, ForkRequest, Template } from "./live-process.js";
import { type Leftovers, signalGroup, spawnDetached, startTimeOf } from "./processes.js";
import type { SpawnPlan } from "./spawn-plan.js";
import { UnreportedEnds } from "./unreported-ends.js";

export interface TemplatesOptions {
  log: EventLog;
  leftovers: Leftovers;
  outputPath(id: string): string;
  outputSink(name: string): OutputSink;
  plan(template: Pick<Template, "id" | "name" | "pool" | "generation" | "attempt">, token: string): SpawnPlan;
  /** Whether processes of this generation may be requested again. */
  isWanted(pool: string, generation: number): boolean;
  /** Called when a template exited although it was still needed. */
  onTemplateDied(template: Template, ending: Ending): void;
}

/** A SIGKILL takes effect late while the kernel does uninterruptible work for the process. */
const END_TIMEOUT_MS = 5000;

/** The verdicts of templates that we stopped on purpose. */
const NO_LONGER_NEEDED = "is no longer needed";
const STOPPING = "the fleet is stopping";

export class Templates {
  private readonly all = new Set<Template>();
  private readonly attempts = new Map<string, number>();
  /** Detects exited processes that no template reports. */
  readonly unreported: UnreportedEnds;
  private ended: (() => void)[] = [];

  constructor(private readonly options: TemplatesOptions) {
    this.unreported = new UnreportedEnds({
      all: this.all,
      onForked: (template, id, pid) => this.forked(template, id, pid),
      onHung: (template, verdict) => this.kill(template, verdict),
      onEmpty: (template) => this.clean(template, false),
    });
  }

  /** The number of the last template of each pool. */
  get lastAttempts(): [pool: string, attempt: number][] {
    return [...this.attempts];
  }

  /** Continues the numbering of templates after those of an earlier supervisor. */
  skipAttempts(attempts: readonly [pool: string, attempt: number][]): void {
    for (const [pool, attempt] of attempts) this.attempts.set(pool, attempt);
  }

  /** Iterates over the templates that have not exited. */
  *alive(): Iterable<Template> {
    for (const template of this.all) if (!template.hasEnded) yield template;
  }

  findByToken(token: string): Template | undefined {
    return [...this.alive()].find((template) => template.token === token);
  }

  /**
   * Lets the template of the generation fork the process; starts the template first if needed.
   * @throws like a spawn
   */
  fork(request: ForkRequest): void {
    const { pool, generation } = request;
    let template = [...this.alive()].find(
      (each) => each.pool === pool && each.generation === generation && each.verdict === null,
    );
    template ??= this.start(pool, generation);
    template.waiting.set(request.id, request);
    if (template.isReady) this.ask(template, request);
  }

  /** Cancels a request. Returns false if the process was already forked, or was never requested. */
  cancel(id: string): boolean {
    for (const template of this.alive()) if (template.waiting.delete(id)) return true;
    return false;
  }

  /** Kills the template that did not fork this process in time. */
  giveUp(id: string, verdict: string): void {
    for (const template of this.alive()) if (template.waiting.has(id)) this.kill(template, verdict);
  }

  /** Stops templates whose generation is no longer used and whose processes have all exited. */
  retire(): void {
    for (const template of this.alive()) {
      const { pool, generation, waiting, living } = template;
      if (waiting.size === 0 && living.size === 0 && !this.options.isWanted(pool, generation))
        this.kill(template, NO_LONGER_NEEDED);
    }
  }

  /** Stops all templates; resolves, within bounded time, when they have exited. */
  async end(): Promise<void> {
    const gone = new Promise<void>((resolve) => this.ended.push(resolve));
    for (const template of this.alive()) this.kill(template, STOPPING);
    if ([...this.alive()].length === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, END_TIMEOUT_MS);
    });
    await Promise.race([gone, late]);
    clearTimeout(timer);
  }

  // The control channel:

  objection(template: Template, hello: Hello): string | undefined {
    if (hello.role !== "template") return `${template.id} does not have the role ${hello.role}`;
    return hello.pid === template.pid ? undefined : `the token is that of pid ${template.pid}`;
  }

  hello(template: Template, connection: ChannelConnection): void {
    template.connection = connection;
  }

  message(template: Template, message: Exclude<ChildMessage, Hello>): void {
    switch (message.type) {
      case "ready":
        template.isReady = true;
        for (const request of template.waiting.values()) this.ask(template, request);
        return;
      case "forked":
        return this.forked(template, message.id, message.pid);
      case "forkFailed": {
        const request = template.waiting.get(message.id);
        template.waiting.delete(message.id);
        request?.onFailed(message.reason);
        return;
      }
      case "ended": {
        const { id, code, signal } = message;
        const process = template.living.get(id);
        template.living.delete(id);
        process?.request.onExit({ code, signal });
        return;
      }
      case "fault":
        template.fault = message.message.slice(0, 1000);
        return;
      default:
      // Templates do not send other messages.
    }
  }

  /** Without its control channel, a template does not fork any more and exits by itself. */
  linkClosed(template: Template, connection: ChannelConnection): void {
    if (template.connection !== connection) return;
    template.connection = null;
    if (template.isReady) this.kill(template, "lost its control channel");
  }

  private ask({ connection }: Template, { id, environment, outputPath }: ForkRequest): void {
    connection?.send({ type: "fork", id, environment, output: outputPath });
  }

  private forked(template: Template, id: string, pid: number): void {
    const request = template.waiting.get(id);
    template.waiting.delete(id);
    if (request === undefined) {
      // The request was cancelled in the meantime.
      signalGroup(pid, "SIGKILL");
      return;
    }
    template.living.set(id, { request, pid, startTime: startTimeOf(pid) });
    request.onForked(pid);
  }

  private start(pool: string, generation: number): Template {
    const { options } = this;
    const attempt = (this.attempts.get(pool) ?? 0) + 1;
    this.attempts.set(pool, attempt);
    const name = `${pool}.template`;
    const known = { id: `${name}#${attempt}`, name, pool, generation, attempt };
    const token = randomBytes(24).toString("base64url");
    const plan = options.plan(known, token);
    const output = new OutputFile(options.outputPath(known.id), plan.maxOutputBytes, options.outputSink(name));
    const template: Template = {
      ...{ ...known, kind: "template", token, output, tag: plan.environment[SPAWN_TAG] ?? "", pid: null },
      death: new DeathNotes(),
      ...{ spawnedAt: performance.now(), connection: null, isReady: false, fault: null, verdict: null },
      ...{ hasEnded: false, waiting: new Map(), living: new Map() },
    };
    this.all.add(template);
    template.pid = spawnDetached({
      ...{ command: plan.command, args: plan.args, title: plan.title, cwd: plan.cwd, environment: plan.environment },
      outputFd: output.fd,
      inheritedFds: [],
      onExit: (status) => this.exited(template, status),
      onSpawnFailed: (reason) => this.exited(template, { code: null, signal: null }, reason),
    });
    return template;
  }

  private kill(template: Template, verdict: string): void {
    template.verdict ??= verdict;
    template.death.killedAs ??= "hung";
    // Signals only the template, because instances may use other processes of its group.
    if (template.pid !== null) signalProcess(template.pid);
  }

  private exited(template: Template, status: ExitStatus, spawnFailure?: string): void {
    if (template.hasEnded) return;
    template.hasEnded = true;
    const { name, fault, verdict, output, waiting, living, isReady } = template;
    try {
      output.close();
    } catch (error) {
      this.options.log.event("warn", name, `its output could not be read to the end: ${(error as Error).message}`);
    }
    const how = spawnFailure ?? exitReason(status).replace(/^was /, "");
    const served =
      living.size === 0
        ? ""
        : `; ${living.size === 1 ? "its instance keeps" : `its ${living.size} instances keep`} serving`;
    const after = seconds(performance.now() - template.spawnedAt);
    const reason = verdict === null ? `${how} after ${after}${served}` : `${verdict}; ended after ${after}${served}`;
    if (verdict !== NO_LONGER_NEEDED && verdict !== STOPPING) {
      const lastLines = output.lastLines.slice(-REPORTED_LINES);
      const isSpawnFailure = spawnFailure !== undefined;
      this.options.onTemplateDied(template, { status, at: Date.now(), reason, lastLines, isSpawnFailure });
    }
    const level = isReady && verdict === null ? "warn" : "info";
    this.options.log.event(level, name, `${reason}${template.death.takeReportText()}`);
    for (const request of [...waiting.values()]) {
      const pid = request.pid();
      // The process was forked, but its template exited before it could report that.
      if (pid !== null) this.forked(template, request.id, pid);
      else if (spawnFailure !== undefined) request.onFailed(spawnFailure);
      else request.onTemplateEnded(status, fault, verdict, [...output.lastLines]);
    }
    waiting.clear();
    if (living.size > 0) this.unreported.start();
    else this.clean(template, true);
    if ([...this.alive()].length === 0) for (const resolve of this.ended.splice(0)) resolve();
  }

  /** Kills the processes that the app started while loading, once no instance can use them any more. */
  private clean(template: Template, hasJustEnded: boolean): void {
    this.all.delete(template);
    const { pid, name, tag } = template;
    if (pid === null) return;
    if (hasJustEnded) signalGroup(pid, "SIGKILL");
    // The pid of the template may have been reused; its tag is unique.
    this.options.leftovers.endOf(name, hasJustEnded ? pid : NO_PID, tag);
  }
}

const NO_PID = -1;

function signalProcess(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // The template has exited.
  }
}
