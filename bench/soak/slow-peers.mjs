/** Slow readers of a gigabyte and slow uploads of one, 20 of each for 20 s: memory must stay limited, and other clients must stay quick. */
import net from "node:net";
import { p99OfOthers, rssMB, startFleet, verdict, wait } from "./support.mjs";

const PEERS = 20;
const SECONDS = 20;
const BYTES_PER_SECOND = 1_000_000;
const GIGABYTE = 2 ** 30;

/** Reads at the given rate, by pausing. */
function slowReader(port) {
  const socket = net.connect(port, "127.0.0.1", () => socket.write("GET /gigabyte HTTP/1.1\r\nHost: a\r\n\r\n"));
  const peer = { socket, bytes: 0, closed: false };
  const startedAt = Date.now();
  socket.on("data", (piece) => {
    peer.bytes += piece.length;
    const aheadMs = (peer.bytes / BYTES_PER_SECOND) * 1000 - (Date.now() - startedAt);
    if (aheadMs <= 0) return;
    socket.pause();
    setTimeout(() => socket.resume(), aheadMs);
  });
  return watch(peer);
}

/** Writes as fast as possible. */
function uploader(port) {
  const piece = Buffer.alloc(65_536, 120);
  const socket = net.connect(port, "127.0.0.1", () => {
    socket.write(`POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: ${GIGABYTE}\r\n\r\n`);
    const pump = () => {
      while (peer.bytes < GIGABYTE && !socket.destroyed) {
        peer.bytes += piece.length;
        if (!socket.write(piece)) return void socket.once("drain", pump);
      }
    };
    pump();
  });
  const peer = { socket, bytes: 0, closed: false };
  return watch(peer);
}

function watch(peer) {
  peer.socket.on("error", () => {});
  peer.socket.on("close", () => {
    peer.closed = true;
  });
  return peer;
}

const fleet = await startFleet(4, {
  balancer: { limits: { maxBodyBytes: 2 * GIGABYTE } },
  limits: { maxBodyBytes: 2 * GIGABYTE },
});
try {
  await p99OfOthers(fleet.port, 5);
  const alone = await p99OfOthers(fleet.port, SECONDS);
  const before = rssMB(fleet.balancerPid);
  const readers = Array.from({ length: PEERS }, () => slowReader(fleet.port));
  const uploaders = Array.from({ length: PEERS }, () => uploader(fleet.port));
  await wait(1000);
  let highest = before;
  const watching = setInterval(() => {
    highest = Math.max(highest, rssMB(fleet.balancerPid));
  }, 200);
  const beside = await p99OfOthers(fleet.port, SECONDS);
  clearInterval(watching);
  const lost = [...readers, ...uploaders].filter(({ closed }) => closed).length;
  const read = readers.reduce((sum, { bytes }) => sum + bytes, 0) / PEERS / 1e6;
  const sent = uploaders.reduce((sum, { bytes }) => sum + bytes, 0) / PEERS / 1e6;
  for (const { socket } of [...readers, ...uploaders]) socket.destroy();
  verdict(
    lost === 0,
    `none of ${2 * PEERS} slow peers was cut off; each read ${read.toFixed(1)} MB, sent ${sent.toFixed(1)} MB`,
  );
  verdict(
    highest - before < 20,
    `the balancer's RSS rose from ${before.toFixed(1)} to ${highest.toFixed(1)} MB at most`,
  );
  verdict(
    beside.p99Ms <= 2 * alone.p99Ms + 5 && beside.failed === undefined,
    `p99 of the others: ${alone.p99Ms.toFixed(2)} ms without them, ${beside.p99Ms.toFixed(2)} ms beside them ${beside.failed ?? ""}`,
  );
} finally {
  await fleet.stop();
}
