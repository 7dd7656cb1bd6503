/** An instance for supervisor-memory.mjs: it speaks the control channel, and does what FAKE says as fast as the supervisor accepts it. */
import { writeSync } from "node:fs";
import { ChannelClient, takeChildEnvironment } from "../../packages/wire/dist/index.js";

const { FAKE = "" } = process.env;
const identity = takeChildEnvironment();
const LATENCIES = [...Array(40).keys()].flatMap((bucket) => [4 * bucket + 1, 1 + (bucket % 7)]);
/** The lines of one write, and the pause after it: about as much as the supervisor reads. */
const BURST = `${"a line of the log, as long as those of many apps are, with a number 1234567890\n"}`.repeat(2000);
const PAUSE_MS = 20;
let requestsTotal = 0;

const client = new ChannelClient({
  identity,
  role: "instance",
  helloState: () => ({ phase: "ready", protocol: "http1" }),
  onWelcome: () => (FAKE === "stats" ? report() : FAKE === "lines" ? write() : undefined),
  onDrain: () => process.exit(0),
  onOrphaned: () => process.exit(0),
  onRefused: () => process.exit(0),
});
client.start();

/** Each message has the figures of one second of a busy instance. */
function report() {
  for (let count = 0; count < 200; count++) {
    requestsTotal += 100;
    const message = { type: "stats", role: "instance", requestsTotal, errorsTotal: requestsTotal / 100, inFlight: 3 };
    if (!client.send({ ...message, latency: LATENCIES, periodMs: 1000, eventLoopLagMs: count % 20, heapBytes: 1e7 })) {
      requestsTotal -= 100;
      break;
    }
  }
  setTimeout(report, 5);
}

function write() {
  writeSync(1, BURST);
  setTimeout(write, PAUSE_MS);
}
