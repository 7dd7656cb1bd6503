/**
 * A slow reader of a 60 MB body that exists as a string, as bytes, in a file and in generated blocks: the instance must not loop, and other
 * clients must not wait. Alone and behind a balancer; `--runtime node` for Node. Then slow clients of Python instances. `--only instance`
 * or `--only clients` selects one part; `--seconds` sets the time of the slow clients.
 */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { slowClients } from "./slow-clients.mjs";
import { cpuSeconds, p99OfOthers, serveAlone, slowReader, startFleet, verdict, wait } from "./support.mjs";

const BODIES = ["/string", "/bytes", "/file.bin", "/iterable"];
const FILE_BYTES = 60_000_000;
const SECONDS = 5;
/** The maximum share of one core while a client reads a megabyte in a second. */
const MOST_CPU = 0.05;
const APP = fileURLToPath(new URL("slow-bodies-app.ts", import.meta.url));

const { runtime, only, seconds } = parseArgs({
  options: {
    runtime: { type: "string", default: "bun" },
    only: { type: "string" },
    seconds: { type: "string", default: "60" },
  },
}).values;

async function measure(name, port, pid) {
  const alone = await p99OfOthers(port, 3);
  for (const body of BODIES) {
    const reader = slowReader(port, body);
    for (const deadline = Date.now() + 5000; reader.bytes === 0 && Date.now() < deadline; ) await wait(20);
    await wait(500);
    const before = cpuSeconds(pid);
    await wait(SECONDS * 1000);
    const cpu = (cpuSeconds(pid) - before) / SECONDS;
    const beside = await p99OfOthers(port, 3);
    const megabytes = reader.bytes / 1e6;
    const isReading = !reader.closed && megabytes > 1;
    reader.end();
    verdict(
      isReading && cpu <= MOST_CPU && beside.failed === undefined && beside.p99Ms <= 2 * alone.p99Ms + 5,
      `${name}, ${body}: CPU ${(cpu * 100).toFixed(1)} %, ${megabytes.toFixed(1)} MB read; p99 of others ${alone.p99Ms.toFixed(2)} ms without it, ${beside.p99Ms.toFixed(2)} ms beside it ${beside.failed ?? ""}`,
    );
  }
}

async function measureInstance() {
  const folder = mkdtempSync(path.join(tmpdir(), "paceline-bodies-"));
  try {
    writeFileSync(path.join(folder, "file.bin"), "");
    truncateSync(path.join(folder, "file.bin"), FILE_BYTES);
    const env = { SOAK_FOLDER: folder };
    const alone = await serveAlone([APP], runtime, env);
    await measure(`alone on ${runtime}`, alone.port, alone.pid);
    await alone.stop();
    const fleet = await startFleet(1, { runtime, balancer: { runtime }, app: APP, env });
    try {
      const [pool] = (await fleet.status()).pools;
      await measure(`behind a balancer on ${runtime}`, fleet.port, pool.instances[0].pid);
    } finally {
      await fleet.stop();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (only !== "clients") await measureInstance();
if (only !== "instance") await slowClients(runtime, Number(seconds));
