/**
 * Clients that each read a response at 1,000 bytes a second over loopback, whose kernels report that only after minutes: none may be
 * cut off, and the balancer's memory stays bounded.
 *
 *   npm run soak:slow-readers -- --readers 150 --seconds 180 --runtime node --over plain --pool program
 */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { freePort, rssMB, startFleet, verdict } from "./support.mjs";

const TARGETS = { web: "/large", program: "/program/chunks" };

const { values } = parseArgs({
  options: {
    readers: { type: "string", default: "100" },
    rate: { type: "string", default: "1000" },
    seconds: { type: "string", default: "180" },
    runtime: { type: "string", default: "bun" },
    over: { type: "string", default: "tls" },
    pool: { type: "string", default: "web" },
  },
});
const { readers, rate, seconds, runtime, over, pool } = values;
const here = (name) => fileURLToPath(new URL(name, import.meta.url));

const tlsPort = await freePort();
const fleet = await startFleet(1, {
  ...{ app: undefined, instances: undefined, runtime, tls: { selfSigned: true } },
  alsoListen: [`https://127.0.0.1:${tlsPort}`],
  pools: {
    web: { app: here("bounds/app.ts"), instances: 2, routes: ["/"] },
    program: { command: ["node", here("bounds/program.mjs"), "{socket}"], instances: 1, routes: ["/program/"] },
  },
  balancer: { runtime },
});
try {
  const before = rssMB(fleet.balancerPid);
  let most = before;
  const watching = setInterval(() => {
    most = Math.max(most, rssMB(fleet.balancerPid));
  }, 200);
  const port = over === "tls" ? tlsPort : fleet.port;
  const args = [
    here("slow_readers.py"),
    port,
    TARGETS[pool],
    readers,
    rate,
    seconds,
    ...(over === "tls" ? ["tls"] : []),
  ];
  const { stdout } = await promisify(execFile)("python3", args.map(String));
  clearInterval(watching);
  const { cut, firstAfter, slowest } = JSON.parse(stdout);
  const [balancer] = (await fleet.control()).balancers;
  // A client notices a reset only when it has read what came before.
  const ended = Math.max(cut, balancer.unreadEndedTotal);
  const first = firstAfter === null ? "" : `, noticed first after ${firstAfter.toFixed(0)} s`;
  verdict(
    ended === 0,
    `${readers} readers of ${rate} bytes a second over ${over} for ${seconds} s on ${runtime}: ${ended} cut off${first}; the others read at least ${slowest.toFixed(0)} bytes a second`,
  );
  verdict(most - before < 32, `the balancer's RSS rose from ${before.toFixed(0)} to ${most.toFixed(0)} MB at most`);
} finally {
  await fleet.stop();
}
