/** Runs one row of the bounds soak: a warm-up, an ordinary client alone, beside the peers, and alone again. */
import { p99OfOthers, wait } from "../support.mjs";
import { startTarget } from "./fleet.mjs";
import { courseOf, measure, mostHeldMB, unclosed, watch, watchOthers } from "./watch.mjs";

export const WARM_UP_SECONDS = 4;
export const ALONE_SECONDS = 3;
/** The approximate time for starts, stops and the peers' last connections. */
export const AROUND_SECONDS = 8;
/** The maximum growth of a process. */
export const MOST_MB = 32;
/** The time in which descriptors must be closed after the peers have left: three times the longest deadline. */
const DESCRIPTORS_BACK_MS = 20_000;
/** The same for a row whose descriptors are known to stay open. */
const KNOWN_DESCRIPTORS_MS = 2000;
/** The descriptors a process may keep in addition: connections kept for the next request. */
const KEPT_DESCRIPTORS = 20;
/** Above this share of the machine's processors, other work decides the p99. */
const NOISY = 0.1;
/** A request on a broken lane waits for less than 5 s: it is slow, but has not failed. */
const CLIENT_TIMEOUT_SECONDS = 10;

/** Returns the result of each round. */
export async function runRow(scenario, { seconds, rounds, runtime, surroundings, log }) {
  const target = await startTarget(scenario, runtime, surroundings);
  try {
    const pids = await target.processes();
    const { known = {} } = scenario;
    const closedWithinMs = known[runtime]?.descriptors === undefined ? DESCRIPTORS_BACK_MS : KNOWN_DESCRIPTORS_MS;
    const row = { scenario, target, pids, runtime, log, closedWithinMs };
    await scenario.prepare?.(target);
    await ordinary(target, 1);
    if (scenario.hasNoWarmUp !== true) await warmUp(row);
    const found = [];
    for (let round = 0; round < rounds; round++) found.push(await measureRound(row, seconds, found[0]?.before));
    return found;
  } finally {
    await target.stop();
  }
}

async function warmUp(row) {
  const before = measure(row.pids);
  await beside(row, WARM_UP_SECONDS);
  await unclosed(row.pids, before, KEPT_DESCRIPTORS, row.closedWithinMs);
}

/** Runs one round, and repeats it if the ordinary client was slow and other work was running. */
async function measureRound(row, seconds, first) {
  const result = await measureOnce(row, seconds, first);
  if (result.isQuick || result.others < NOISY) return result;
  const percent = (100 * result.others).toFixed(0);
  row.log(`p99 was ${result.p99}; others used ${percent} % of the processors meanwhile: measured once more`);
  const again = await measureOnce(row, seconds, result.before);
  // Memory and descriptors are judged over both.
  const grown = Object.keys(result.grown).map((name) => [name, Math.max(result.grown[name], again.grown[name])]);
  return { ...again, grown: Object.fromEntries(grown), leftOpen: [...result.leftOpen, ...again.leftOpen] };
}

async function measureOnce(row, seconds, first) {
  const { target, pids } = row;
  const othersShare = watchOthers();
  const names = Object.keys(pids);
  const idle = watch(pids);
  const files = measure(pids);
  const aloneBefore = await ordinary(target, ALONE_SECONDS);
  const alone = idle.stop();
  // The memory of a process beside the ordinary client alone.
  const before = first ?? Object.fromEntries(names.map((name) => [name, mostHeldMB(alone, name)]));
  const watched = watch(pids);
  const during = await beside(row, seconds);
  const series = watched.stop();
  const leftOpen = await unclosed(pids, files, KEPT_DESCRIPTORS, row.closedWithinMs);
  const aloneAfter = await ordinary(target, ALONE_SECONDS);
  const most = 2 * Math.max(aloneBefore.p99Ms, aloneAfter.p99Ms) + 5;
  const p99 = `${aloneBefore.p99Ms.toFixed(1)} ${during.p99Ms.toFixed(1)} ${aloneAfter.p99Ms.toFixed(1)}`;
  return {
    ...{ before, leftOpen, p99, others: othersShare() },
    grown: Object.fromEntries(names.map((name) => [name, mostHeldMB(series, name) - before[name]])),
    courses: Object.fromEntries(names.map((name) => [name, courseOf(series, name)])),
    isQuick: during.p99Ms > 0 && during.p99Ms <= most && during.failed === undefined,
    failed: during.failed,
  };
}

/** Runs the peers with an ordinary client beside them. */
async function beside({ scenario, target, pids, runtime }, seconds) {
  const stop = await scenario.start({ port: target.port, pids, runtime, target, seconds });
  try {
    await wait(500);
    return await ordinary(target, Math.max(Math.round(seconds - 1), 2));
  } finally {
    await stop();
  }
}

function ordinary(target, seconds) {
  return p99OfOthers(target.port, seconds, target.ordinary, { timeoutSeconds: CLIENT_TIMEOUT_SECONDS });
}
