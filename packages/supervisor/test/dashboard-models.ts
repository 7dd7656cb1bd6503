/** Status documents for the tests of the dashboard. */
import type {
  ArmFigures,
  BalancerStatus,
  DeathDetails,
  DeployStatus,
  FigureHistory,
  InstanceStatus,
  PoolFigures,
  PoolStatus,
  Status,
} from "../dist/control/api.js";
import { attentionOf } from "../dist/core/attention.js";
import { marksOf, mediansOf } from "../dist/core/marks.js";
import { slownessOf } from "../dist/core/slowness.js";
import { initialModel, type Message, type Model } from "../dist/dashboard/model.js";
import { update } from "../dist/dashboard/update.js";

export function instance(name: string, more: Partial<InstanceStatus> = {}): InstanceStatus {
  return {
    name,
    state: "ready",
    pid: 31_022,
    attempt: 1,
    generation: 3,
    release: "/srv/shop/releases/3",
    runtime: "bun",
    version: "0.1.0",
    uptimeSeconds: 260_000,
    rssBytes: 28_100_000,
    pssBytes: 9_100_000,
    cpuPercent: 41.2,
    requestsTotal: 123_456,
    requestsPerSecond: 1554.4,
    inFlight: 3,
    errorsTotal: 0,
    latencyMs: { p50: 0.4, p99: 1.84 },
    latencyShape: [60, 30, 8, 2, 0, 0, 0, 0, 0, 0],
    errorsPerMinute: 0,
    eventLoopLagMs: 1,
    stalledMs: null,
    outOfTurn: null,
    ejections: [],
    ejectionsTotal: 0,
    slow: null,
    growthBytesPerMinute: null,
    marks: {},
    weight: 100,
    heapBytes: 1,
    responses: { "1xx": 0, "2xx": 123_400, "3xx": 50, "4xx": 6, "5xx": 0, abandoned: 0 },
    deferred: null,
    schedule: null,
    shim: null,
    exposed: [],
    restarts: 0,
    recycles: 0,
    recycle: null,
    lastExit: null,
    linesTotal: 0,
    linesLost: 0,
    other: null,
    ...more,
  };
}

export function balancer(name: string, more: Partial<BalancerStatus> = {}): BalancerStatus {
  const {
    generation: _,
    release: _______,
    eventLoopLagMs: __,
    heapBytes: ___,
    deferred: ____,
    schedule: _________,
    shim: _____,
    exposed: ______,
    recycles: ________,
    recycle: __________,
    ...common
  } = instance(name);
  return {
    ...common,
    requestsTotal: common.requestsTotal ?? 0,
    requestsPerSecond: common.requestsPerSecond ?? 0,
    errorsPerMinute: common.errorsPerMinute ?? 0,
    inFlight: common.inFlight ?? 0,
    connections: 412,
    connectionsTotal: 500,
    retriesTotal: 0,
    hedgesTotal: 0,
    hedgesWonTotal: 0,
    spoolBytes: 0,
    unreadEndedTotal: 0,
    noRoomTotal: 0,
    snapshotVersion: 2,
    ...more,
  };
}

function figures(): PoolFigures {
  return {
    latencyMs: { p50: 0.4, p99: 1.84 },
    latencyShape: [60, 30, 8, 2, 0, 0, 0, 0, 0, 0],
    ...{ errorsPerMinute: 0, inFlight: 3, cpuPercent: 41.2, rssBytes: 28_100_000 },
  };
}

export function pool(name: string, instances: InstanceStatus[], more: Partial<PoolStatus> = {}): PoolStatus {
  const ready = instances.filter(({ state }) => state === "ready").length;
  const counts = { requestsTotal: 1, requestsPerSecond: 1554, errorsTotal: 0 };
  const shape = {
    generation: 3,
    release: "/srv/shop/releases/3",
    cron: null,
    wanted: instances.length,
    ready,
    ...counts,
    ...figures(),
    routes: ["/"],
    routeClasses: [],
    medians: {},
    templates: [],
    receiving: 0,
    sending: 0,
    recyclePauseSeconds: null,
    scaling: null,
    rollout: null,
    deploy: null,
  };
  return { name, kind: "app", instances, ...shape, ...more };
}

