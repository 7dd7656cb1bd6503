/**
 * A load generator with a constant rate over kept connections. Each latency starts when the request was due, so that a slow
 * response cannot hide delayed ones (coordinated omission). The same clients in a closed loop measure the server's maximum.
 */
import net from "node:net";
import { performance } from "node:perf_hooks";
import { Worker } from "node:worker_threads";

const requestOf = (target) => Buffer.from(`GET ${target} HTTP/1.1\r\nHost: bench\r\n\r\n`);
const REQUEST = requestOf("/");
/** The sending interval in milliseconds; all requests due in one tick are sent together and count as due at that time. */
const TICK_MS = 0.5;
const DRAIN_TIMEOUT_MS = 10_000;

/** Connections with at most one request in flight each; `onFree` is called when one of them can send the next request. */
class Clients {
  free = [];
  failed = 0;
  isStopping = false;

  constructor(port, count, onResponse, onFree) {
    this.port = port;
    this.onResponse = onResponse;
    this.onFree = onFree;
    this.sockets = new Set();
    for (let i = 0; i < count; i++) this.connect();
  }

  connect() {
    const socket = net.connect({ port: this.port, host: "127.0.0.1", noDelay: true });
    const client = { socket, dueAt: undefined, pending: "" };
    this.sockets.add(socket);
    socket.setEncoding("latin1");
    socket.on("connect", () => this.release(client));
    socket.on("data", (text) => this.read(client, text));
    // "close" follows and counts it.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.sockets.delete(socket);
      if (this.isStopping) return;
      if (client.dueAt !== undefined) this.failed++;
      this.free = this.free.filter((each) => each !== client);
      // Not immediately, to spare a server that is down.
      setTimeout(() => this.isStopping || this.connect(), 10);
    });
  }

  send(client, dueAt, request = REQUEST) {
    client.dueAt = dueAt;
    client.socket.write(request);
  }

  read(client, text) {
    client.pending += text;
    const headEnd = client.pending.indexOf("\r\n\r\n");
    if (headEnd < 0) return;
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(client.pending)?.[1] ?? Number.NaN);
    if (Number.isNaN(length)) return client.socket.destroy();
    if (client.pending.length < headEnd + 4 + length) return;
    if (client.pending.startsWith("HTTP/1.1 200 "))
      this.onResponse(performance.now() - client.dueAt, client.pending.slice(headEnd + 4));
    else this.failed++;
    client.pending = "";
    client.dueAt = undefined;
    this.release(client);
  }

  release(client) {
    this.free.push(client);
    this.onFree();
  }

  get inFlight() {
    return this.sockets.size - this.free.length;
  }

  stop() {
    this.isStopping = true;
    for (const socket of this.sockets) socket.destroy();
  }
}

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Each connection sends a request after each response; measures the maximum requests per second. */
export async function closedLoop(port, { connections, seconds }) {
  let answered = 0;
  const clients = new Clients(
    port,
    connections,
    () => answered++,
    () => {
      for (let client = clients.free.pop(); client !== undefined; client = clients.free.pop()) {
        clients.send(client, performance.now());
      }
    },
  );
  await wait(500);
  const startedAt = performance.now();
  answered = 0;
  await wait(seconds * 1000);
  const requestsPerSecond = answered / ((performance.now() - startedAt) / 1000);
  const { failed } = clients;
  clients.stop();
  return { requestsPerSecond, failed };
}

/** The first part of a load, in milliseconds, is not counted. */
export const WARM_UP_MS = 1000;

/**
 * Returns when the requests of a load are due, in milliseconds from its start, and their targets: at equal intervals or at random ones
 * (`isPoisson`); all requests that are due in one tick are due at its time.
 * @param random returns numbers from 0 to 1: with a seed, each contestant gets the same requests at the same times
 * @param targetOf returns the target of a request, from such a number
 */
export function scheduleOf({ rate, seconds, isPoisson = false, random = Math.random, targetOf = () => "/" }) {
  const total = Math.round((rate * (WARM_UP_MS + seconds * 1000)) / 1000);
  const dueTimes = new Float64Array(total);
  for (let at = 0, dueMs = 0; at < total; at++) {
    if (isPoisson) dueMs -= Math.log(1 - random()) * (1000 / rate);
    else dueMs = (at * 1000) / rate;
    dueTimes[at] = Math.floor(dueMs / TICK_MS) * TICK_MS;
  }
  return { dueTimes, targets: Array.from(dueTimes, () => targetOf(random())) };
}

