/** One history of the chaos soak: starts a fleet, lets things happen to it under load, and checks what it has become. */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { controlStatus, freePort, PACELINE, wait } from "../support.mjs";
import { actAtRandom, fillDisk } from "./actions.mjs";
import { startClients } from "./clients.mjs";
import { reasonOf } from "./reasons.mjs";

const CONVERGES_WITHIN_MS = 60_000;
const STOPS_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 50;
/** Longest pause between two actions; many follow one another at once. */
const MAX_PAUSE_MS = 1500;

export async function runHistory({ number, random, runtime, steps }) {
  const history = await History.begin(random, runtime);
  try {
    for (let step = 0; step < steps; step++) {
      await history.act();
      if (random() < 0.7) await wait(random() * MAX_PAUSE_MS);
    }
    await history.converge();
    await history.end();
  } catch (error) {
    history.problems.push(`${error.message} (history ${number})`);
  } finally {
    await history.clear();
  }
  return history.result();
}

class History {
  problems = [];
  actions = [];
  /** What was done to whom, and when, by Date.now(). */
  marks = [];
  /** What ends by itself, such as a stop. */
  pending = new Set();
  withoutSockets = false;
  wasFull = false;
  startedAt = Date.now();

  static async begin(random, runtime) {
    const history = new History();
    Object.assign(history, { random, runtime, wanted: 3 });
    history.folder = mkdtempSync(path.join(tmpdir(), "paceline-chaos-"));
    history.runDir = path.join(history.folder, "run");
    mkdirSync(history.runDir, { mode: 0o700 });
    history.hasSmallDisk = mountSmallDisk(history.runDir);
    history.port = await freePort();
    const app = new URL("app.mjs", import.meta.url).pathname;
    const config = {
      listen: `127.0.0.1:${history.port}`,
      balancer: { processes: random() < 0.5 ? 1 : 2, runtime },
      pools: {
        web: { app, instances: history.wanted, runtime, backoff: { initialMs: 20, maxMs: 200 }, minReadyMs: 50 },
      },
    };
    history.balancers = config.balancer.processes;
    history.configFile = path.join(history.folder, "paceline.config.json");
    writeFileSync(history.configFile, JSON.stringify(config));
    const started = await history.start();
    if (started.code !== 0) throw new Error(`the start failed: ${started.output}`);
    history.clients = startClients(history.port);
    return history;
  }

