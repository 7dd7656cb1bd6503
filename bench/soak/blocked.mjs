/** Blocks one of four instances for two seconds: how soon do others respond to the GETs that it had received but not started? */
import net from "node:net";
import { startFleet, verdict, wait } from "./support.mjs";

const ROUNDS = 10;
const GETS = 40;
const LIMIT_MS = 100;

/** Opens a connection whose `ask` resolves with the response's time and instance. */
async function open(port) {
  const socket = net.connect(port, "127.0.0.1");
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  return {
    socket,
    ask: (text) =>
      new Promise((resolve) => {
        const startedAt = performance.now();
        let received = "";
        const done = () => {
          const by = /x-instance: (\S+)/i.exec(received)?.[1];
          resolve({ ms: performance.now() - startedAt, by, isOk: received.startsWith("HTTP/1.1 200 ") });
        };
        socket.on("data", (piece) => {
          received += piece.toString("latin1");
          if (received.endsWith("\n")) done();
        });
        socket.on("close", done);
        socket.on("error", () => {});
        socket.write(text);
      }),
  };
}

const request = (method, path) =>
  `${method} ${path} HTTP/1.1\r\nHost: a\r\n${method === "POST" ? "Content-Length: 0\r\n" : ""}\r\n`;

const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

const fleet = await startFleet(4);
try {
  for (const method of ["GET", "POST"]) {
    const taken = [];
    let bad = 0;
    const before = (await fleet.control()).balancers[0].retriesTotal;
    for (let round = 0; round < ROUNDS; round++) {
      const peers = await Promise.all(Array.from({ length: GETS + 1 }, () => open(fleet.port)));
      // Every instance has served a request.
      await Promise.all(peers.map(({ ask }) => ask(request("GET", "/"))));
      const [blocker, ...others] = peers;
      for (const { socket } of peers) socket.removeAllListeners("data");
      const block = blocker.ask(request(method, "/block"));
      const responses = await Promise.all(others.map(({ ask }) => ask(request("GET", "/"))));
      const { by, isOk } = await block;
      const wasMoved = responses.filter((response) => response.by !== by);
      bad += responses.filter((response) => !response.isOk).length + (isOk ? 0 : 1);
      taken.push(...wasMoved.map(({ ms }) => ms));
      // Read before the block, so it was not reassigned.
      bad += responses.filter((response) => response.by === by && response.ms > 1000).length;
      for (const { socket } of peers) socket.destroy();
      // The balancer reports once a second.
      await wait(1100);
    }
    const moved = (await fleet.control()).balancers[0].retriesTotal - before;
    taken.sort((a, b) => a - b);
    const slowest = taken.slice(-moved);
    verdict(
      bad === 0 && moved > 0,
      `blocked by a ${method}, ${ROUNDS} times: ${taken.length} GETs beside it are answered by others, ${moved} of them moved; ${bad} were not`,
    );
    verdict(
      percentile(slowest, 0.99) <= LIMIT_MS,
      `those that were moved were answered within ${percentile(slowest, 0.5).toFixed(1)} ms (median), ` +
        `${percentile(slowest, 0.99).toFixed(1)} ms (p99), ${taken.at(-1).toFixed(1)} ms (all); limit ${LIMIT_MS} ms`,
    );
  }
} finally {
  await fleet.stop();
}
