/**
 * Measures a Django project on several processes: memory when idle and after load, and CPU time per request, for Paceline and its peers,
 * each alone or all at once in turns.
 */
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { endLeftovers, freePort, run, SETTLE_MS, untilServing, WARM_UP_REQUESTS, wait } from "./launch.mjs";
import { median } from "./medians.mjs";
import { cpuBetween, cpuSnapshot, memory, tree } from "./processes.mjs";
import { PACELINE, ROOT } from "./programs.mjs";

const PROJECT = path.join(ROOT, "examples/django");
const APP = "mysite.wsgi:application";
const CLIENTS = 8;
/** In turns, each fleet gets few requests, so Bun must have compiled the balancer before that, which takes some 6,000 requests. */
const TURNS_WARM_UP_REQUESTS = 4 * WARM_UP_REQUESTS;
/** Memory is read after the effects of a load have settled. */
const REST_MS = 2000;

/** Each starts `count` processes and returns the first one. */
export const FLEETS = [
  { name: "paceline", start: paceline({}) },
  { name: "paceline, preload", start: paceline({ preload: true }) },
  // Without a balancer, like gunicorn and uWSGI here.
  { name: "paceline, direct", start: paceline({ mode: "direct" }) },
  { name: "gunicorn, sync", start: gunicorn([]), needs: "gunicorn" },
  { name: "gunicorn, sync, --preload", start: gunicorn(["--preload"]), needs: "gunicorn" },
  { name: "uWSGI, --master", start: uwsgi([]), needs: "uwsgi" },
  { name: "uWSGI, --master --lazy-apps", start: uwsgi(["--lazy-apps"]), needs: "uwsgi" },
];

function paceline(keys) {
  return ({ python, count, port, directory, environment }) => {
    const address = `127.0.0.1:${port}`;
    const pool = { wsgi: APP, python, cwd: PROJECT, instances: count, ...keys };
    const isDirect = keys.mode === "direct";
    const config = isDirect
      ? { pools: { web: { ...pool, bind: address } } }
      : { listen: address, pools: { web: pool } };
    writeFileSync(path.join(directory, "paceline.config.json"), JSON.stringify(config));
    const args = [PACELINE, "start", directory, "--log-format", "none", "--run-dir", path.join(directory, "run")];
    return run("sh", args, directory, environment);
  };
}

function gunicorn(more) {
  return ({ count, port, directory, environment }) => {
    const args = ["--workers", `${count}`, "--backlog", "1024", "--bind", `127.0.0.1:${port}`, "--chdir", PROJECT];
    return run("gunicorn", [...args, ...more, "--log-level", "critical", APP], directory, environment);
  };
}

function uwsgi(more) {
  return ({ count, port, directory, environment }) => {
    const args = ["--master", "--processes", `${count}`, "--http-socket", `127.0.0.1:${port}`, "--chdir", PROJECT];
    args.push("--module", APP, "--disable-logging", "--die-on-term", "--need-app", "--enable-threads");
    args.push("--logto", path.join(directory, "uwsgi.log"));
    // Debian packages each language as a plugin.
    if (existsSync("/usr/lib/uwsgi/plugins/python3_plugin.so")) args.unshift("--plugins", "python3");
    return run("uwsgi", [...args, ...more], directory, environment);
  };
}

/** Returns the processes that serve the app, with their template or master process; and the other processes of a Paceline fleet. */
function parts(pid) {
  const others = new Set();
  for (const each of tree(pid)) {
    const line = readFileSync(`/proc/${each}/cmdline`, "utf8");
    if (/^paceline (balancer|supervisor)\b|supervisor\/(bin|dist)/.test(line)) others.add(each);
  }
  return { serving: tree(pid).filter((each) => !others.has(each)), others: [...others] };
}

