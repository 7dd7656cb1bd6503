/** Runs one server as an instance: on its socket, reporting over the control channel, until it must leave. */
import {
  ChannelClient,
  type ChildIdentity,
  type ChildPhase,
  collectAtRest,
  controlLanePath,
  isOutOfDescriptors,
  lateAfterMs,
  type Notice,
  OUT_OF_DESCRIPTORS,
  type ProbeRequest,
  Reporter,
  SPAWN_TAG,
  type UpstreamProtocol,
} from "@paceline/wire";
import type { AskedFor } from "../app/adopted-server.js";
import { loadWorkload, waitText } from "../app/workload.js";
import type { RunningServer } from "../http1/running-server.js";
import { prepareResponses } from "../lane/responses.js";
import type { App } from "../shared/app.js";
import { announceDrain, backgroundWork, logLostWork } from "../shared/bridge.js";
import { ServerError, TLS_UNUSED } from "../shared/errors.js";
import { Drain } from "./drain.js";
import { exitOnUncaught, watchOwnSignals } from "./fatal.js";
import { serve } from "./serve.js";

/** Gives an app `process.send`, like PM2. Resolves when the app has sent "ready". */
function readySignal(): Promise<void> {
  return new Promise((resolve) => {
    process.send ??= (message: unknown, ...rest: unknown[]) => {
      if (message === "ready") resolve();
      const sent = rest.findLast((each) => typeof each === "function");
      if (sent !== undefined) process.nextTick(sent as () => void, null);
      return true;
    };
    // Libraries send messages only if this is set.
    if (process.connected) return;
    const define = (name: string, value: unknown) =>
      Object.defineProperty(process, name, { value, writable: true, enumerable: true, configurable: true });
    define("connected", true);
    define("disconnect", () => {
      process.connected = false;
    });
  });
}

/** The maximum time for the final report at exit, in milliseconds; enough for a busy machine. */
const FINAL_REPORT_MS = 2000;
/** How long idle connections of an instance in direct mode stay open in a drain, in milliseconds. Most of them end after a response. */
const IDLE_DRAIN_MS = 2000;
/** The minimum time for the app's signal listeners, in milliseconds. */
const LEAST_LISTENERS_MS = 1000;

/**
 * Serves until the supervisor, SIGTERM or the loss of the supervisor ends it.
 * @throws ServerError if the app cannot be loaded or its socket cannot be opened; by then the reason has been reported to the supervisor
 */
export async function runSupervised(identity: ChildIdentity): Promise<void> {
  const instance = new Instance(identity);
  try {
    await instance.start();
  } catch (error) {
    await instance.fault((error as Error).message);
    throw error;
  }
}

async function within(promise: Promise<void> | undefined, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([promise, late]);
  clearTimeout(timer);
}

class Instance {
  private phase: ChildPhase = "starting";
  private protocol: UpstreamProtocol = "http1";
  /** Set once the app has started. */
  private app: App | undefined;
  private server: RunningServer | undefined;
  private reporter: Reporter | undefined;
  private drain: Drain | undefined;
  private readonly channel: ChannelClient;
  /** Whether the app's own listeners received the signal. */
  private wasSignalled = false;
  private readonly ours = {
    // Ctrl-C in a terminal also reaches the supervisor, which stops its children.
    SIGINT: () => {},
    SIGTERM: () => {
      this.wasSignalled = true;
      this.leave(this.identity.spec.drainTimeoutMs, false);
    },
  };
  private announced: Promise<void> | undefined;
  /** What the start waits for, as a text. */
  private awaited = "its app has not loaded";
  private isLate = false;
  /** Whether it has reported an error and is about to exit. */
  private isFailing = false;
  private hasReportedDescriptors = false;
  private readonly notices: Notice[] = [];
  private readonly spawnTag = process.env[SPAWN_TAG];

  constructor(private readonly identity: ChildIdentity) {
    const { drainTimeoutMs } = identity.spec;
    this.channel = new ChannelClient({
      identity,
      role: "instance",
      helloState: () => ({ phase: this.phase, protocol: this.protocol }),
      onWelcome: () => {
        this.reportReady();
        // A new supervisor knows only older counts.
        this.reporter?.reportNow();
      },
      onDrain: (deadlineMs) => this.leave(deadlineMs, true),
      onReleased: () => this.released(),
      onDraining: () => this.announceDrain(),
      onProbe: (probe) => void this.probe(probe),
      onRefused: (reason) => {
        console.error(`the supervisor refused this process: ${reason}`);
        this.leave(drainTimeoutMs, false);
      },
      onOrphaned: () => {
        console.error("no supervisor came back; exiting");
        this.leave(drainTimeoutMs, false);
      },
      onProblem: (message) => console.error(message),
    });
  }

