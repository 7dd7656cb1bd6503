/** A million requests over 10,000 short connections, over the lane and HTTP/1.1: descriptors and memory return to normal. */
import net from "node:net";
import { descriptors, rssMB, startFleet, verdict, wait } from "./support.mjs";

const CONNECTIONS = 10_000;
const REQUESTS_EACH = 100;
const AT_ONCE = 200;
const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/** The additional memory allowed for the lane over HTTP/1.1, in megabytes per process. */
const MORE_MB = 10;

/** One connection: its requests one after another, then the close. */
function converse(port, onResponse) {
  return new Promise((resolve) => {
    let mine = 0;
    let tail = "";
    const socket = net.connect(port, "127.0.0.1", () => socket.write(REQUEST));
    socket.on("data", (bytes) => {
      tail = (tail + bytes.toString("latin1")).slice(-2000);
      if (!tail.endsWith("Hello World!\n")) return;
      onResponse(tail.startsWith("HTTP/1.1 200"));
      tail = "";
      if (++mine === REQUESTS_EACH) socket.end();
      else socket.write(REQUEST);
    });
    socket.on("error", () => onResponse(false));
    socket.on("close", resolve);
  });
}

/** Runs everything over one protocol; returns the final RSS of balancer and instances. */
async function run(protocol) {
  const fleet = await startFleet(2, { protocol });
  try {
    const before = descriptors(fleet.balancerPid);
    let answered = 0;
    let failed = 0;
    let rssEarly;
    const onResponse = (isGood) => {
      if (isGood) answered++;
      else failed++;
      if (answered === 100_000) rssEarly ??= rssMB(fleet.balancerPid);
    };
    let left = CONNECTIONS;
    const client = async () => {
      while (left-- > 0) await converse(fleet.port, onResponse);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, client));
    const { pools } = await fleet.status();
    const instances = pools[0].instances.map(({ pid }) => rssMB(pid));
    // Idle upstream connections close after upstreamIdleTimeoutMs.
    await wait(35_000);
    const after = descriptors(fleet.balancerPid);
    const balancer = rssMB(fleet.balancerPid);
    verdict(
      failed === 0 && answered === CONNECTIONS * REQUESTS_EACH,
      `${protocol}: ${answered} answered, ${failed} failed`,
    );
    verdict(after <= before, `${protocol}: descriptors of the balancer: ${before} before, ${after} after`);
    verdict(
      Math.abs(balancer - rssEarly) <= 0.1 * rssEarly || balancer < rssEarly,
      `${protocol}: RSS of the balancer: ${rssEarly.toFixed(1)} MB after the first hundred thousand, ${balancer.toFixed(1)} MB at the end`,
    );
    return { balancer, instance: Math.max(...instances) };
  } finally {
    await fleet.stop();
  }
}

const http1 = await run("http1");
const lane = await run("lane");
for (const kind of ["balancer", "instance"]) {
  verdict(
    lane[kind] <= http1[kind] + MORE_MB,
    `RSS of ${kind === "balancer" ? "the balancer" : "the larger instance"} after a million: ${http1[kind].toFixed(1)} MB over HTTP/1.1, ${lane[kind].toFixed(1)} MB over the lane`,
  );
}
