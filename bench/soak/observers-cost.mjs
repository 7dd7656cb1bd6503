/**
 * The cost of observers and of access logs, measured in turns: CPU time per request of all processes of a fleet, in several states.
 *
 * Two fleets of one configuration differ by ±4 % as long as they run, because the addresses of their code and heaps are random. So the states
 * are those of one fleet, whose processes are warm and stay the same: without observers (`plain`), and with some. Requests with and without a
 * log line have different hosts of one length, and `accessLog.except` names one of them. Page and scrapes are attached and detached. So is the
 * terminal, by a gate between it and the control socket: the process of the terminal stays the same, as if somebody watched for long. A
 * terminal that was just started compiles its code for a minute.
 *
 * The CPU time per request differs by several percent from one load to the next, because connections, batches and processors meet by chance.
 * So turns are short, and there are many. With `pinned`, balancers have one processor, instances and the load the others, which takes one
 * chance out. In each round the states take turns forwards, then backwards (A B C C B A), and another one begins each time, so that effects of
 * age and order cancel. A round yields the difference between a state and `plain`; the result is their mean without the highest and the lowest
 * tenth, since others may use the machine, with its standard error. `again` is `plain` once more: its difference must be 0 within its error, or
 * the measurement is wrong.
 *
 * Counted are balancers, instances, the supervisor with what it does for terminal, page and scrapes, and the terminal itself; not the browser,
 * the scraper, and the start of the terminal.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { haproxyFleet, nginxFleet } from "../support/contestants/proxies.mjs";
import { untilServing } from "../support/launch.mjs";
import { keepAliveLoad } from "../support/load.mjs";
import { sum, trimmedMeanAndError } from "../support/medians.mjs";
import { cpuBetween, cpuSnapshot, pin, tree } from "../support/processes.mjs";
import { endsWithProgram, freePort, PACELINE, startFleet, verdict, wait } from "./support.mjs";

const MOST_PERCENT = 3;
const SCRAPE_EVERY_SECONDS = 5;
/** How long newly attached observers are under load before they are measured, in seconds. */
const SETTLE_SECONDS = 1;
/** Lines are written this long after their requests. */
const LATE_MS = 200;
/** The time in which a new terminal compiles most of its code, in seconds. */
const WARM_SECONDS = 30;
/** The share of the rounds that is left out at either end. */
const TRIMMED = 0.1;
/** An observer that shows nothing within this time, or does not end, is an error. */
const TIMEOUT_MS = 20_000;
const MIN_LINE_BYTES = 30;
/** The hosts of requests that the access log writes, and of those that it omits. */
const LOGGED = "noted.test";
const OMITTED = "plain.test";
const KINDS = ["balancers", "instances", "supervisor", "terminal"];

/** The states of a fleet: the attached observers, and whether requests are logged. */
const STATES = {
  plain: {},
  again: {},
  log: { isLogged: true },
  terminal: { observers: ["terminal"] },
  page: { observers: ["page"] },
  scrape: { observers: ["scrape"] },
  all: { observers: ["terminal", "page", "scrape"], isLogged: true },
};

/** Other proxies, each compared with itself without a log. They do not switch their logs, so each is a fleet of its own. */
const PEERS = {
  nginx: () => nginxFleet(2, 1),
  "nginx-log": (file) => nginxFleet(2, 1, `${file} combined`),
  "nginx-buffered": (file) => nginxFleet(2, 1, `${file} combined buffer=64k flush=1s`),
  haproxy: () => haproxyFleet(2, 1),
  "haproxy-log": (file) => haproxyFleet(2, 1, file),
};

/**
 * The observers of a fleet. Each returns a function that detaches it. A terminal also returns its process; a scrape, what it does during a
 * turn.
 */
