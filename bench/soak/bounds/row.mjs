/** Runs one row of the bounds soak: a warm-up, the normal client alone, together with the peers, and alone again. */

import { wait } from "../support.mjs";
import { startBare, startBareTls, startTarget } from "./fleet.mjs";
import { normalClient, startPeers, watchLoad } from "./load.mjs";
import { courseOf, measure, mostHeldMB, unclosed, watch, watchOthers } from "./watch.mjs";
import { startNginx } from "./yardstick.mjs";

const WARM_UP_SECONDS = 4;
const ALONE_SECONDS = 3;
/** How long the client of the comparison with nginx runs together with the peers. */
const YARDSTICK_SECONDS = 5;
/** The approximate duration of a row without its peers: starts, stops, the warm-up, and the normal client alone. */
export const AROUND_SECONDS = 13;
export const YARDSTICK_AROUND_SECONDS = 13;
/** The maximum growth of a process. */
export const MOST_MB = 32;
/** The time in which descriptors must be closed after the peers have left: three times the longest deadline. */
const DESCRIPTORS_BACK_MS = 20_000;
/** The same time for a row whose descriptors are known to stay open. */
const KNOWN_DESCRIPTORS_MS = 2000;
/** The number of descriptors that a process may keep in addition: connections kept for the next request. */
const KEPT_DESCRIPTORS = 20;
/** Above this share of the machine's CPUs, other work decides the p99. */
const NOISY = 0.1;

/** Returns the result of each round. */
export async function runRow(name, scenario, { seconds, rounds, runtime, surroundings, log }) {
  const target = await startTarget(scenario, runtime, surroundings);
  try {
    const pids = await target.processes();
    const { known = {} } = scenario;
    const closedWithinMs = known[runtime]?.descriptors === undefined ? DESCRIPTORS_BACK_MS : KNOWN_DESCRIPTORS_MS;
    const row = { name, target, pids, log, closedWithinMs };
    await scenario.prepare?.(target);
    await normal(target, 1);
    if (scenario.hasNoWarmUp !== true) await warmUp(row);
    const found = [];
    for (let round = 0; round < rounds; round++) found.push(await measureRound(row, seconds, found[0]?.before));
    const bareMB = await measureBare(name, scenario, { seconds, runtime, surroundings });
    return found.map((result) => ({ ...result, bareMB }));
  } finally {
    await target.stop();
  }
}

/** Returns how much memory a server without Paceline holds under the same peers, in MB; 0 if there is none to compare with. */
async function measureBare(name, scenario, { seconds, runtime, surroundings }) {
  const isTls = scenario.bareTls?.includes(runtime) === true;
  if (!isTls && scenario.known?.[runtime]?.process === undefined) return 0;
  const bare = isTls ? await startBareTls(surroundings) : await startBare();
  try {
    const pids = { bare: bare.pid };
    const attack = async (attackSeconds) => {
      const watched = watch(pids);
      const peers = await startPeers(name, bare, attackSeconds);
      await wait(attackSeconds * 1000);
      await peers.stop();
      return watched.stop();
    };
    if (scenario.hasNoWarmUp !== true) await attack(WARM_UP_SECONDS);
    await wait(2000);
    const idle = watch(pids);
    await wait(1500);
    const before = mostHeldMB(idle.stop(), "bare");
    return mostHeldMB(await attack(seconds), "bare") - before;
  } finally {
    await bare.stop();
  }
}

/** Returns the p99 of the normal client through nginx, alone and together with the same peers, as text. */
export async function runYardstick(name, { runtime, surroundings }) {
  const target = await startNginx(runtime, surroundings);
  try {
    await normal(target, 2);
    const alone = await normal(target, ALONE_SECONDS);
    const during = await beside({ name, target, pids: {} }, YARDSTICK_SECONDS);
    return `${milliseconds(alone)} ${milliseconds(during)}${during.failed > 0 ? `, ${during.failed} failed` : ""}`;
  } finally {
    await target.stop();
  }
}

async function warmUp(row) {
  const before = measure(row.pids);
  await beside(row, WARM_UP_SECONDS);
  await unclosed(row.pids, before, KEPT_DESCRIPTORS, row.closedWithinMs);
}

/** Runs one round, and repeats it if the normal client was slow and other work was running. */
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
  const aloneBefore = await normal(target, ALONE_SECONDS);
  const alone = idle.stop();
  // The memory of a process with only the normal client.
  const before = first ?? Object.fromEntries(names.map((name) => [name, mostHeldMB(alone, name)]));
  const watched = watch(pids);
  const during = await beside(row, seconds);
  const series = watched.stop();
  const leftOpen = await unclosed(pids, files, KEPT_DESCRIPTORS, row.closedWithinMs);
  const own = [aloneBefore];
  const isQuick = () => during.p99Ms <= 2 * Math.max(...own.map(({ p99Ms }) => p99Ms)) + 5 && during.failed === 0;
  // Measured twice, so that a quick moment of the machine does not decide.
  if (!isQuick()) own.push(await normal(target, ALONE_SECONDS));
  const [ownBefore, ownAfter] = own;
  return {
    ...{ before, leftOpen, others: othersShare(), load: during.load, failed: during.failed },
    p99: [ownBefore, during, ...(ownAfter === undefined ? [] : [ownAfter])].map(milliseconds).join(" "),
    isQuick: isQuick(),
    grown: Object.fromEntries(names.map((name) => [name, mostHeldMB(series, name) - before[name]])),
    courses: Object.fromEntries(names.map((name) => [name, courseOf(series, name)])),
  };
}

const milliseconds = ({ p99Ms }) => p99Ms.toFixed(1);

/** Runs the peers together with a normal client. */
async function beside({ name, target, pids }, seconds) {
  const peers = await startPeers(name, target, seconds);
  try {
    await wait(500);
    const load = watchLoad({ ...pids, peers: peers.pid });
    const found = await normal(target, Math.max(Math.round(seconds - 1), 2));
    return { ...found, load: load() };
  } finally {
    await peers.stop();
  }
}

function normal({ port, ordinary = "/" }, seconds) {
  return normalClient(port, ordinary, seconds);
}
