/**
 * A normal client: requests at a constant rate over 16 kept connections. Prints its p99 and failures as JSON: normal-client.mjs PORT PATH
 * SECONDS.
 *
 * A latency counts from the moment when a request was due, so that a late response also delays those after it and none is left out.
 */
import net from "node:net";

const REQUESTS_A_SECOND = 1000;
const CONNECTIONS = 16;
/** Requests on a broken lane wait for seconds: they are slow, but have not failed. */
const DRAIN_MS = 10_000;

const [port, path, seconds] = process.argv.slice(2);
const request = `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
const total = REQUESTS_A_SECOND * Number(seconds);
const latencies = [];
const lateness = [];
/** The due times of requests that no connection could send yet; `next` is the first one. */
const due = [];
let next = 0;
let failed = 0;
const free = [];
const sockets = new Set();

function connect() {
  const socket = net.connect({ port: Number(port), host: "127.0.0.1", noDelay: true });
  const client = { socket, dueAt: undefined, received: "" };
  sockets.add(socket);
  socket.setEncoding("latin1");
  socket.on("connect", () => take(client));
  socket.on("data", (text) => read(client, text));
  socket.on("error", () => {});
  socket.on("close", () => {
    sockets.delete(socket);
    if (free.includes(client)) free.splice(free.indexOf(client), 1);
    if (client.dueAt !== undefined) failed++;
    if (!isOver()) setTimeout(connect, 10);
  });
}

function take(client) {
  if (next === due.length) {
    free.push(client);
    return;
  }
  client.dueAt = due[next++];
  client.received = "";
  client.socket.write(request);
}

function read(client, text) {
  client.received += text;
  const headEnd = client.received.indexOf("\r\n\r\n");
  if (headEnd < 0) return;
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(client.received)?.[1] ?? Number.NaN);
  if (Number.isNaN(length)) return client.socket.destroy();
  if (client.received.length < headEnd + 4 + length) return;
  if (client.received.startsWith("HTTP/1.1 200 ")) latencies.push(performance.now() - client.dueAt);
  else failed++;
  client.dueAt = undefined;
  take(client);
}

const isOver = () => due.length === total && latencies.length + failed >= total;

for (let i = 0; i < CONNECTIONS; i++) connect();
const startAt = performance.now() + 100;
const timer = setInterval(() => {
  const now = performance.now();
  for (; due.length < total; ) {
    const at = startAt + (due.length * 1000) / REQUESTS_A_SECOND;
    if (at > now) break;
    lateness.push(now - at);
    due.push(at);
    if (free.length > 0) take(free.shift());
  }
  if (isOver() || now > startAt + Number(seconds) * 1000 + DRAIN_MS) end();
}, 1);

function end() {
  clearInterval(timer);
  const missing = total - latencies.length - failed;
  // A request without a response took at least until now.
  for (let i = 0; i < missing; i++) latencies.push(DRAIN_MS);
  process.stdout.write(
    JSON.stringify({
      p50Ms: percentile(latencies, 0.5),
      p99Ms: percentile(latencies, 0.99),
      mostMs: percentile(latencies, 1),
      lateMs: percentile(lateness, 0.99),
      failed: failed + missing,
    }),
    () => process.exit(),
  );
}

function percentile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}