export function status(pools: PoolStatus[], more: Partial<Status> = {}): Status {
  return {
    version: "0.1.0",
    name: "shop",
    pid: 31_000,
    runtime: "bun 1.4.5",
    uptimeSeconds: 273_600,
    state: "running",
    listen: ["http://127.0.0.1:8080"],
    requestsTotal: 1,
    errorsTotal: 0,
    rssBytes: 231e6,
    cpuPercent: 136,
    pssBytes: 61e6,
    pssOfRssBytes: 230e6,
    traffic: { ...figures(), requestsPerSecond: 1554, connections: 412, queued: 0 },
    machine: { cpus: 4, memoryBytes: 8.2e9, availableBytes: 5.1e9 },
    limits: { connections: 20_000, queue: 1024 },
    supervisor: { rssBytes: 30e6, pssBytes: 10e6 },
    watch: null,
    problem: null,
    rolledBack: null,
    lastDeath: null,
    lock: null,
    log: null,
    balancers: [balancer("balancer.1")],
    pools,
    ...more,
  };
}

/** Returns the model after these messages. */
export function after(messages: Message[], model: Model = initialModel("attached", { width: 80, height: 24 })): Model {
  return messages.reduce((before, message) => update(before, message).model, model);
}

let pressedAt = 1_000;

/** Returns messages for these keys, as if a person pressed one after the other. */
export function keys(...names: string[]): Message[] {
  return names.map((key) => {
    pressedAt += 200;
    return { type: "key", key, at: pressedAt };
  });
}

/** Returns the message with a status as the supervisor would send it, including the figures that stand out and what needs attention. */
export function shows(document: Status, at = 1_000): Message {
  const pools = document.pools.map((each) => {
    const medians = mediansOf(each);
    const instances = each.instances.map((own) => ({
      ...own,
      slow: slownessOf(own, each) ?? null,
      marks: own.pid === null ? {} : marksOf(own, each, medians),
    }));
    return { ...each, medians, instances };
  });
  const found = { ...document, pools };
  const attention = attentionOf(found, { now: at, events: [], deaths: [] });
  return { type: "status", status: { ...found, attention }, at };
}

/** Returns the figures of the last `length` seconds of every process and pool of a fleet: waves of requests. */
export function figureHistory(
  fleet: Status,
  length: number,
): { type: "history"; zoom: "seconds"; history: FigureHistory } {
  const instances = fleet.pools.flatMap((each) => each.instances);
  const names = [...fleet.pools, ...instances, ...fleet.balancers].map(({ name }) => name);
  const wave = (height: number) => Array.from({ length }, (_, at) => Math.round(height * (1 + Math.sin(at / 20))));
  const ofOne = (): FigureHistory["series"][string] => ({
    ...{ requests: wave(700), errors5xx: wave(1), p50: wave(1), p99: wave(9), inFlight: wave(3) },
    ...{ rssBytes: wave(40e6), cpuPercent: wave(20) },
  });
  const series = Object.fromEntries([...names, "balancer", "supervisor"].map((name) => [name, ofOne()]));
  return {
    type: "history",
    zoom: "seconds",
    history: { now: 1_795_404_424_000, everyMs: 1000, length, series, marks: [] },
  };
}

export function death(id: number, name: string, lastLine: string): DeathDetails {
  return {
    ...{ id, at: 60_000 + id, name, process: `${name}#${id}`, kind: "exit", how: "exit 1", uptimeMs: 14_000 },
    ...{ reason: `exited with code 1: ${lastLine}`, running: null, lost: 0, reassigned: 4, lastLine },
    ...{ requests: [], lastLines: ["POST /cart 500", lastLine] },
  };
}

export function deploying(more: Partial<DeployStatus> = {}): DeployStatus {
  const arm: ArmFigures = {
    ...figures(),
    ...{ processes: 1, requestsTotal: 58_112, requestsPerSecond: 1388, errorsTotal: 6, uptimeSeconds: 42 },
  };
  return {
    ...{ from: 7, to: 8, release: "/srv/shop/releases/8", phase: "canary", percent: 10, percentNow: 5 },
    ...{ canaries: ["web.2#2"], controls: [], judgeMs: 60_000, leftMs: 18_000, verdict: "wait", isHeld: false },
    tests: [
      { name: "5xx", verdict: "pass", difference: "+0.01 pp", limit: "≤ +1 pp", interval: [-0.2, 0.3], most: 1 },
      { name: "memory", verdict: "wait", difference: "", limit: "≤ +30 MB/min", interval: [null, null], most: 30 },
    ],
    arms: { old: arm, new: arm },
    ...more,
  };
}
