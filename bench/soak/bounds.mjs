/**
 * Peers that want a process of ours to hold more and more: from a client, from an upstream, from an instance of ours that has
 * gone wrong, from an app that does not wait. Beside each of them the memory of every process stays where it is, an ordinary
 * client is answered as quickly as alone, and descriptors come back.
 *
 *   npm run soak:bounds -- --only chunks --seconds 20 --runtime node
 */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { APPS } from "./bounds/apps.mjs";
import { CLIENTS } from "./bounds/clients.mjs";
import { LANES } from "./bounds/lanes.mjs";
import { UPSTREAMS } from "./bounds/upstreams.mjs";
import { descriptors, p99OfOthers, rssMB, serveAlone, startFleet, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    seconds: { type: "string", default: "20" },
    runtime: { type: "string", default: "bun" },
  },
});
const SECONDS = Number(values.seconds);
/** Deadlines that the soak can wait for, and less than MOST_MB of what slow clients may have waiting. */
const LIMITS = {
  upstreamIdleTimeoutMs: 1000,
  upstreamResponseTimeoutMs: 5000,
  sendTimeoutMs: 3000,
  bodyTimeoutMs: 5000,
  maxBufferedBytes: 16 << 20,
};
/** What jobs take that wait is the app's own. */
const POOL_LIMITS = { bodyTimeoutMs: 5000, maxDeferredJobs: 10_000 };
const ALONE_SECONDS = 4;
const MOST_MB = 32;
/** Once the peers are gone, within this time: whoever is not read is missed when its time is over, three times the longest of those deadlines. */
const DESCRIPTORS_BACK_MS = 20_000;
/** What a process may keep open beyond what it had: connections that are kept for the next request. */
const KEPT_DESCRIPTORS = 20;

const here = (name) => fileURLToPath(new URL(`bounds/${name}`, import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "paceline-bounds-"));
writeFileSync(path.join(folder, "small.txt"), "small\n");

/** Reads what it is sent, and does not answer. */
const silent = http.createServer((request) => request.resume()).listen(0, "127.0.0.1");
await once(silent, "listening");

/** Every kind of pool that a peer can reach, each under its path. */
async function startAll() {
  const { runtime } = values;
  const fleet = await startFleet(1, {
    app: undefined,
    instances: undefined,
    runtime,
    pools: {
      web: { app: here("app.ts"), instances: 2, routes: ["/"], limits: POOL_LIMITS },
      handler: { app: here("handler.ts"), instances: 1, routes: ["/handler/"], limits: POOL_LIMITS },
      plain: {
        app: here("app.ts"),
        protocol: "http1",
        instances: 1,
        routes: ["/plain/"],
        stripPrefix: true,
        limits: POOL_LIMITS,
      },
      files: { static: folder, instances: 1, routes: ["/files/"] },
      python: { wsgi: "wsgi_app:app", cwd: here("."), instances: 1, routes: ["/wsgi/"] },
      program: { command: ["node", here("program.mjs"), "{socket}"], instances: 1, routes: ["/program/"] },
      few: { command: ["node", here("program.mjs"), "{socket}"], instances: 1, routes: ["/few/"], maxInFlight: 4 },
      elsewhere: { proxy: `http://127.0.0.1:${silent.address().port}`, instances: 1, routes: ["/elsewhere/"] },
    },
    balancer: { runtime, limits: LIMITS },
  });
  return {
    ...fleet,
    async processes() {
      const { pid, balancers, pools } = await fleet.control();
      const instances = pools.flatMap((pool) => pool.instances);
      return Object.fromEntries([
        ["supervisor", pid],
        ...[...balancers, ...instances].map((each) => [each.name, each.pid]),
      ]);
    },
  };
}

async function startAlone(scenario) {
  const alone = await serveAlone(
    scenario.alone.map((each) => each.replace("APP", here("app.ts")).replace("FOLDER", folder)),
    values.runtime,
  );
  return { ...alone, processes: async () => ({ serve: alone.pid }), ordinary: scenario.ordinary };
}