  async start(): Promise<void> {
    const { spec, socket } = this.identity;
    if (socket === undefined) {
      throw new ServerError("usage", "an instance needs a socket from its supervisor");
    }
    exitOnUncaught((message) => this.fault(message));
    watchOwnSignals(() => this.phase === "draining");
    process.on("SIGINT", this.ours.SIGINT);
    process.on("SIGTERM", this.ours.SIGTERM);
    const work = backgroundWork();
    if (spec.limits !== undefined) work.limits = spec.limits;
    this.channel.start();
    const prepared = spec.protocol === "lane" ? await prepareResponses() : undefined;
    const ready = spec.app === undefined ? undefined : readySignal();
    const late = this.armLate(spec.readyTimeoutMs);
    const app = await loadWorkload(spec, prepared !== undefined, true, {
      onNotice: (message) => this.notice(message),
      onWait: (awaited) => this.waitsFor(awaited),
      onAdopted: (asked) => this.adopted(asked),
      keepAlive: (isKept) => this.channel.keepAlive(isKept),
    });
    if (prepared !== undefined) {
      this.protocol = app.style === "fetch" && app.bunServer === undefined ? "lane" : "http1+control";
      if (this.protocol !== "lane") prepared.restore();
    }
    this.waitsFor("its start() has not resolved");
    if (app.start !== undefined) await (await import("../app/lifecycle.js")).startApp(app);
    this.app = app;
    const own = await serve(app, {
      address: { kind: "unix", path: socket },
      behindBalancer: true,
      ...(this.protocol === "lane" && prepared !== undefined ? { lanes: prepared.responses } : {}),
      ...(this.protocol === "http1+control" ? { controlLane: controlLanePath(socket) } : {}),
      ...(spec.limits === undefined ? {} : { limits: spec.limits }),
      onNotice: (message) => this.notice(message),
    });
    const { direct, limits } = spec;
    const server =
      direct === undefined
        ? own
        : await (await import("./direct.js")).serveDirectly(app, direct, own, {
            ...(limits !== undefined && { limits }),
            onNotice: (message) => this.notice(message),
          });
    if (spec.readySignal) {
      this.waitsFor('it has not called process.send("ready"), which readySignal requires');
      await ready;
    }
    clearTimeout(late);
    this.server = server;
    work.requestActivity = server.activity;
    this.reporter = new Reporter({
      // Deferred jobs are reported like requests: while any are queued, and once more when none is left.
      activity: () => server.activity() + (work.deferred?.activity ?? 0),
      inFlight: () => server.inFlight() + (work.deferred?.unfinished ?? 0),
      onNext: (wake) => {
        const wakeOnce = () => {
          if (work.onNextJob !== wakeOnce) return;
          work.onNextJob = undefined;
          wake();
        };
        work.onNextJob = wakeOnce;
        server.onNext(wakeOnce);
      },
      report: (measured) => {
        this.noticeDescriptors();
        const deferred = work.deferred === undefined ? {} : { deferred: work.deferred.stats() };
        return this.channel.send({ type: "stats", role: "instance", ...server.takeStats(), ...deferred, ...measured });
      },
      onRest: collectAtRest,
      everyMs: spec.reportEveryMs,
    });
    this.reportReady();
    this.reporter.start();
  }

  /** From shortly before the supervisor gives up, reports what the start waits for. */
  private armLate(readyTimeoutMs: number | undefined): NodeJS.Timeout | undefined {
    if (readyTimeoutMs === undefined) return undefined;
    const late = () => {
      this.isLate = true;
      void this.reportLate();
    };
    // The timer must not keep an app running that has nothing left to do.
    return setTimeout(late, lateAfterMs(readyTimeoutMs)).unref();
  }

  private waitsFor(awaited: string): void {
    this.awaited = awaited;
    if (this.isLate) void this.reportLate();
  }

  private async reportLate(): Promise<void> {
    const message = await waitText(this.awaited);
    if (this.phase === "starting") this.channel.send({ type: "fault", message });
  }

  /** Reports to the supervisor why this process is about to exit. */
  async fault(message: string): Promise<void> {
    this.isFailing = true;
    this.reporter?.reportNow();
    this.channel.send({ type: "fault", message });
    await this.channel.flush(FINAL_REPORT_MS);
    await this.endLeftovers();
  }