const OBSERVERS = {
  async terminal({ gate }) {
    const pid = await gate.open();
    return { pids: () => [pid], end: () => gate.shut() };
  },
  async page({ runDirArgs }) {
    const socketPath = path.join(runDirArgs[1], "control.sock");
    const { url } = JSON.parse(await textOf({ socketPath, path: "/v1/page" }));
    const { port, hash } = new URL(url);
    const headers = { authorization: `Bearer ${hash.replace("#token=", "")}` };
    // As the page does when it opens; afterwards it follows the stream.
    await textOf({ port, path: "/v1/history?zoom=seconds", headers });
    const request = http.get({ host: "127.0.0.1", port, path: "/v1/stream", headers, agent: false });
    const [response] = await once(request, "response", { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (response.statusCode !== 200) throw new Error(`the page's stream responds with ${response.statusCode}`);
    response.on("error", () => {}).resume();
    return { pids: () => [], end: async () => request.destroy() };
  },
  async scrape({ adminPort, scrapes }) {
    const during = async (seconds) => {
      for (scrapes.due += seconds / SCRAPE_EVERY_SECONDS; scrapes.due >= 1; scrapes.due--)
        await textOf({ port: adminPort, path: "/metrics" });
    };
    return { pids: () => [], end: async () => {}, during };
  },
};

/** A terminal whose connections to the supervisor can be cut and allowed again. While they are cut, it tries once a second. */
class TerminalGate {
  #isOpen = false;
  #emulator;
  #sockets = new Set();
  #server;

  /** @param folder has the socket that the terminal finds. @param socketPath the supervisor's */
  constructor(folder, socketPath) {
    this.folder = folder;
    this.#server = net
      .createServer((client) => this.#serve(client, socketPath))
      .listen(path.join(folder, "control.sock"));
  }

  #serve(client, socketPath) {
    if (!this.#isOpen) return client.on("error", () => {}).destroy();
    const upstream = net.connect(socketPath);
    const pair = [client, upstream];
    for (const [at, socket] of pair.entries()) {
      this.#sockets.add(socket);
      const other = pair[1 - at];
      socket
        .on("error", () => {})
        .on("close", () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
      socket.pipe(other);
    }
  }

  /** Returns the terminal's process, once it shows the fleet. */
  async open() {
    this.#isOpen = true;
    const isNew = this.#emulator === undefined;
    this.#emulator ??= this.#start();
    for (const deadline = performance.now() + TIMEOUT_MS; this.#sockets.size === 0; await wait(50))
      if (performance.now() > deadline) throw new Error("the terminal did not connect");
    if (isNew) await wait(1000 * WARM_SECONDS);
    // Its own work is that of a terminal emulator.
    return tree(this.#emulator.pid).find((pid) => pid !== this.#emulator.pid);
  }

  #start() {
    const command = `stty cols 120 rows 40; exec sh ${PACELINE} top --run-dir ${this.folder}`;
    const emulator = endsWithProgram(
      spawn("script", ["-qfec", command, "/dev/null"], { stdio: ["pipe", "pipe", "ignore"] }),
    );
    emulator.stdout.resume();
    return emulator;
  }

  async shut() {
    this.#isOpen = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  async end() {
    await this.shut();
    this.#server.close();
    if (this.#emulator === undefined) return;
    this.#emulator.kill("SIGTERM");
    await once(this.#emulator, "exit", { signal: AbortSignal.timeout(TIMEOUT_MS) });
  }
}

function textOf(options) {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: "127.0.0.1", agent: false, ...options }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
      });
      response.on("end", () => resolve(text)).on("error", reject);
    });
    request.on("error", reject);
  });
}

/** Returns the states in the order of a round: forwards and backwards, from another one each time. */
function turnsOf(names, round) {
  const first = round % names.length;
  const forwards = [...names.slice(first), ...names.slice(0, first)];
  return [...forwards, ...forwards.toReversed()];
}

/**
 * Returns the CPU time per request of each state in each round, in microseconds by kind of process.
 * @param states by name: the port, the host of its requests, `enter()`, which returns whether the state must settle, `pids()` by kind,
 * `during(seconds)`, and `check(requests)`
 * @param options `cpus`: the processors of the load
 */