async function run(name, scenario) {
  const target = await (scenario.alone === undefined ? startAll() : startAlone(scenario));
  try {
    const { ordinary } = target;
    await scenario.prepare?.(target);
    await p99OfOthers(target.port, 2, ordinary);
    const pids = await target.processes();
    // What the ordinary clients alone make a process take goes up and down as its runtime collects.
    const { highest: before, stop: endAlone } = watch(pids);
    const alone = await p99OfOthers(target.port, ALONE_SECONDS, ordinary);
    endAlone();
    const { highest, series, stop: endWatching } = watch(pids);
    const stop = await scenario.start({ port: target.port, pids, runtime: values.runtime, target });
    await wait(500);
    const beside = await p99OfOthers(target.port, Math.max(SECONDS - 1, 2), ordinary);
    endWatching();
    await stop();
    const known = scenario.known?.[values.runtime] ?? {};
    report(name, known, { alone, beside, before, highest, series, unclosed: await unclosed(pids, before) });
  } finally {
    await target.stop();
  }
}

/** Remembers the most that each process takes from now on, and what it takes each quarter of the time. */
function watch(pids) {
  const highest = measure(pids);
  const series = [measure(pids)];
  const timer = setInterval(() => {
    const now = measure(pids);
    series.push(now);
    for (const [process, { mb }] of Object.entries(now)) highest[process].mb = Math.max(highest[process].mb, mb);
  }, 100);
  return { highest, series, stop: () => clearInterval(timer) };
}

function measure(pids) {
  return Object.fromEntries(
    Object.entries(pids).map(([name, pid]) => {
      try {
        return [name, { mb: rssMB(pid), files: descriptors(pid) }];
      } catch {
        return [name, { mb: Number.POSITIVE_INFINITY, files: 0 }];
      }
    }),
  );
}

/** The processes that have not closed their descriptors in time. */
async function unclosed(pids, before) {
  for (const deadline = Date.now() + DESCRIPTORS_BACK_MS; ; await wait(200)) {
    const now = measure(pids);
    const open = Object.keys(pids).filter((name) => now[name].files > before[name].files + KEPT_DESCRIPTORS);
    if (open.length === 0 || Date.now() > deadline)
      return open.map((name) => `${name} has ${now[name].files - before[name].files} more`);
  }
}

/** A process's memory at five instants of the run, in MB: what is held stays, what is garbage goes up and down. */
function courseOf(series, process) {
  const at = [0, 0.25, 0.5, 0.75, 1].map((part) => series[Math.round(part * (series.length - 1))][process].mb);
  return at.map((mb) => mb.toFixed(0)).join(" ");
}

function report(name, known, { alone, beside, before, highest, series, unclosed }) {
  const grown = Object.keys(before).map((process) => [process, highest[process].mb - before[process].mb]);
  grown.sort((a, b) => b[1] - a[1]);
  const told = grown
    .slice(0, 3)
    .map(
      ([process, mb]) =>
        `${process} ${mb === Number.POSITIVE_INFINITY ? "DIED" : `+${mb.toFixed(1)} MB (${before[process].mb.toFixed(0)}: ${courseOf(series, process)})`}`,
    );
  verdict(
    grown.every(([, mb]) => mb < MOST_MB),
    `${name}: ${told.join(", ")}`,
    known.memory,
  );
  verdict(
    beside.p99Ms > 0 && beside.p99Ms <= 2 * alone.p99Ms + 5 && beside.failed === undefined,
    `${name}: p99 of the others ${alone.p99Ms.toFixed(1)} ms without it, ${beside.p99Ms.toFixed(1)} ms beside it ${beside.failed ?? ""}`,
  );
  verdict(unclosed.length === 0, `${name}: descriptors are closed again ${unclosed.join(", ")}`, known.descriptors);
}

try {
  const scenarios = { ...CLIENTS, ...UPSTREAMS, ...LANES, ...APPS };
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (
      values.only.split(",").some((part) => name.includes(part)) &&
      !(scenario.runtimes?.includes(values.runtime) === false)
    )
      await run(name, scenario);
  }
} finally {
  silent.close();
  silent.closeAllConnections();
  rmSync(folder, { recursive: true, force: true });
}
