/** One history of the chaos soak: starts a fleet, disturbs it under load, and checks its final state. */
import { execFile, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { controlStatus, freePort, PACELINE, wait } from "../support.mjs";
import { actAtRandom, fillDisk, mountSmallDisk } from "./actions.mjs";
import { startClients } from "./clients.mjs";
import { differenceOf, ledgerProblems } from "./outcome.mjs";
import { choosePools } from "./pools.mjs";
import { findProcesses, lastLines, surroundingsOf } from "./processes.mjs";
import { reasonOf } from "./reasons.mjs";

const CONVERGES_WITHIN_MS = 60_000;
const STOPS_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 50;
/** The longest pause between two actions; many follow one another immediately. */
const MAX_PAUSE_MS = 1500;
/** Connections that wait to be accepted while the balancers are replaced. */
const WAITING = 3;
/** What a start may print when it does not start anything. */
const REFUSALS = /already running (\(pid \d+\)|in .* does not respond)/;

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
  /** What was done to which process, and when (Date.now()). */
  marks = [];
  /** Actions that finish by themselves, such as a stop. */
  pending = new Set();
  /** The number of actions on the fleet: signals, operations, starts, and times without disk space. */
  deeds = 0;
  /** The length of each period in which a balancer was to start the supervisor. */
  withoutSupervisorMs = [];
  killed = new Set();
  /** The balancers that were ready when a supervisor was last asked. */
  ready = new Set();
  /** Whether a supervisor is known to hold the listening sockets. */
  isHeld = true;
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
    const config = {
      listen: `127.0.0.1:${history.port}`,
      balancer: { processes: random() < 0.5 ? 1 : 2, runtime },
      restartSupervisor: random() < 0.5,
      pools: choosePools({ folder: history.folder, random, runtime, instances: history.wanted }),
    };
    history.pools = config.pools;
    history.restartsSupervisor = config.restartSupervisor;
    const whoStarts = config.restartSupervisor ? "which start a supervisor" : "";
    history.note(`${config.balancer.processes} balancers ${whoStarts}, pools ${Object.keys(config.pools).join(", ")}`);
    history.balancers = config.balancer.processes;
    history.configFile = path.join(history.folder, "paceline.config.json");
    writeFileSync(history.configFile, JSON.stringify(config));
    const started = await history.start();
    if (started.code !== 0) throw new Error(`the start failed: ${started.output}`);
    void history.watch();
    history.clients = startClients(history.port, config.pools);
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

  async start() {
    this.deeds++;
    const result = await this.command("start", this.configFile, "--detach");
    if (result.code > 0 && !REFUSALS.test(result.output) && !this.wasFull)
      this.note(`start said ${result.code}: ${result.output.split("\n").slice(0, 3).join(" / ")}`);
    return result;
  }

  status() {
    return controlStatus(path.join(this.runDir, "control.sock")).catch(() => undefined);
  }

  /** Detects when a supervisor runs again, with a balancer that accepts connections. */
  async watch() {
    for (; !this.isOver; await wait(LOOK_EVERY_MS)) {
      const status = await this.status();
      if (status === undefined || this.killed.has(status.pid)) continue;
      const { lostAt } = this;
      if (lostAt !== undefined) {
        this.note(`another supervisor after ${Date.now() - lostAt} ms`);
        if (this.restartsSupervisor) this.withoutSupervisorMs.push(Date.now() - lostAt);
        this.lostAt = undefined;
      }
      const ready = status.balancers.filter(({ state, pid }) => state === "ready" && !this.killed.has(pid));
      this.ready = new Set(ready.map(({ pid }) => pid));
      if (ready.length === 0) continue;
      this.isHeld = true;
      for (const mark of this.marks) if (mark.what.startsWith("without ")) mark.until ??= Date.now();
    }
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
      startWhileStopped: (forMs) => this.startWhileStopped(forMs),
      killStart: (afterMs) => this.killStart(afterMs),
      replaceBehindWaiting: (withSupervisor) => this.isDone(this.replaceBehindWaiting(withSupervisor)),
      killLater: () => this.killLater(),
    });
  }

  /** Kills a process of any kind during a rollout. */
  killLater() {
    const role = ["supervisor", "instance", "instance", "balancer"][Math.floor(this.random() * 4)];
    this.isDone(wait(this.random() * 800).then(() => this.signal(role, "SIGKILL")));
  }

  /** A stopped supervisor still holds its lock: a start prints one clear line about that. */
  startWhileStopped(forMs) {
    const mark = this.stopFor("supervisor", forMs);
    if (mark === undefined) return;
    this.isDone(
      this.start().then(({ code, output }) => {
        this.note(`start beside a stopped supervisor ended ${code}: ${output}`);
        if (code === 0 || mark.until !== Number.POSITIVE_INFINITY || this.killed.has(mark.pid)) return;
        if (!REFUSALS.test(output) || output.includes("\n"))
          this.problems.push(`start beside a stopped supervisor ended ${code}: ${output}`);
      }),
    );
  }

  /** Kills the supervisor, and then the command that starts the next one. */
  killStart(afterMs) {
    if (this.signal("supervisor", "SIGKILL") === undefined) return;
    const child = spawn("sh", [PACELINE, "start", this.configFile, "--detach", "--run-dir", this.runDir], {
      ...{ cwd: this.folder, env: { ...process.env, PACELINE_RUNTIME: this.runtime } },
      ...{ stdio: "ignore", detached: true },
    });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    this.isDone(
      wait(afterMs).then(() => {
        this.deeds++;
        this.note(`kills a start after ${Math.round(afterMs)} ms`);
        try {
          process.kill(-child.pid, "SIGKILL");
        } catch {
          // It has exited.
        }
        return ended;
      }),
    );
  }

  /** Connections wait to be accepted while their balancers are replaced, and before that the supervisor. */
  async replaceBehindWaiting(withSupervisor) {
    if (withSupervisor) {
      if (this.signal("supervisor", "SIGKILL", 1) === undefined) return;
      const { code } = await this.start();
      if (code !== 0) return;
    }
    const group = `waiting ${this.marks.length}`;
    const balancers = this.processes().filter(({ role }) => role === "balancer");
    for (const one of balancers) this.signalOne(one, "SIGSTOP", { group, until: Number.POSITIVE_INFINITY });
    const isStopped = ({ pid }) => this.processes().every((one) => one.pid !== pid || one.isStopped);
    const since = Date.now();
    while (!balancers.every(isStopped) && Date.now() - since < 1000) await wait(2);
    const { done } = await this.clients.connect(WAITING, group);
    for (const one of balancers) this.signalOne(one, "SIGKILL", { group });
    for (const mark of this.marks) if (mark.group === group) mark.until = Date.now();
    await done;
  }

  /** Sends a signal to a random process with this role. Returns its mark; undefined if there is no such process. */
  signal(role, signal, startChance = 0.5) {
    const candidates = this.processes().filter((one) => one.role === role && !this.killed.has(one.pid));
    const one = candidates[Math.floor(this.random() * candidates.length)];
    if (one === undefined) return undefined;
    const mark = this.signalOne(one, signal);
    // An operator who intervenes sooner or later.
    if (role === "supervisor" && mark?.what === "kill" && startChance < 1 && this.random() < startChance)
      this.startLater(this.random() * MAX_PAUSE_MS);
    return mark;
  }

  signalOne({ pid, role, name, pool }, signal, more = {}) {
    try {
      process.kill(pid, signal);
    } catch {
      return undefined; // It has exited in the meantime.
    }
    this.note(`${signal} to ${name} (${pid})`);
    this.deeds++;
    const what = signal === "SIGKILL" ? "kill" : "stop";
    // Forked processes have the name of their template.
    const slot = name.endsWith(".template") ? `${name} ${pid}` : name;
    const mark = { what, role, name, pool, slot, pid, at: Date.now(), ...more };
    this.marks.push(mark);
    if (what === "kill") {
      this.killed.add(pid);
      if (role === "supervisor") {
        this.isHeld = false;
        this.lostAt = Date.now();
      }
      const left = this.processes().filter((one) => one.role === "balancer" && !this.killed.has(one.pid));
      if (left.length === 0 && !this.isHeld) this.marks.push({ what: "without sockets", at: mark.at });
      // Before its first snapshot, a balancer accepts no connections.
      else if (!this.isHeld && !left.some((one) => this.ready.has(one.pid)))
        this.marks.push({ what: "without a ready balancer", at: mark.at });
    }
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
    if (mark === undefined) return undefined;
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
    return mark;
  }

  operate(name, value) {
    this.note(`${name} ${value ?? ""}`);
    this.deeds++;
    const args = name === "scale" ? ["scale", "web", `${value}`] : [name];
    this.isDone(
      this.command(...args).then(({ code, output }) => {
        this.note(`${name} ended ${code}: ${output.split("\n").at(-1)}`);
        // A failed command may or may not have taken effect.
        if (name === "scale") this.wanted = code === 0 ? value : undefined;
      }),
    );
  }

  fill(forMs) {
    if (!this.hasSmallDisk) return;
    this.deeds++;
    this.note(`the disk of the run directory is full for ${Math.round(forMs)} ms`);
    // A supervisor that exits before it could write its state is followed by one with an older state, as its event says.
    this.wasFull = true;
    this.isDone(fillDisk(this.runDir, forMs));
  }

  isDone(promise) {
    this.pending.add(promise);
    promise.finally(() => this.pending.delete(promise));
  }

  /** Every process of the fleet. */
  processes() {
    return findProcesses(this);
  }

  /** Waits until the fleet is as wanted. An operator starts the fleet if nobody else does. */
  async converge() {
    // Actions that finish may cause others: after a kill, an operator intervenes. One who did so after the stop would start the fleet
    // again.
    while (this.pending.size > 0) await Promise.all(this.pending);
    const since = Date.now();
    let what = "";
    let tries = 0;
    for (;;) {
      const status = await this.status();
      what = status === undefined ? "there is no supervisor" : differenceOf(status, this);
      if (what === "") break;
      if (Date.now() - since > CONVERGES_WITHIN_MS) throw new Error(`it did not converge: ${what}`);
      if (status === undefined && Date.now() - since > 8000) {
        const { code, output } = await this.start();
        if (code === 0 || tries++ === 0) this.note(`start by hand ended ${code}: ${output.split("\n").at(-1)}`);
      }
      await wait(LOOK_EVERY_MS);
    }
    this.convergedAfterMs = Date.now() - since;
    this.note(`converged after ${this.convergedAfterMs} ms`);
    await this.clients.haveAllServed(5000).catch(({ message }) => this.problems.push(message));
  }

  async end() {
    const { lost, requests, acknowledged } = await this.clients.end();
    this.requests = requests;
    const context = {
      marks: this.marks.map((mark) =>
        mark.what === "without sockets" ? { ...mark, until: mark.until ?? Number.POSITIVE_INFINITY } : mark,
      ),
      instances: { web: Math.min(this.wanted ?? 1, 3), api: 2, py: 2 },
    };
    this.problems.push(...ledgerProblems(this.folder, acknowledged));
    this.lost = lost.map((failure) => ({ ...failure, reason: reasonOf(failure, context) }));
    const unexplained = this.lost.filter(({ reason }) => reason === undefined);
    const at = (time) => ((time - this.startedAt) / 1000).toFixed(2);
    for (const { kind, method, pool, group = "", connectedAt, startedAt, endedAt } of unexplained.slice(0, 5)) {
      const what = `${kind}, a ${method} for ${pool} ${group}`;
      const when = `connected at ${at(connectedAt)}, sent at ${at(startedAt)}, ended at ${at(endedAt)} s`;
      this.problems.push(`one of ${unexplained.length} requests lost without a reason: ${what}, ${when}`);
    }
    const stopped = await this.command("stop");
    if (stopped.code !== 0) this.problems.push(`stop ended ${stopped.code}: ${stopped.output}`);
    const since = Date.now();
    while (this.processes().length > 0 && Date.now() - since < STOPS_WITHIN_MS) await wait(LOOK_EVERY_MS);
    for (const { name, pid } of this.processes())
      this.problems.push(`${name} (${pid}) is left after the stop: ${surroundingsOf(pid)}`);
    for (const name of ["control.sock", "channel.sock"])
      if (existsSync(path.join(this.runDir, name))) this.problems.push(`${name} is left after the stop`);
  }

  /** Stops the remaining processes, and frees the disk. */
  async clear() {
    this.isOver = true;
    await this.clients?.end();
    for (const { pid } of this.processes())
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has exited.
      }
    if (this.problems.length > 0) this.actions.push(...lastLines(this.runDir));
    if (this.hasSmallDisk) execFileSync("umount", ["-l", this.runDir]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  result() {
    const { problems, actions, deeds, lost = [], requests = 0, convergedAfterMs, withoutSupervisorMs } = this;
    return { problems, actions, deeds, withoutSupervisorMs, lost, requests, convergedAfterMs };
  }
}