  /** Kills the processes that the app has started, if no supervisor does so. */
  private async endLeftovers(): Promise<void> {
    if (this.spawnTag === undefined || this.channel.welcomed) return;
    try {
      const { endLeftoverProcesses } = await import("@paceline/wire/proc");
      await endLeftoverProcesses({ leader: process.pid, tag: this.spawnTag });
    } catch {
      // The file of the code is gone, as after an in-place upgrade.
      process.kill(0, "SIGKILL");
    }
  }

  private notice(message: string, more: Omit<Notice, "type" | "message"> = {}): void {
    const notice: Notice = { type: "notice", message, ...more };
    // While the app loads there may be no connection yet.
    if (this.phase === "starting") this.notices.push(notice);
    else if (!this.channel.send(notice)) console.error(message);
  }

  private adopted({ place, port = 0, isTls }: AskedFor): void {
    if (isTls) this.notice(TLS_UNUSED, { askedPort: 0 });
    else this.notice(`the app asked for ${place}`, { level: "info", askedPort: port });
  }

  private noticeDescriptors(): void {
    // Without any request, the descriptors are not used up, so the check need not be loaded.
    if (this.hasReportedDescriptors || this.server?.activity() === 0 || !isOutOfDescriptors()) return;
    this.hasReportedDescriptors = true;
    this.notice(OUT_OF_DESCRIPTORS);
  }

  /** Reports that the server listens. Changes the phase only after that, so that a hello never replaces the report. */
  private reportReady(): void {
    if (this.server === undefined || this.phase !== "starting" || this.isFailing) return;
    if (!this.channel.send({ type: "ready", protocol: this.protocol })) return;
    this.phase = "ready";
    for (const { message, level, askedPort } of this.notices.splice(0)) this.notice(message, { level, askedPort });
  }

  private leave(deadlineMs: number, untilReleased: boolean): void {
    if (this.drain !== undefined) {
      if (!untilReleased) this.drain.hasten(deadlineMs);
      return;
    }
    this.announceDrain();
    const isFirst = this.phase !== "draining";
    this.phase = "draining";
    if (this.server === undefined) {
      // The instance was never ready, so no balancer knows it.
      if (this.app === undefined) {
        logLostWork();
        void this.endLeftovers().finally(() => process.exit(0));
        return;
      }
      if (isFirst) void this.exit(0, deadlineMs);
      return;
    }
    const drain = new Drain(this.server, {
      deadlineMs,
      untilReleased,
      onEnd: (cut) => void this.exit(cut, drain.remainingMs),
    });
    this.drain = drain;
  }

  /**
   * Called when no balancer sends requests any more. Clients of an instance in direct mode may still send some, on connections that they
   * keep.
   */
  private released(): void {
    const { direct } = this.identity.spec;
    if (direct === undefined) this.drain?.release();
    else setTimeout(() => this.drain?.release(), IDLE_DRAIN_MS);
  }

  private async probe({ id, path, host, isWarmUp }: ProbeRequest): Promise<void> {
    const { app } = this;
    if (app?.style !== "fetch") return void this.channel.send({ type: "probed", id, problem: "is not a fetch app" });
    const { probeApp } = await import("./probe-app.js");
    const problem = await probeApp(app.handler, path, host, isWarmUp);
    this.channel.send({ type: "probed", id, ...(problem !== undefined && { problem }) });
  }

  private announceDrain(): void {
    this.announced ??= announceDrain(this.app);
  }

  private async exit(cut: number, remainingMs: number): Promise<void> {
    if (cut > 0) console.error(`stopped at the deadline with ${cut} requests in flight`);
    const endAtMs = performance.now() + remainingMs;
    const leftMs = () => Math.max(0, endAtMs - performance.now());
    if (this.app?.beforeDrain !== undefined) await within(this.announced, leftMs());
    if (this.app?.stop !== undefined) await (await import("../app/lifecycle.js")).stopApp(this.app, leftMs());
    logLostWork();
    this.reporter?.reportNow();
    await this.channel.flush(FINAL_REPORT_MS);
    this.server?.closeNow();
    // Only an app with its own listeners needs this code.
    const hasOthers = process.listenerCount("SIGTERM") + process.listenerCount("SIGINT") > 2;
    if (hasOthers && !this.wasSignalled) {
      const { runSignalListeners } = await import("./signal-listeners.js");
      await runSignalListeners(this.ours, Math.max(LEAST_LISTENERS_MS, leftMs()));
    }
    await this.endLeftovers();
    process.exit(0);
  }
}