/** Sends `requests` for a page with a database query, each on a new connection, so that all processes get some. */
async function load(port, requests) {
  let left = requests;
  let failed = 0;
  const client = async () => {
    while (left-- > 0) {
      const request = http.get({ port, host: "127.0.0.1", agent: false });
      const [response] = await once(request, "response");
      if (response.statusCode !== 200) failed++;
      response.resume();
      await once(response, "end");
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return failed;
}

/** Starts a fleet in a separate folder, and returns it when it serves. */
async function started({ start }, { python, count }) {
  const directory = mkdtempSync(path.join(tmpdir(), "paceline-django-"));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  try {
    const port = await freePort();
    const environment = { DJANGO_DATA: directory, PYTHONDONTWRITEBYTECODE: "1" };
    const { pid } = start({ python, count, port, directory, environment });
    await untilServing(port);
    return { pid, port, remove };
  } catch (error) {
    await endLeftovers();
    remove();
    throw error;
  }
}

export async function measureDjango(fleet, { python, count, requests }) {
  const { pid, port, remove } = await started(fleet, { python, count });
  try {
    await wait(SETTLE_MS);
    const idle = parts(pid);
    const idleMB = memory(idle.serving).pssMB;
    const idleAllMB = idleMB + memory(idle.others).pssMB;
    let failed = await load(port, WARM_UP_REQUESTS);
    const before = [cpuSnapshot(idle.serving), cpuSnapshot(idle.others)];
    failed += await load(port, requests);
    const [servingUs, othersUs] = [idle.serving, idle.others].map(
      (pids, at) => cpuBetween(before[at], cpuSnapshot(pids)).microseconds / requests,
    );
    await wait(REST_MS);
    const after = parts(pid);
    const afterMB = memory(after.serving).pssMB;
    const afterAllMB = afterMB + memory(after.others).pssMB;
    return { processes: after.serving.length, idleMB, idleAllMB, afterMB, afterAllMB, servingUs, othersUs, failed };
  } finally {
    await endLeftovers();
    remove();
  }
}

/**
 * Has all fleets up at once and loads them in turns, so that a slow second of the machine hits all of them alike. Returns for each its CPU
 * time per request in microseconds, and the median of its ratio to the fleet `yardstick` in the same turn.
 */
export async function measureInTurns(fleets, { python, count, requests, turns, yardstick }) {
  const running = [];
  try {
    for (const fleet of fleets) running.push({ name: fleet.name, ...(await started(fleet, { python, count })) });
    for (const { port } of running) await load(port, TURNS_WARM_UP_REQUESTS);
    const samples = new Map(running.map(({ name }) => [name, []]));
    for (let turn = 0; turn < turns; turn++) {
      // Each turn begins with another fleet, because a fleet finds the CPU caches as the previous one leaves them.
      for (let place = 0; place < running.length; place++) {
        const { name, pid, port } = running[(turn + place) % running.length];
        samples.get(name).push(await costOf(pid, port, requests));
      }
    }
    const ofYardstick = samples.get(yardstick);
    return running.map(({ name }) => {
      const own = samples.get(name);
      const ratios = own.map((sample, turn) => sample.allUs / ofYardstick[turn].allUs);
      return {
        name,
        servingUs: median(own.map((sample) => sample.servingUs)),
        othersUs: median(own.map((sample) => sample.othersUs)),
        ratio: median(ratios),
        failed: own.reduce((sum, sample) => sum + sample.failed, 0),
      };
    });
  } finally {
    await endLeftovers();
    for (const { remove } of running) remove();
  }
}

async function costOf(pid, port, requests) {
  const { serving, others } = parts(pid);
  const before = [cpuSnapshot(serving), cpuSnapshot(others)];
  const failed = await load(port, requests);
  const [servingUs, othersUs] = [serving, others].map(
    (pids, at) => cpuBetween(before[at], cpuSnapshot(pids)).microseconds / requests,
  );
  return { servingUs, othersUs, allUs: servingUs + othersUs, failed };
}
