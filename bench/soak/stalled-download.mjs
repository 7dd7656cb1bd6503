/**
 * A thousand keep-alive clients and one stalled gigabyte download on one lane: the others must be as fast as without it, and neither side
 * may hold more than a window of it.
 */
import net from "node:net";
import { rssMB, startFleet, verdict, wait } from "./support.mjs";

const CLIENTS = 1000;
const SECONDS = 15;
const PAUSE_MS = 250;
const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/** Clients that send at intervals, so that the response is measured and not the queue. */
async function openMany(port) {
  const peers = [];
  while (peers.length < CLIENTS) {
    peers.push(...(await Promise.all(Array.from({ length: 100 }, () => open(port)))));
  }
  return peers;
}

function open(port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1", () => resolve(peer));
    const peer = { socket, onResponse: () => {} };
    socket.on("data", (bytes) => peer.onResponse(bytes.toString("latin1").endsWith("Hello World!\n")));
    socket.on("close", () => peer.onResponse(false));
    socket.on("error", reject);
  });
}

/** Returns the p99 of all requests within `seconds`, in milliseconds, and the number of failures. */
async function measure(peers) {
  const taken = [];
  let bad = 0;
  const until = performance.now() + SECONDS * 1000;
  await Promise.all(
    peers.map(async (peer) => {
      await wait(Math.random() * PAUSE_MS);
      while (performance.now() < until) {
        const startedAt = performance.now();
        const isGood = await new Promise((resolve) => {
          peer.onResponse = resolve;
          peer.socket.write(REQUEST);
        });
        taken.push(performance.now() - startedAt);
        if (!isGood) bad++;
        await wait(PAUSE_MS * (0.5 + Math.random()));
      }
    }),
  );
  taken.sort((a, b) => a - b);
  return { p99Ms: taken[Math.floor(taken.length * 0.99)], count: taken.length, bad };
}

const fleet = await startFleet(1, { balancer: { limits: { sendTimeoutMs: 120_000 } } });
try {
  const peers = await openMany(fleet.port);
  await measure(peers);
  const alone = await measure(peers);
  const { pools } = await fleet.control();
  const pids = { balancer: fleet.balancerPid, instance: pools[0].instances[0].pid };
  const before = Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, rssMB(pid)]));
  const highest = { ...before };
  const watching = setInterval(() => {
    for (const [name, pid] of Object.entries(pids)) highest[name] = Math.max(highest[name], rssMB(pid));
  }, 200);

  let isCut = false;
  let read = 0;
  const download = net.connect(fleet.port, "127.0.0.1", () =>
    download.write("GET /gigabyte HTTP/1.1\r\nHost: a\r\n\r\n"),
  );
  download.on("error", () => {});
  download.on("close", () => {
    isCut = true;
  });
  download.on("data", (bytes) => {
    read += bytes.length;
    if (read > 1_000_000) download.pause();
  });
  await wait(1000);
  const beside = await measure(peers);
  clearInterval(watching);

  verdict(
    read > 1_000_000 && !isCut,
    `the download stands still after ${(read / 1e6).toFixed(1)} MB, and is not cut off`,
  );
  verdict(
    alone.bad === 0 && beside.bad === 0,
    `${CLIENTS} clients have ${alone.count} answers without it, ${beside.count} beside it; ${alone.bad + beside.bad} are missing`,
  );
  verdict(
    beside.p99Ms <= 2 * alone.p99Ms + 5,
    `p99 of the others: ${alone.p99Ms.toFixed(2)} ms without it, ${beside.p99Ms.toFixed(2)} ms beside it`,
  );
  for (const name of Object.keys(pids)) {
    verdict(
      highest[name] - before[name] < 20,
      `the ${name}'s RSS rose from ${before[name].toFixed(1)} to ${highest[name].toFixed(1)} MB at most`,
    );
  }
  for (const { socket } of peers) socket.destroy();
  download.destroy();
} finally {
  await fleet.stop();
}
