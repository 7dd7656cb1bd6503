/** Simulated traffic to a canary and to the generation in service, second by second, until the verdict. Deterministic for a seed. */
import { randomOf } from "../support/random.mjs";

/** Durations of the generation in service: a lognormal distribution with a median of 20 ms and a 99th percentile of 120 ms. */
const MEDIAN_MS = 20;
const SIGMA = Math.log(6) / 2.326;
/** One of 1,000 responses is a 5xx, and one of 10,000 requests is lost. */
const ERRORS = 0.001;
const RESETS = 0.0001;
/** The memory of a process in bytes: after the start, in addition while it warms up, and the noise of its readings. */
const MEMORY = { start: 80e6, warm: 20e6, noise: 8e6 };
const READ_EVERY_SECONDS = 2;
/**
 * Durations do not count for this long after a process has begun to serve, in addition to the second in which its first request is
 * reported.
 */
const SETTLE_SECONDS = 3;
/** The time from the second of a verdict until the balancers follow it: the report, the check and the snapshot. */
const REACTION_SECONDS = 2;
/** Instances of the generation in service, one of them restarted together with the canary. */
const INSTANCES = 9;
/** A deploy with nothing in service ends after this many seconds, unless the release seems to be broken. */
const ALONE_SECONDS = 5;

export const JUDGE_SECONDS = 60;
export const CANARY_PERCENT = 10;

const ROUTE = "reads /";
const CLASSES = [ROUTE, "writes /"];
const EDGES = Array.from({ length: 330 }, (_, at) => 0.5 * 1.03 ** at);
/** A random duration is the middle of one of this many equally likely parts of its distribution. */
const PARTS = 8192;

const known = new Map();

/** Returns the bucket of each part of the durations of a release. */
function partsOf(release) {
  const { factor = 1, tail = 1, slowest = 1, stretched = 1 } = release;
  const key = `${factor} ${tail} ${slowest} ${stretched}`;
  if (!known.has(key)) known.set(key, newParts({ factor, tail, slowest, stretched }));
  return known.get(key);
}

const P90 = 1.2816;
const P99 = 2.3263;

/**
 * A lognormal distribution. `factor` changes all durations; `tail` the 99th percentile, and other durations less, and the median not at
 * all; `slowest` the slowest tenth; `stretched` the 99th percentile, and durations below the 90th percentile not at all.
 */
function newParts({ factor, tail, slowest, stretched }) {
  const sigma = SIGMA + Math.log(tail) / P99;
  return Uint16Array.from({ length: PARTS }, (_, at) => {
    const z = normalQuantile((at + 0.5) / PARTS);
    const above = z > P90 ? slowest * stretched ** ((z - P90) / (P99 - P90)) : 1;
    const ms = above * factor * MEDIAN_MS * Math.exp(sigma * z);
    const bucket = Math.floor(Math.log(ms / 0.5) / Math.log(1.03));
    return Math.max(0, Math.min(EDGES.length - 2, bucket));
  });
}

/** The inverse of the normal distribution, by bisection of a series for the error function (Abramowitz and Stegun 26.2.17). */
function normalQuantile(share) {
  let low = -8;
  let high = 8;
  for (let step = 0; step < 50; step++) {
    const middle = (low + high) / 2;
    if (normal(middle) < share) low = middle;
    else high = middle;
  }
  return low;
}

function normal(x) {
  const t = 1 / (1 + 0.2316419 * Math.abs(x));
  const series = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  const upper = (Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)) * series;
  return x >= 0 ? 1 - upper : upper;
}

class Side {
  requests = 0;
  errors = 0;
  resets = 0;
  counts = new Float64Array(EDGES.length - 1);

  constructor(random, release) {
    this.random = random;
    this.parts = partsOf(release);
    this.errorShare = release.errors ?? ERRORS;
  }

  /** @param isSettled whether durations count */
  serve(requests, isSettled) {
    this.requests += requests;
    this.errors += this.rare(requests, this.errorShare);
    this.resets += this.rare(requests, RESETS);
    if (!isSettled) return;
    for (let n = 0; n < requests; n++) this.counts[this.parts[(this.random() * PARTS) | 0]]++;
  }

