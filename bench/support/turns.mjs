/**
 * Loads the contestants of a section in turns (A B C, A B C, …), so that a slow minute of the machine affects all of them. Each is started
 * for its turn and stopped after it, so that no other contestant uses memory, CPU time or shared pages during the turn.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { endLeftovers, keepsConnections, untilServing, wait } from "./launch.mjs";
import { closeLoad, keepAliveLoad } from "./load.mjs";
import { medians } from "./medians.mjs";
import { cpuBetween, cpuSnapshot, memory } from "./processes.mjs";

export const CLOSE_CONNECTIONS = 1000;
export const KEEP_ALIVE_CONNECTIONS = 64;
const WARM_UP_REQUESTS = 10_000;
/** A Node instance's code is compiled after some hundred requests, and many instances share the load. */
const warmUpSeconds = (instances) => Math.max(2, Math.ceil(instances / 8));
const SETTLE_TIMEOUT_MS = 60_000;
/** A contestant that uses less than this share of a core over half a second has finished its start. */
const SETTLED_SHARE = 0.3;
const IDLE_MS = 3000;

export const LOAD_METRICS = ["requestsPerSecond", "seconds", "p50Ms", "p99Ms", "cpuUs", "rssMB", "pssMB"];
export const MEMORY_METRICS = ["rssMB", "pssMB", "processes"];

/** Runs `use` with the started contestant and always stops it, even after an interrupt. */
export async function withStarted(contestant, instances, use) {
  const directory = mkdtempSync(path.join(tmpdir(), "pl-bench-"));
  const starting = contestant.start(directory);
  const clear = async () => {
    // Waits for a start in progress, because only then its processes are known. A failed start leaves processes behind.
    const running = await starting.catch(() => undefined);
    await running?.stop();
    await endLeftovers();
    rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
  };
  let isInterrupted = false;
  const interrupt = () => {
    if (isInterrupted) return;
    isInterrupted = true;
    clear().finally(() => process.exit(130));
  };
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt);
  try {
    const running = await starting;
    await untilServing(running.port);
    await settled(running, instances);
    return await use(running);
  } finally {
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
    // After an interrupt nothing may continue.
    if (isInterrupted) await new Promise(() => undefined);
    await clear();
  }
}

/** Waits until all instances are up and the contestant is idle again. */
async function settled(running, instances) {
  for (const deadline = Date.now() + SETTLE_TIMEOUT_MS; Date.now() < deadline; ) {
    const before = cpuSnapshot(running.pids());
    await wait(500);
    const after = cpuSnapshot(running.pids());
    const { microseconds, changed } = cpuBetween(before, after);
    if (changed === 0 && after.size >= instances && microseconds < 500_000 * SETTLED_SHARE) return;
  }
  throw new Error(`it did not calm down within ${SETTLE_TIMEOUT_MS / 1000} s of its start`);
}

/** Measures one load: its own figures, CPU time per successful request, and the memory after it. */
async function measure(running, load) {
  const before = cpuSnapshot(running.pids());
  const result = await load(running.port);
  const pids = running.pids();
  const { microseconds, changed } = cpuBetween(before, cpuSnapshot(pids));
  const answered = result.requests - result.failed;
  return { ...result, cpuUs: answered > 0 ? microseconds / answered : Number.NaN, changed, ...memory(pids) };
}

async function warmUp(port, isKept, instances) {
  await closeLoad(port, WARM_UP_REQUESTS, 100);
  if (isKept) await keepAliveLoad(port, warmUpSeconds(instances), KEEP_ALIVE_CONNECTIONS);
}

function loadsOf({ requests, seconds }) {
  return {
    close: (port) => closeLoad(port, requests, CLOSE_CONNECTIONS),
    "keep-alive": (port) => keepAliveLoad(port, seconds, KEEP_ALIVE_CONNECTIONS),
  };
}

/** Runs one turn: both loads; a server that closes each connection skips the second. */
async function loadTurn(running, instances, loads, samples) {
  const isKept = await keepsConnections(running.port);
  if (!isKept) samples.closes = true;
  await warmUp(running.port, isKept, instances);
  for (const [load, apply] of Object.entries(loads)) {
    if (load === "keep-alive" && !isKept) continue;
    try {
      samples[load].push(await measure(running, apply));
    } catch (error) {
      samples.notes.push(`${load}: ${lastLine(error)}`);
    }
  }
}

/** Runs one turn of the memory section: after some idle time, and after both loads. */
async function memoryTurn(running, loads, samples) {
  await wait(IDLE_MS);
  const now = () => {
    const pids = running.pids();
    return { ...memory(pids), processes: pids.length };
  };
  samples.idle.push(now());
  const isKept = await keepsConnections(running.port);
  await loads.close(running.port);
  if (isKept) await loads["keep-alive"](running.port);
  await wait(IDLE_MS);
  samples.loaded.push(now());
}

/**
 * Measures a section; `say` receives a line per turn.
 * @returns the section with a row per contestant: medians, failed requests, and irregularities
 */
export async function measureSection(section, { rounds, requests, seconds }, say) {
  const loads = loadsOf({ requests, seconds });
  const samples = new Map(
    section.contestants.map(({ name }) => [name, { close: [], "keep-alive": [], idle: [], loaded: [], notes: [] }]),
  );
  for (let round = 1; round <= rounds; round++) {
    for (const contestant of section.contestants) {
      const own = samples.get(contestant.name);
      const startedAt = Date.now();
      try {
        await withStarted(contestant, section.instances, (running) =>
          section.kind === "memory"
            ? memoryTurn(running, loads, own)
            : loadTurn(running, section.instances, loads, own),
        );
      } catch (error) {
        own.notes.push(lastLine(error));
      }
      say(
        `${section.id}, round ${round} of ${rounds}: ${contestant.name}, ${((Date.now() - startedAt) / 1000).toFixed(0)} s`,
      );
    }
  }
  const { contestants, ...description } = section;
  return { ...description, rows: contestants.map((contestant) => rowOf(contestant, samples.get(contestant.name))) };
}

/** The reason is at the end of an error message: execFile puts the command before it. */
function lastLine(error) {
  return `${error.stderr || error.message}`.trim().split("\n").at(-1);
}

function rowOf({ name, isOurs = false, runtime, settings }, samples) {
  const row = { name, isOurs, runtime, settings, notes: [...new Set(samples.notes)] };
  if (samples.closes) row.notes.push("closes each connection");
  for (const load of ["close", "keep-alive"]) {
    if (samples[load].length === 0) continue;
    const sum = (key) => samples[load].reduce((total, sample) => total + sample[key], 0);
    row[load] = { ...medians(samples[load], LOAD_METRICS), failed: sum("failed"), requests: sum("requests") };
    if (sum("changed") > 0) {
      row.notes.push(`${load}: ${sum("changed")} processes began or ended meanwhile, CPU time may be off`);
    }
  }
  for (const state of ["idle", "loaded"]) {
    if (samples[state].length > 0) row[state] = medians(samples[state], MEMORY_METRICS);
  }
  return row;
}