/**
 * Sends the requests of a schedule (see `scheduleOf`).
 * @param onBody called with the body of each response, when its request was due (`performance.now`), and whether it is counted
 * @returns the number of responses and of those within `withinMs`, the p50, p99 and maximum latency, the delay of the generator itself
 * (p99), and the failures; requests without a response 10 s after the last was due count as failed
 */
export async function openLoop(
  port,
  { connections, withinMs = Number.POSITIVE_INFINITY, onBody = () => {}, ...schedule },
) {
  const latencies = [];
  const lateness = [];
  const waiting = [];
  let head = 0;
  const { dueTimes, targets } = scheduleOf(schedule);
  const total = dueTimes.length;
  const built = new Map(targets.map((target) => [target, requestOf(target)]));
  const requests = targets.map((target) => built.get(target));
  const countFrom = performance.now() + 500 + WARM_UP_MS;
  const clients = new Clients(
    port,
    connections,
    (latency, body) => {
      const dueAt = performance.now() - latency;
      if (dueAt >= countFrom) latencies.push(latency);
      onBody(body, dueAt, dueAt >= countFrom);
    },
    () => flush(),
  );
  function flush() {
    for (; head < waiting.length && clients.free.length > 0; head++)
      clients.send(clients.free.pop(), waiting[head], requests[head]);
  }
  await wait(500);
  const startAt = performance.now();
  let sent = 0;
  await ticks(startAt, (now) => {
    while (sent < total) {
      const dueAt = startAt + dueTimes[sent];
      if (dueAt > now) break;
      if (dueAt >= countFrom) lateness.push(now - dueAt);
      waiting.push(dueAt);
      sent++;
    }
    flush();
    return sent < total;
  });
  for (const deadline = Date.now() + DRAIN_TIMEOUT_MS; Date.now() < deadline; await wait(20)) {
    if (head === waiting.length && clients.inFlight === 0) break;
  }
  const failed = clients.failed + clients.inFlight + (waiting.length - head);
  clients.stop();
  const percentile = percentilesOf(latencies);
  return {
    requests: latencies.length,
    inTime: latencies.filter((latency) => latency <= withinMs).length,
    failed,
    p50Ms: percentile(0.5),
    p99Ms: percentile(0.99),
    maxMs: percentile(1),
    lateP99Ms: percentilesOf(lateness)(0.99),
  };
}

/** Returns the nearest-rank percentile of these values, NaN without any. */
export function percentilesOf(values) {
  const sorted = Float64Array.from(values).sort();
  return (share) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/** The thread of `ticks`: it sleeps until each tick and posts a message. */
const TICKER = `
const { parentPort, workerData } = require("node:worker_threads");
const { performance } = require("node:perf_hooks");
const { cell, tickMs } = workerData;
const isDone = new Int32Array(cell);
// A thread's clock starts with the thread.
const startAt = workerData.startAt - performance.timeOrigin;
for (let tick = 1; Atomics.load(isDone, 0) === 0; tick++) {
  const delay = startAt + tick * tickMs - performance.now();
  if (delay > 0) Atomics.wait(isDone, 0, 0, delay);
  else tick = Math.floor((performance.now() - startAt) / tickMs);
  parentPort.postMessage(tick);
}
`;

/**
 * Calls `onTick` about every half millisecond until it returns false. The event loop's timers have a resolution of a millisecond, and
 * polling would use a core that the server needs. So a thread sleeps and wakes this one.
 */
async function ticks(startAt, onTick) {
  const cell = new SharedArrayBuffer(4);
  const isDone = new Int32Array(cell);
  const worker = new Worker(TICKER, {
    eval: true,
    workerData: { cell, tickMs: TICK_MS, startAt: performance.timeOrigin + startAt },
  });
  await new Promise((resolve, reject) => {
    worker.on("error", reject);
    worker.on("message", () => {
      if (onTick(performance.now())) return;
      Atomics.store(isDone, 0, 1);
      Atomics.notify(isDone, 0);
      resolve();
    });
  });
  await worker.terminate();
}