  /** Returns how many of the requests are of a kind with this share. */
  rare(requests, share) {
    let found = -1;
    for (let at = 0; at <= requests; found++) at += 1 + Math.floor(Math.log(1 - this.random()) / Math.log(1 - share));
    return found;
  }
}

function armOf(sides, processes) {
  const sum = (key) => sides.reduce((all, side) => all + side[key], 0);
  const [first, ...others] = sides;
  const counts = first.counts.slice();
  for (const { counts: more } of others) for (const [at, count] of more.entries()) counts[at] += count;
  const durations = { [ROUTE]: { edges: EDGES, counts: [...counts] } };
  return {
    processes,
    requests: sum("requests"),
    errors: sum("errors"),
    resets: sum("resets"),
    open: 0,
    crashes: 0,
    durations,
  };
}

/**
 * Simulates one deploy of `release` under `rate` requests per second; `alone`: nothing is in service, so the canary gets all of them.
 * Returns what it comes to: "fail", "pass", "clear" (the time is over, and gross faults are excluded) or "untold"; the seconds until the
 * balancers followed, and the part of all requests until then that the canary got.
 */
export function deploy(core, release, rate, seed) {
  const { judge, canaryPercentNow, DEFAULT_LIMITS, isPointless, nextStep, LONGEST_FACTOR } = core;
  const { alone: isAlone = false } = release;
  const random = randomOf(seed);
  const canary = new Side(random, release);
  const old = new Side(random, {});
  const fresh = new Side(random, {});
  const memory = [];
  const noise = () => MEMORY.noise * (random() + random() + random() - 1.5);
  let judgement = { isDoubtful: false, isClear: false };
  let [dueToCanary, dueToFresh, all] = [0, 0, 0];
  const serve = (second, share) => {
    dueToCanary += rate * share;
    dueToFresh += (rate * (1 - share)) / INSTANCES;
    const [toCanary, toFresh] = [Math.floor(dueToCanary), Math.floor(dueToFresh)];
    dueToCanary -= toCanary;
    dueToFresh -= toFresh;
    const isSettled = second > SETTLE_SECONDS;
    canary.serve(toCanary, isSettled);
    fresh.serve(toFresh, isSettled);
    old.serve(rate - toCanary - toFresh, true);
    all += rate;
  };
  for (let second = 1; ; second++) {
    const elapsedMs = 1000 * (second - 1);
    const progress = { ...judgement, elapsedMs, rate };
    const share = isAlone ? 1 : canaryPercentNow(progress, CANARY_PERCENT, 1000 * JUDGE_SECONDS) / 100;
    serve(second, share);
    if (second % READ_EVERY_SECONDS === 0) {
      const warm = MEMORY.start + MEMORY.warm * (1 - Math.exp(-second / 15));
      const leaked = ((release.leakMbPerMinute ?? 0) / 60) * second * 1e6;
      memory.push({ atMs: 1000 * second, canaryBytes: warm + noise() + leaked, controlBytes: warm + noise() });
    }
    const evidence = {
      canary: armOf([canary], 1),
      control: armOf([old, fresh], INSTANCES),
      fresh: isAlone ? null : armOf([fresh], 1),
      memory,
      classes: CLASSES,
    };
    judgement = judge(evidence, DEFAULT_LIMITS, true);
    const { verdict, tests, isClear } = judgement;
    const seen = new Map([
      ["web", { ...judgement, tests: [], undecided: [], canaryRequests: canary.requests, isAlone }],
    ]);
    const isPastHope = second >= LONGEST_FACTOR * JUDGE_SECONDS || (second >= ALONE_SECONDS && isPointless(seen));
    const left = isPastHope ? "none" : second < JUDGE_SECONDS ? "some" : "over";
    const step = nextStep(seen, left, "promote");
    if (step.do === "wait") continue;
    const by = tests.filter((test) => test.verdict === verdict).map(({ name }) => name.split(" ")[0]);
    for (let more = 1; more <= REACTION_SECONDS; more++) serve(second + more, share);
    const end = verdict !== "wait" ? verdict : isClear ? "clear" : "untold";
    const seconds = second + REACTION_SECONDS;
    return { end, by, seconds, seen: canary.requests / all, requests: canary.requests };
  }
}
