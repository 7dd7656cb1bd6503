/** A million requests over 10,000 connections that open and close: descriptors and memory come back. */
import net from "node:net";
import { descriptors, rssMB, startFleet, verdict, wait } from "./support.mjs";

const CONNECTIONS = 10_000;
const REQUESTS_EACH = 100;
const AT_ONCE = 200;
const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const fleet = await startFleet(2);
let answered = 0;
let failed = 0;
let rssEarly;

/** One connection: its requests one after the other, then the close. */
function converse() {
  return new Promise((resolve) => {
    let mine = 0;
    let tail = "";
    const socket = net.connect(fleet.port, "127.0.0.1", () => socket.write(REQUEST));
    socket.on("data", (bytes) => {
      tail = (tail + bytes.toString("latin1")).slice(-2000);
      if (!tail.endsWith("Hello World!\n")) return;
      if (!tail.startsWith("HTTP/1.1 200")) failed++;
      tail = "";
      answered++;
      if (answered === 100_000) rssEarly = rssMB(fleet.balancerPid);
      if (++mine === REQUESTS_EACH) socket.end();
      else socket.write(REQUEST);
    });
    socket.on("error", () => failed++);
    socket.on("close", resolve);
  });
}

try {
  const before = descriptors(fleet.balancerPid);
  let left = CONNECTIONS;
  const lane = async () => {
    while (left-- > 0) await converse();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  // Upstream connections that fell idle are closed after upstreamIdleTimeoutMs.
  await wait(35_000);
  const after = descriptors(fleet.balancerPid);
  const rssLate = rssMB(fleet.balancerPid);
  verdict(failed === 0 && answered === CONNECTIONS * REQUESTS_EACH, `${answered} answered, ${failed} failed`);
  verdict(after <= before, `descriptors of the balancer: ${before} before, ${after} after`);
  verdict(
    Math.abs(rssLate - rssEarly) <= 0.1 * rssEarly || rssLate < rssEarly,
    `RSS of the balancer: ${rssEarly.toFixed(1)} MB after the first hundred thousand, ${rssLate.toFixed(1)} MB at the end`,
  );
} finally {
  await fleet.stop();
}