async function inTurns(states, { rounds, seconds, connections, target, cpus }, onRound = () => {}) {
  const names = Object.keys(states);
  const measure = async (name) => {
    const { port, host, enter, pids, during, check } = states[name];
    const how = { target, host, cpus };
    if (await enter()) await keepAliveLoad(port, SETTLE_SECONDS, connections, how);
    const before = Object.entries(pids()).map(([kind, some]) => [kind, some, cpuSnapshot(some)]);
    const [{ requests, failed }] = await Promise.all([keepAliveLoad(port, seconds, connections, how), during(seconds)]);
    await wait(LATE_MS);
    const costs = before.map(([kind, some, snapshot]) => {
      const { microseconds, changed } = cpuBetween(snapshot, cpuSnapshot(some));
      if (changed > 0) throw new Error(`a process of the ${kind} has exited`);
      return [kind, microseconds / requests];
    });
    if (failed > 0) throw new Error(`${failed} requests failed`);
    check(requests);
    return { ...Object.fromEntries(costs), all: sum(costs.map(([, cost]) => cost)), rate: requests / seconds };
  };
  // The first turn of each state compiles its code, and is not counted.
  for (const name of names) await measure(name);
  const found = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const turns = Object.fromEntries(names.map((name) => [name, []]));
    for (const name of turnsOf(names, round)) turns[name].push(await measure(name));
    for (const name of names) found[name].push(meanOf(turns[name]));
    onRound(round, Object.fromEntries(names.map((name) => [name, found[name].at(-1).all])));
  }
  return found;
}

/** Returns the mean of each figure. */
function meanOf(samples) {
  return Object.fromEntries(
    Object.keys(samples[0]).map((figure) => [figure, sum(samples.map((each) => each[figure])) / samples.length]),
  );
}