  command(...args) {
    return new Promise((resolve) => {
      const options = {
        cwd: this.folder,
        timeout: CONVERGES_WITHIN_MS,
        env: { ...process.env, PACELINE_RUNTIME: this.runtime },
      };
      execFile("sh", [PACELINE, ...args, "--run-dir", this.runDir], options, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : (error.code ?? -1), output: `${stdout}${stderr}`.trim() }),
      );
    });
  }

  start() {
    return this.command("start", this.configFile, "--detach");
  }

  status() {
    return controlStatus(path.join(this.runDir, "control.sock")).catch(() => undefined);
  }

  note(text) {
    this.actions.push(`${((Date.now() - this.startedAt) / 1000).toFixed(2)} s: ${text}`);
  }

  async act() {
    const { random } = this;
    await actAtRandom({
      random,
      kill: (role) => this.signal(role, "SIGKILL"),
      stop: (role, forMs) => this.stopFor(role, forMs),
      operate: (...words) => this.operate(...words),
      fill: (forMs) => this.fill(forMs),
    });
  }

  /** Signals a random process of this role. Returns its mark; undefined if there is none. */
  signal(role, signal) {
    const candidates = this.processes().filter((one) => one.role === role);
    const one = candidates[Math.floor(this.random() * candidates.length)];
    if (one === undefined) return undefined;
    try {
      process.kill(one.pid, signal);
    } catch {
      return undefined; // It has ended meanwhile.
    }
    this.note(`${signal} to ${one.name} (${one.pid})`);
    const mark = { what: signal === "SIGKILL" ? "kill" : "stop", role, name: one.name, pid: one.pid, at: Date.now() };
    this.marks.push(mark);
    const left = this.processes().filter(({ role }) => role !== "instance");
    if (left.length === 0) this.withoutSockets = true;
    // An operator who comes sooner or later; for this fleet a balancer may be quicker.
    if (role === "supervisor" && mark.what === "kill" && this.random() < 0.5)
      this.startLater(this.random() * MAX_PAUSE_MS);
    return mark;
  }

  startLater(ms) {
    this.isDone(
      wait(ms)
        .then(() => this.start())
        .then(({ code, output }) => this.note(`start ended ${code}: ${output.split("\n").at(-1)}`)),
    );
  }

  stopFor(role, forMs) {
    const mark = this.signal(role, "SIGSTOP");
    if (mark === undefined) return;
    mark.until = Number.POSITIVE_INFINITY;
    this.isDone(
      wait(forMs).then(() => {
        mark.until = Date.now();
        try {
          process.kill(mark.pid, "SIGCONT");
        } catch {
          // It was killed while it was stopped.
        }
      }),
    );
  }

  operate(name, value) {
    this.note(`${name} ${value ?? ""}`);
    const args = name === "scale" ? ["scale", "web", `${value}`] : [name];
    this.isDone(
      this.command(...args).then(({ code, output }) => {
        this.note(`${name} ended ${code}: ${output.split("\n").at(-1)}`);
        // A command that failed may or may not have been carried out.
        if (name === "scale") this.wanted = code === 0 ? value : undefined;
      }),
    );
  }

  fill(forMs) {
    if (!this.hasSmallDisk) return;
    this.note(`the disk of the run directory is full for ${Math.round(forMs)} ms`);
    // A supervisor that ends before it could write its state is followed by one with an older state, as its event says.
    this.wasFull = true;
    this.isDone(fillDisk(this.runDir, forMs));
  }

  isDone(promise) {
    this.pending.add(promise);
    promise.finally(() => this.pending.delete(promise));
  }

  /** Every process of the fleet, found by its environment or its command line. */
  processes() {
    const found = [];
    for (const entry of readdirSync("/proc")) {
      if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
      const environment = read(`/proc/${entry}/environ`);
      const line = read(`/proc/${entry}/cmdline`);
      const state = /^\d+ \(.*\) (\S)/s.exec(read(`/proc/${entry}/stat`))?.[1];
      if (state === undefined || state === "Z" || state === "X") continue;
      const pool = /(?:^|\0)PACELINE_POOL=([^\0]*)/.exec(environment)?.[1];
      const name = /(?:^|\0)PACELINE_INSTANCE=([^\0]*)/.exec(environment)?.[1];
      if (environment.includes(`${this.runDir}/channel.sock`) && pool !== undefined)
        found.push({ pid: Number(entry), role: pool === "balancer" ? "balancer" : "instance", name: name ?? pool });
      else if (
        line.startsWith("paceline supervisor") &&
        (line.includes(this.runDir) || environment.includes(this.runDir))
      )
        found.push({ pid: Number(entry), role: "supervisor", name: "supervisor" });
    }
    return found;
  }

  /** Waits until everything is as wanted. An operator starts the fleet if nobody else does. */
  async converge() {
    await Promise.all(this.pending);
    const since = Date.now();
    let what = "";
    let tries = 0;
    for (;;) {
      const status = await this.status();
      what = status === undefined ? "there is no supervisor" : this.difference(status);
      if (what === "") break;
      if (Date.now() - since > CONVERGES_WITHIN_MS) throw new Error(`it did not converge: ${what}`);
      if (status === undefined && Date.now() - since > 3000) {
        const { code, output } = await this.start();
        if (code === 0 || tries++ === 0) this.note(`start by hand ended ${code}: ${output.split("\n").at(-1)}`);
      }
      await wait(LOOK_EVERY_MS);
    }
    this.convergedAfterMs = Date.now() - since;
    this.note(`converged after ${this.convergedAfterMs} ms`);
    await this.clients.haveAllServed(5000).catch(({ message }) => this.problems.push(message));
  }

  /** Returns what is not as wanted; empty if all is. */
  difference({ pools, balancers, pid }) {
    const slots = [...pools.flatMap(({ instances }) => instances), ...balancers];
    const [web] = pools;
    if (web === undefined) return "there is no pool";
    if (this.wanted !== undefined && !this.wasFull && web.wanted !== this.wanted)
      return `web wants ${web.wanted}, not ${this.wanted}`;
    if (web.instances.length !== web.wanted) return `web has ${web.instances.length} of ${web.wanted} slots`;
    if (balancers.length !== this.balancers) return `${balancers.length} of ${this.balancers} balancers`;
    const unready = slots.filter(({ state, other }) => state !== "ready" || other !== null);
    if (unready.length > 0)
      return unready.map(({ name, state, other }) => `${name} ${state} ${JSON.stringify(other)}`).join(", ");
    if (web.rollout !== null) return `a rollout goes on: ${JSON.stringify(web.rollout)}`;
    const known = new Set([pid, ...slots.map((slot) => slot.pid)]);
    const unknown = this.processes().filter((one) => !known.has(one.pid));
    return unknown.map((one) => `${one.name} (${one.pid}) is left over`).join(", ");
  }

  async end() {
    const { lost, requests } = await this.clients.end();
    this.requests = requests;
    const context = {
      marks: this.marks,
      withoutSockets: this.withoutSockets,
      instances: Math.min(this.wanted ?? 1, 3),
    };
    this.lost = lost.map((failure) => ({ ...failure, reason: reasonOf(failure, context) }));
    const unexplained = this.lost.filter(({ reason }) => reason === undefined);
    const at = (time) => ((time - this.startedAt) / 1000).toFixed(2);
    for (const { kind, connectedAt, startedAt, endedAt } of unexplained.slice(0, 5)) {
      const when = `connected at ${at(connectedAt)}, sent at ${at(startedAt)}, ended at ${at(endedAt)} s`;
      this.problems.push(`one of ${unexplained.length} requests lost without a reason: ${kind}, ${when}`);
    }
    const stopped = await this.command("stop");
    if (stopped.code !== 0) this.problems.push(`stop ended ${stopped.code}: ${stopped.output}`);
    const since = Date.now();
    while (this.processes().length > 0 && Date.now() - since < STOPS_WITHIN_MS) await wait(LOOK_EVERY_MS);
    for (const { name, pid } of this.processes()) this.problems.push(`${name} (${pid}) is left after the stop`);
    for (const name of ["control.sock", "channel.sock"])
      if (existsSync(path.join(this.runDir, name))) this.problems.push(`${name} is left after the stop`);
  }

  /** Ends what is left, and frees the disk. */
  async clear() {
    await this.clients?.end();
    for (const { pid } of this.processes())
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    if (this.problems.length > 0) this.actions.push(...lastLines(this.runDir));
    if (this.hasSmallDisk) execFileSync("umount", ["-l", this.runDir]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  result() {
    const { problems, actions, lost = [], requests = 0, convergedAfterMs } = this;
    return { problems, actions, lost, requests, convergedAfterMs };
  }
}

function read(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // The process has ended, or is another user's.
  }
}

/** Returns the last lines of the fleet's log, for a report. */
function lastLines(runDir) {
  return read(path.join(runDir, "log/paceline.log"))
    .trimEnd()
    .split("\n")
    .slice(-60)
    .map((line) => `log: ${line}`);
}

let saidWhyNot = false;

/** Puts the run directory on a small disk of its own, which only root can. */
function mountSmallDisk(folder) {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", folder], { stdio: "pipe" });
    return true;
  } catch (error) {
    if (!saidWhyNot) process.stdout.write(`no full disk: ${`${error.stderr}`.trim()}\n`);
    saidWhyNot = true;
    return false;
  }
}
