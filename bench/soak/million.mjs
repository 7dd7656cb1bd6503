/**
 * A million requests over 10,000 short connections, over the lane and HTTP/1.1: descriptors and memory must return to normal. `--millions 5
 * --protocol lane`: more requests, over one protocol.
 */
import net from "node:net";
import { parseArgs } from "node:util";
import { descriptors, rssMB, startFleet, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: { millions: { type: "string", default: "1" }, protocol: { type: "string" }, runtime: { type: "string" } },
});
const MILLION = 1_000_000;
const CONNECTIONS = 10_000 * Number(values.millions);
const REQUESTS_EACH = 100;
const REQUESTS = CONNECTIONS * REQUESTS_EACH;
/** The number of requests after which the memory is measured, for comparison with that at the end. */
const EARLY = REQUESTS > MILLION ? MILLION : REQUESTS / 10;
const AT_ONCE = 200;
const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/** How much more memory the lane may use than HTTP/1.1, in megabytes per process. */
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

/** Runs all requests over one protocol; returns the final RSS of balancer and instances. */
async function run(protocol) {
  const { runtime } = values;
  const balancer = { processes: 1, ...(runtime && { runtime }) };
  const fleet = await startFleet(2, { protocol, balancer, ...(runtime && { runtime }) });
  try {
    const before = descriptors(fleet.balancerPid);
    let answered = 0;
    let failed = 0;
    let rssEarly;
    const onResponse = (isGood) => {
      if (isGood) answered++;
      else failed++;
      if (answered === EARLY) rssEarly ??= rssMB(fleet.balancerPid);
      if (answered % MILLION === 0)
        process.stdout.write(
          `      ${protocol}: ${rssMB(fleet.balancerPid).toFixed(1)} MB after ${answered / MILLION} million\n`,
        );
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
    verdict(failed === 0 && answered === REQUESTS, `${protocol}: ${answered} answered, ${failed} failed`);
    verdict(after <= before, `${protocol}: descriptors of the balancer: ${before} before, ${after} after`);
    verdict(
      Math.abs(balancer - rssEarly) <= 0.1 * rssEarly || balancer < rssEarly,
      `${protocol}: RSS of the balancer: ${rssEarly.toFixed(1)} MB after the first ${EARLY.toLocaleString("en")}, ${balancer.toFixed(1)} MB at the end`,
    );
    return { balancer, instance: Math.max(...instances) };
  } finally {
    await fleet.stop();
  }
}

const results = {};
for (const protocol of values.protocol?.split(",") ?? ["http1", "lane"]) results[protocol] = await run(protocol);
const { http1, lane } = results;
for (const kind of http1 && lane ? ["balancer", "instance"] : []) {
  verdict(
    lane[kind] <= http1[kind] + MORE_MB,
    `RSS of ${kind === "balancer" ? "the balancer" : "the larger instance"} at the end: ${http1[kind].toFixed(1)} MB over HTTP/1.1, ${lane[kind].toFixed(1)} MB over the lane`,
  );
}
