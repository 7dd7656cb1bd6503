/**
 * Clients that each read a response at 1,000 bytes per second over loopback, which their kernels report only after minutes, together with
 * clients that read nothing, newcomers or attackers who come again: no reader may be disconnected, and the balancer's memory must stay bounded.
 *
 * npm run soak:slow-readers -- --readers 150 --seconds 180 --runtime node --over plain --pool program --newcomers 20
 *
 * npm run soak:slow-readers -- --over h2; --over unix; --pool handler --attackers 200 --readers 20 --seconds 60
 */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { freePort, rssMB, startFleet, verdict } from "./support.mjs";

const TARGETS = { web: "/large", program: "/program/large", handler: "/handler/large" };

const { values } = parseArgs({
  options: {
    readers: { type: "string", default: "100" },
    rate: { type: "string", default: "1000" },
    seconds: { type: "string", default: "180" },
    runtime: { type: "string", default: "bun" },
    over: { type: "string", default: "tls" },
    pool: { type: "string", default: "web" },
    newcomers: { type: "string", default: "0" },
    attackers: { type: "string", default: "0" },
  },
});
const { readers, rate, seconds, runtime, over, pool, newcomers, attackers } = values;
const here = (name) => fileURLToPath(new URL(name, import.meta.url));

const tlsPort = await freePort();
const folder = mkdtempSync(path.join(tmpdir(), "paceline-slow-readers-"));
const socket = path.join(folder, "socket");
const fleet = await startFleet(1, {
  ...{ app: undefined, instances: undefined, runtime, tls: { selfSigned: true } },
  alsoListen: [`https://127.0.0.1:${tlsPort}`, `unix:${socket}`],
  pools: {
    web: { app: here("bounds/app.ts"), instances: 2, routes: ["/"] },
    handler: { app: here("bounds/handler.ts"), instances: 1, routes: ["/handler/"] },
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
  const port = { plain: fleet.port, unix: socket }[over] ?? tlsPort;
  const args = [here("slow_readers.py"), port, TARGETS[pool], readers, rate, seconds, newcomers, over, attackers];
  const { stdout } = await promisify(execFile)("python3", args.map(String));
  clearInterval(watching);
  const { cut, firstAfter, slowest, silent, resets } = JSON.parse(stdout);
  const [balancer] = (await fleet.control()).balancers;
  const first = firstAfter === null ? "" : `, noticed first after ${firstAfter.toFixed(0)} s`;
  const newOnes = newcomers === "0" ? "" : ` beside ${silent} that read nothing`;
  const beside =
    attackers === "0" ? newOnes : ` after ${attackers} attackers, who came again ${resets} times,${newOnes}`;
  verdict(
    cut === 0,
    `${readers} readers of ${rate} bytes a second of ${TARGETS[pool]} over ${over} for ${seconds} s on ${runtime}${beside}: ${cut} cut off${first}; the others read at least ${slowest.toFixed(0)} bytes a second; ${balancer.unreadEndedTotal} connections were reset for their unread bytes`,
  );
  // Those that read nothing are connections, too, and 8 MB of their bytes wait.
  verdict(
    most - before < (attackers === "0" && newcomers === "0" ? 32 : 64),
    `the balancer's RSS rose from ${before.toFixed(0)} to ${most.toFixed(0)} MB at most`,
  );
} finally {
  await fleet.stop();
  rmSync(folder, { recursive: true, force: true });
}
