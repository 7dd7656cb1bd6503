/** Two instances that leak 1 MB per second, under load: each must be recycled before its memory limit, and no request may fail. */
import { readFileSync } from "node:fs";
import http from "node:http";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startFleet, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "300" },
    limit: { type: "string", default: "250" },
    runtime: { type: "string", default: "bun" },
  },
});
const SECONDS = Number(values.seconds);
const LIMIT_MB = Number(values.limit);
const INSTANCES = 2;
const CLIENTS = 8;
const PAUSE_MS = 20;

/** Megabytes of 10^6 bytes; 0 if the process has exited. */
function megabytes(pid) {
  try {
    return (Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024) / 1e6;
  } catch {
    return 0;
  }
}

const counts = { ok: 0, failed: [] };
let isOver = false;

async function client(port, agent) {
  while (!isOver) {
    await new Promise((resolve) => {
      const fail = (why) => {
        counts.failed.push(why);
        resolve();
      };
      const request = http.get({ host: "127.0.0.1", port, agent }, (response) => {
        response.on("error", (error) => fail(error.message));
        response.resume().on("end", () => {
          if (response.statusCode !== 200) return fail(response.statusCode);
          counts.ok++;
          resolve();
        });
      });
      request.on("error", (error) => fail(error.message));
    });
    await wait(PAUSE_MS);
  }
}

const app = fileURLToPath(new URL("leak-app.mjs", import.meta.url));
const fleet = await startFleet(INSTANCES, { app, maxMemoryMb: LIMIT_MB, runtime: values.runtime });
try {
  const agent = new http.Agent({ keepAlive: true });
  const clients = Array.from({ length: CLIENTS }, () => client(fleet.port, agent));
  let most = 0;
  let least = INSTANCES;
  let recycles = [];
  for (const end = performance.now() + SECONDS * 1000; performance.now() < end; await wait(500)) {
    const [{ instances, ready }] = (await fleet.control()).pools;
    least = Math.min(least, ready);
    most = Math.max(most, ...instances.flatMap(({ pid, other }) => [megabytes(pid), megabytes(other?.pid)]));
    recycles = instances.map((each) => each.recycles);
  }
  isOver = true;
  await Promise.all(clients);
  agent.destroy();
  verdict(
    counts.failed.length === 0,
    `${counts.failed.length} of ${counts.ok} requests fail ${counts.failed.slice(0, 5)}`,
  );
  verdict(Math.min(...recycles) > 0, `the instances are recycled ${recycles.join(" and ")} times in ${SECONDS} s`);
  verdict(most < LIMIT_MB, `no process uses more than ${most.toFixed(0)} MB; the limit is ${LIMIT_MB} MB`);
  verdict(least === INSTANCES, `at least ${least} of ${INSTANCES} instances are ready at all times`);
} finally {
  await fleet.stop();
}
