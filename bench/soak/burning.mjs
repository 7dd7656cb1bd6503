/** One of four instances uses CPU time for 5 s: the latency of the others' requests, compared with the same run without it. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startFleet, verdict, wait } from "./support.mjs";

const INSTANCES = 4;
const CONNECTIONS = 64;
const BURN_MS = 5000;
/** The load runs within the burn, so that only the burn is measured. */
const LOAD_SECONDS = 5;
const BURN_AFTER_MS = 300;
const WARM_UP_SECONDS = 2;
const ROUNDS = 3;
const SLACK_MS = 5;

const client = fileURLToPath(new URL("closed-loop.mjs", import.meta.url));

/** Runs a load in a separate process and returns the latencies of its responses. */
async function load(port, seconds) {
  const { stdout } = await promisify(execFile)(process.execPath, [client, port, CONNECTIONS, seconds].map(String));
  return JSON.parse(stdout);
}

/** Requests a handler that uses a whole core for `BURN_MS`; resolves with the result. */
async function burn(port, method) {
  await wait(BURN_AFTER_MS);
  const startedAt = performance.now();
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path: `/block?ms=${BURN_MS}`, method, agent: false };
    const request = http.request(options, (response) => {
      response.resume().on("end", () => {
        const { "x-instance": by } = response.headers;
        resolve({ ms: performance.now() - startedAt, by, isOk: response.statusCode === 200 });
      });
    });
    request.on("error", reject).end();
  });
}

const told = ({ p50Ms, p99Ms, p999Ms, mostMs, responses }) =>
  `p50 ${p50Ms.toFixed(2)}, p99 ${p99Ms.toFixed(2)}, p99.9 ${p999Ms.toFixed(2)}, most ${mostMs.toFixed(1)} ms of ${responses} answers`;

const folder = mkdtempSync(join(tmpdir(), "paceline-soak-"));
const blocks = join(folder, "blocks");
const fleet = await startFleet(INSTANCES, { env: { BLOCKS_FILE: blocks } });
try {
  await load(fleet.port, WARM_UP_SECONDS);
  for (const method of ["GET", "POST"]) {
    for (let round = 1; round <= ROUNDS; round++) {
      writeFileSync(blocks, "");
      const without = await load(fleet.port, LOAD_SECONDS);
      const burning = burn(fleet.port, method);
      const beside = await load(fleet.port, LOAD_SECONDS);
      const { ms, by, isOk } = await burning;
      const burnt = readFileSync(blocks, "utf8").trim().split("\n");
      const limitMs = 2 * without.p99Ms + SLACK_MS;
      process.stdout.write(`${method}, round ${round}\n  without: ${told(without)}\n  beside:  ${told(beside)}\n`);
      verdict(isOk && ms >= BURN_MS, `the request that burns is answered by ${by} after ${ms.toFixed(0)} ms`);
      verdict(without.failed + beside.failed === 0, `${without.failed + beside.failed} other requests fail`);
      verdict(burnt.length === 1, `it burns ${burnt.join(", ")}`);
      verdict(
        beside.p99Ms <= limitMs,
        `p99 of the others is ${beside.p99Ms.toFixed(2)} ms; twice that without the burn and ${SLACK_MS} ms are ${limitMs.toFixed(2)} ms`,
      );
      // The instances that it was reassigned from are still running it.
      await wait(burnt.length > 1 ? BURN_MS : 0);
    }
  }
} finally {
  await fleet.stop();
  rmSync(folder, { recursive: true, force: true });
}
