/** Runs one row of the soak of bounds: a warm-up, an ordinary client alone, beside the peers, and alone again. */
import { p99OfOthers, wait } from "../support.mjs";
import { startTarget } from "./fleet.mjs";
import { courseOf, unclosed, watch, watchOthers } from "./watch.mjs";

export const WARM_UP_SECONDS = 4;
export const ALONE_SECONDS = 3;
/** Starting and stopping the processes, and the peers' last connections, about. */
export const AROUND_SECONDS = 8;
/** What every process may grow by. */
export const MOST_MB = 32;
/** Once the peers are gone, within this time: whoever is not read is missed when its time is over, three times the longest of the deadlines. */
const DESCRIPTORS_BACK_MS = 20_000;
/** What a process may keep open beyond what it had: connections that are kept for the next request. */
const KEPT_DESCRIPTORS = 20;
/** Above this part of the machine's processors the work of others decides the p99. */
const NOISY = 0.1;
/** A request of a lane that has gone wrong waits for less than 5 s: that is a slow one, and no failed one. */
const CLIENT_TIMEOUT_SECONDS = 10;

/** Returns what each round has found. */
export async function runRow(scenario, { seconds, rounds, runtime, surroundings, log }) {
  const target = await startTarget(scenario, runtime, surroundings);
  try {
    const pids = await target.processes();
    const row = { scenario, target, pids, runtime, log };
    await scenario.prepare?.(target);
    await ordinary(target, 1);
    if (scenario.hasNoWarmUp !== true) await warmUp(row);
    const found = [];
    let first;
    for (let round = 0; round < rounds; round++) {
      const result = await measureRound(row, seconds, first);
      first ??= result.before;
      found.push(result);
    }
    return found;
  } finally {
    await target.stop();
  }
}

async function warmUp(row) {
  const { pids } = row;
  const start = watch(pids);
  start.stop();
  await beside(row, WARM_UP_SECONDS);
  await unclosed(pids, start.highest, KEPT_DESCRIPTORS, DESCRIPTORS_BACK_MS);
}

/** One round; once more if the ordinary client was slow and others were at work on this machine. */
async function measureRound(row, seconds, first) {
  const result = await measureOnce(row, seconds, first);
  if (result.isQuick || result.others < NOISY) return result;
  const percent = (100 * result.others).toFixed(0);
  row.log(`p99 was ${result.p99}; others used ${percent} % of the processors meanwhile: measured once more`);
  const again = await measureOnce(row, seconds, first ?? result.before);
  return { ...again, highest: higher(result.highest, again.highest) };
}

function higher(one, other) {
  return Object.fromEntries(
    Object.entries(one).map(([name, { mb, files }]) => [name, { mb: Math.max(mb, other[name].mb), files }]),
  );
}

async function measureOnce(row, seconds, first) {
  const { target, pids } = row;
  const othersShare = watchOthers();
  // What the ordinary client alone makes a process take goes up and down as its runtime collects.
  const idle = watch(pids);
  const aloneBefore = await ordinary(target, ALONE_SECONDS);
  idle.stop();
  const before = first ?? idle.highest;
  const watched = watch(pids);
  const during = await beside(row, seconds);
  watched.stop();
  const leftOpen = await unclosed(pids, idle.highest, KEPT_DESCRIPTORS, DESCRIPTORS_BACK_MS);
  const aloneAfter = await ordinary(target, ALONE_SECONDS);
  const most = 2 * Math.max(aloneBefore.p99Ms, aloneAfter.p99Ms) + 5;
  const p99 = `${aloneBefore.p99Ms.toFixed(1)} ${during.p99Ms.toFixed(1)} ${aloneAfter.p99Ms.toFixed(1)}`;
  return {
    ...{ before, highest: watched.highest, leftOpen, p99, others: othersShare() },
    courses: Object.fromEntries(Object.keys(pids).map((name) => [name, courseOf(watched.series, name)])),
    isQuick: during.p99Ms > 0 && during.p99Ms <= most && during.failed === undefined,
    failed: during.failed,
  };
}

/** The peers at work, and an ordinary client beside them. */
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
