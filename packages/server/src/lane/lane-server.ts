/** Serves over lanes: requests for a fetch app, or only control beside the HTTP/1.1 of a Node handler. Only balancers connect. */
import { listenLocally, type StreamListener } from "@paceline/wire";
import { LaneNumbers, removeScoreboard, Scoreboard, scoreboardPath } from "@paceline/wire/lane/scoreboard";
import { LONG_TURN_MS, listenError, type RunningServer, type RuntimeOptions } from "../http1/running-server.js";
import { RequestCounter } from "../process/request-counter.js";
import type { FetchHandler } from "../shared/app.js";
import { LaneConnection, type LaneServices, loadStreams } from "./lane-connection.js";
import type { ResponseReader } from "./response-reader.js";
import type { RequestServices } from "./response-sender.js";

/** The lanes of one server. */
class Lanes {
  private readonly lanes = new Set<LaneConnection>();
  private readonly numbers = new LaneNumbers();
  private listener: StreamListener | undefined;
  private isLeaving = false;
  /** The path of the scoreboard file, if there is one. */
  private boardPath: string | undefined;

  private readonly costs = new CostMeter(() => this.started());

  constructor(
    private readonly options: Pick<RuntimeOptions, "limits" | "onError">,
    /** Returns the number of requests that have reached their handler. */
    private readonly started: () => number,
  ) {}

  /** @throws ServerError `address-in-use` or `cannot-listen` */
  async listen(path: string, requests?: RequestServices, takesTrailers = false): Promise<void> {
    // Created before the first lane. Only through the scoreboard can an instance that blocks before its first request show what it called.
    if (requests !== undefined && (await Scoreboard.makeFile(scoreboardPath(path))))
      this.boardPath = scoreboardPath(path);
    const { boardPath } = this;
    const services: LaneServices = {
      ...(requests === undefined ? {} : { requests }),
      ...this.options,
      pid: process.pid,
      takesTrailers,
      active: () => this.active(),
      isLeaving: () => this.isLeaving,
      onRead: (nowMs) => this.measure(nowMs),
      load: async () => {
        await loadStreams();
        requests?.responses.onFirstRequest?.();
        if (boardPath !== undefined) services.scoreboard ??= Scoreboard.map(boardPath);
      },
      onGone: (lane) => {
        if (this.lanes.delete(lane)) this.numbers.giveBack(lane.number);
      },
    };
    try {
      this.listener = await listenLocally(path, (socket) => {
        const number = boardPath === undefined ? 0 : this.numbers.take();
        if (number > 0) services.scoreboard?.clear(number);
        const lane = new LaneConnection(socket, services, number);
        this.lanes.add(lane);
        return lane;
      });
    } catch (cause) {
      this.removeScoreboard();
      throw listenError({ kind: "unix", path }, cause);
    }
  }

  /** Returns the number of requests whose handler was called and whose response is not sent yet. */
  active(): number {
    let count = 0;
    for (const lane of this.lanes) count += lane.active;
    return count;
  }

  /**
   * Lanes that must not be closed yet: the balancer has not confirmed GOAWAY, so that a request may be in transit; the last responses are
   * not flushed, or not read by the balancer; or requests wait for their turn.
   */
  get unsettled(): number {
    let count = 0;
    for (const lane of this.lanes) if (isUnsettled(lane)) count++;
    return count;
  }

  /** Returns the number of active requests. A lane without requests counts as one if it must not be closed yet. */
  inFlight(): number {
    let count = 0;
    for (const lane of this.lanes) count += lane.active || (isUnsettled(lane) ? 1 : 0);
    return count;
  }

  goaway(): void {
    this.isLeaving = true;
    for (const lane of this.lanes) lane.goaway();
  }

  /** Called often while requests are served. */
  measure(nowMs: number): void {
    if (!this.costs.measure(nowMs)) return;
    for (const lane of this.lanes) lane.cost(this.costs.requests, this.costs.micros);
  }

  busy(milliseconds: number): void {
    for (const lane of this.lanes) lane.busy(milliseconds);
  }

  stopAccepting(): void {
    this.listener?.close();
  }