/** Measures observers and the access log of one fleet. */
export async function costOfObservers({ runtime, log, states: wanted, pinned, ...options }) {
  const unknown = wanted.find((name) => !Object.hasOwn(STATES, name));
  if (unknown !== undefined) throw new Error(`${unknown} is not one of ${Object.keys(STATES).join(", ")}`);
  const folder = mkdtempSync(path.join(tmpdir(), "paceline-observers-"));
  const file = path.join(folder, "access.log");
  const adminPort = await freePort();
  const accessLog = { except: [`${OMITTED}/`], ...(log !== "output" && { file, format: log }) };
  const admin = { listen: `127.0.0.1:${adminPort}` };
  const fleet = await startFleet(2, { runtime, admin, balancer: { accessLog } });
  const gate = new TerminalGate(folder, path.join(fleet.runDirArgs[1], "control.sock"));
  const scrapes = { due: 0 };
  const attached = new Map();
  const enter = async (observers) => {
    for (const [name, { end }] of attached) {
      if (observers.includes(name)) continue;
      attached.delete(name);
      await end();
    }
    const added = observers.filter((name) => !attached.has(name));
    for (const name of added) attached.set(name, await OBSERVERS[name]({ ...fleet, adminPort, gate, scrapes }));
    if (log !== "output") truncateSync(file);
    return added.length > 0;
  };
  const during = (seconds) => Promise.all([...attached.values()].map((observer) => observer.during?.(seconds)));
  try {
    // Asked once, because the supervisor measures more while somebody asks. It reads its processes' memory (PSS) every 15 s for up to a minute
    // after an observer has left, which counts for the next state: 0.03 %.
    const { pid, pools, balancers } = await fleet.control();
    const pids = () => ({
      balancers: balancers.map((each) => each.pid),
      instances: pools.flatMap(({ instances }) => instances.map((each) => each.pid)),
      supervisor: [pid],
      terminal: [...attached.values()].flatMap((observer) => observer.pids()),
    });
    const others = availableParallelism() > 2 ? `1-${availableParallelism() - 1}` : "1";
    if (pinned) for (const { pid } of balancers) pin(pid, "0");
    if (pinned) for (const each of pids().instances) pin(each, others);
    const states = Object.entries(STATES).filter(([name]) => name === "plain" || wanted.includes(name));
    const found = await inTurns(
      Object.fromEntries(
        states.map(([name, { observers = [], isLogged = false }]) => {
          const check = (requests) => {
            const bytes = log === "output" ? undefined : statSync(file).size;
            if (bytes !== undefined && bytes > requests * MIN_LINE_BYTES !== isLogged)
              throw new Error(`${name}: ${bytes} bytes of log for ${requests} requests`);
          };
          const host = isLogged ? LOGGED : OMITTED;
          return [name, { port: fleet.port, host, enter: () => enter(observers), pids, during, check }];
        }),
      ),
      { ...options, cpus: pinned ? others : undefined },
      sayRound,
    );
    sayCosts(found, () => "plain");
  } finally {
    await enter([]).catch(() => {});
    await gate.end().catch(() => {});
    await fleet.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Measures the access logs of other proxies, over fleets that are started anew. */
export async function costOfPeerLogs({ fleets, peers: wanted, ...options }) {
  const baseOf = (name) => name.split("-")[0];
  const names = Object.keys(PEERS).filter((name) => wanted.some((each) => name === each || name === baseOf(each)));
  const found = Object.fromEntries(names.map((name) => [name, []]));
  for (let nth = 0; nth < fleets; nth++) {
    const folder = mkdtempSync(path.join(tmpdir(), "paceline-observers-"));
    const running = [];
    try {
      const states = {};
      for (const name of names) {
        const own = path.join(folder, name);
        mkdirSync(own);
        const peer = await PEERS[name](path.join(folder, `${name}.log`)).start(own);
        running.push(peer);
        await untilServing(peer.port);
        const isInstance = (pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("bun-server.mjs");
        const all = peer.pids();
        const pids = { balancers: all.filter((pid) => !isInstance(pid)), instances: all.filter(isInstance) };
        const check = () => {
          for (const each of readdirSync(folder)) if (each.endsWith(".log")) truncateSync(path.join(folder, each));
        };
        states[name] = { port: peer.port, enter: async () => false, pids: () => pids, during: async () => {}, check };
      }
      const costs = await inTurns(states, options);
      for (const name of names) found[name].push(meanOf(costs[name]));
      sayRound(nth, Object.fromEntries(names.map((name) => [name, found[name].at(-1).all])));
    } finally {
      for (const peer of running) await peer.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  }
  sayCosts(found, baseOf);
}

function sayRound(round, costs) {
  const each = Object.entries(costs).map(([name, cost]) => `${name} ${cost.toFixed(2)}`);
  process.stdout.write(`round ${round + 1}: ${each.join(", ")} µs\n`);
}

/** Prints the cost of each state, and the differences between it and the state that `baseOf` names. */
function sayCosts(found, baseOf) {
  for (const [name, rounds] of Object.entries(found)) {
    const base = found[baseOf(name)];
    const own = meanOf(rounds);
    const kinds = KINDS.filter((kind) => own[kind] !== undefined);
    if (base === rounds) {
      const parts = kinds.map((kind) => `${kind} ${own[kind].toFixed(2)}`);
      const rate = Math.round(own.rate);
      process.stdout.write(`${name}: ${own.all.toFixed(2)} µs a request (${parts.join(", ")}), ${rate} a second\n`);
      continue;
    }
    const moreOf = (kind) =>
      trimmedMeanAndError(
        rounds.map((round, at) => round[kind] - base[at][kind]),
        TRIMMED,
      );
    const text = ({ mean, error }, digits = 3) => `${mean.toFixed(digits)} ± ${error.toFixed(digits)}`;
    const percent = moreOf("all");
    const unit = meanOf(base).all / 100;
    const share = { mean: percent.mean / unit, error: percent.error / unit };
    const parts = kinds.map((kind) => `${kind} ${text(moreOf(kind))}`);
    const line = `${name}: ${text(share, 2)} % more, ${text(moreOf("all"))} µs (${parts.join(", ")})`;
    if (name === "all") verdict(share.mean <= MOST_PERCENT, line);
    else if (name === "again") verdict(Math.abs(share.mean) <= 3 * share.error, line);
    else process.stdout.write(`       ${line}\n`);
  }
}