  destroy(): void {
    this.stopAccepting();
    for (const lane of this.lanes) lane.destroy();
    this.removeScoreboard();
  }

  private removeScoreboard(): void {
    if (this.boardPath !== undefined) removeScoreboard(this.boardPath);
  }
}

function isUnsettled({ owesGoaway, isBehind, output }: LaneConnection): boolean {
  return owesGoaway || isBehind || output.hasUnsent;
}

/**
 * Starts the server on the unix socket of its address.
 * @param responses from `prepareResponses()`, which must run before the app is loaded
 * @throws ServerError `address-in-use` or `cannot-listen`
 */
export async function serveLanes(
  handler: FetchHandler,
  responses: ResponseReader,
  options: RuntimeOptions,
): Promise<RunningServer> {
  const { address } = options;
  const lanes = new Lanes(options, () => counter.started);
  const counter = new RequestCounter(() => lanes.active());
  await lanes.listen(address.kind === "unix" ? address.path : "", { handler, responses, counter });
  return {
    address,
    inFlight: () => lanes.inFlight(),
    activity: () => 2 * counter.started - lanes.active(),
    onNext: (wake) => counter.onNext(wake),
    takeStats: () => counter.take(),
    markResponsesClose: () => lanes.goaway(),
    stopAccepting: () => lanes.stopAccepting(),
    closeNow: () => lanes.destroy(),
  };
}

/**
 * Starts a server with `start` and a control lane beside it.
 *
 * @throws ServerError `address-in-use` or `cannot-listen`
 */
export async function withControlLane(
  path: string,
  options: RuntimeOptions,
  start: (options: RuntimeOptions) => Promise<RunningServer>,
): Promise<RunningServer> {
  let handled = 0;
  const lanes = new Lanes(options, () => handled);
  const server = await start({
    ...options,
    onHandled(nowMs, tookMs) {
      handled++;
      if (tookMs > LONG_TURN_MS) lanes.busy(tookMs);
      lanes.measure(nowMs);
    },
  });
  // Bun.serve would parse the trailers as the next request, and close the connection.
  const takesTrailers = options.app.style === "node" || process.versions.bun === undefined;
  await lanes.listen(path, undefined, takesTrailers);
  return {
    ...server,
    inFlight: () => server.inFlight() || lanes.unsettled,
    markResponsesClose: () => {
      server.markResponsesClose();
      lanes.goaway();
    },
    stopAccepting: () => {
      server.stopAccepting();
      lanes.stopAccepting();
    },
    closeNow: () => {
      server.closeNow();
      lanes.destroy();
    },
  };
}

/** How often the CPU time is measured while requests are served, in milliseconds. */
const MEASURE_EVERY_MS = 100;
/** A longer period in which the process was mostly idle counts as a pause. Its CPU time would make the next requests look expensive. */
const PAUSE_MS = 2000;

/** Measures the CPU time of this process per request, by which balancers decide how many requests may wait here. */
export class CostMeter {
  /** The number of requests in the last measurement, and their CPU time in microseconds. */
  requests = 0;
  micros = 0;
  private measuredAtMs = Number.NEGATIVE_INFINITY;
  private startedBefore = 0;
  private microsBefore = 0;

  /**
   * @param started returns the number of requests so far
   * @param usedMicros returns the CPU time of the process so far, in microseconds
   */
  constructor(
    private readonly started: () => number,
    private readonly usedMicros = cpuMicros,
  ) {}

  /** Measures if the time for it has come. Returns false if there is nothing to report. */
  measure(nowMs: number): boolean {
    const passedMs = nowMs - this.measuredAtMs;
    if (passedMs < MEASURE_EVERY_MS) return false;
    this.measuredAtMs = nowMs;
    const { startedBefore, microsBefore } = this;
    this.startedBefore = this.started();
    this.microsBefore = this.usedMicros();
    this.requests = this.startedBefore - startedBefore;
    this.micros = this.microsBefore - microsBefore;
    const wasPause = passedMs > PAUSE_MS && this.micros < 500 * passedMs;
    // Before the first request, the CPU time is that of the start, and of loading the code for requests.
    return startedBefore > 0 && this.requests > 0 && !wasPause;
  }
}

function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
