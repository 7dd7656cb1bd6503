/** What happens to a fleet while the clients of the data path's chaos test send requests: planned from the seed, before anything runs. */
import { execFile } from "node:child_process";
import { PACELINE, wait } from "../support.mjs";

const MEAN_PAUSE_MS = 1200;
const MAX_STOP_MS = 2500;
const COMMAND_TIMEOUT_MS = 90_000;

/** The names of actions, and how often each is chosen. */
const WEIGHTS = {
  "kill an instance": 5,
  "kill two instances": 1,
  "stop an instance": 3,
  "block an instance": 4,
  "kill a balancer": 1,
  "stop a balancer": 1,
  "replace the balancers": 1,
  reload: 1,
  restart: 1,
  scale: 2,
  weight: 2,
  eject: 1,
  drain: 1,
};

/** Returns the actions for `seconds` seconds: when, what, and to which process, as shares of the processes that exist then. */
export function planActions(random, seconds, pools) {
  const names = Object.entries(WEIGHTS).flatMap(([name, weight]) => Array.from({ length: weight }, () => name));
  const actions = [];
  for (let atMs = 500; atMs < seconds * 1000; atMs += random() * 2 * MEAN_PAUSE_MS)
    actions.push({
      atMs: Math.round(atMs),
      what: names[Math.floor(random() * names.length)],
      pool: pools[Math.floor(random() * pools.length)],
      who: random(),
      amount: random(),
    });
  return actions;
}

/** Performs the actions and remembers what was done to which process, for the rules that explain lost requests. */
export class Actions {
  marks = [];
  lines = [];
  /** Actions that end by themselves. */
  pending = new Set();
  stopped = new Set();
  startedAt = Date.now();

  /** @param sizes the sizes of the pools, which an action may change for a while */
  constructor(fleet, clients, sizes) {
    this.fleet = fleet;
    this.clients = clients;
    this.sizes = sizes;
    /** The minimum number of instances that each pool has had. */
    this.least = { ...sizes };
  }

  async perform(actions) {
    for (const action of actions) {
      const due = this.startedAt + action.atMs - Date.now();
      if (due > 0) await wait(due);
      this.later(this.act(action).catch((error) => this.note(`${action.what} failed: ${error.message}`)));
    }
    while (this.pending.size > 0) await Promise.all(this.pending);
  }

  /** Undoes lasting actions. */
  async restore() {
    const { pools } = await this.fleet.control();
    for (const { instances } of pools)
      for (const { name, outOfTurn, weight } of instances) {
        if (outOfTurn === "drained") await this.command("undrain", name);
        if (outOfTurn === "ejected") await this.command("readmit", name);
        if (weight !== 100) await this.command("weight", name, "100");
      }
    for (const [pool, size] of Object.entries(this.sizes)) await this.command("scale", pool, String(size));
  }

  /** Lets stopped processes continue, in case of an error. */
  clear() {
    for (const pid of this.stopped) signal(pid, "SIGCONT");
  }

  note(text) {
    this.lines.push(`${((Date.now() - this.startedAt) / 1000).toFixed(2)} s: ${text}`);
  }

  /** @returns the mark, whose `until` must be set when the action is over */
  mark(mark) {
    this.marks.push(mark);
    mark.at = Date.now();
    return mark;
  }

  async act({ what, pool, who, amount }) {
    const { pools, balancers } = await this.fleet.control();
    const of = (list, share) => list[Math.floor(share * list.length)];
    const isReady = ({ state, pid }) => state === "ready" && pid !== null && !this.stopped.has(pid);
    const instances = pools.find(({ name }) => name === pool)?.instances.filter(isReady) ?? [];
    const ready = balancers.filter(isReady);
    const stopMs = 100 + amount * MAX_STOP_MS;
    switch (what) {
      case "kill an instance":
        return this.kill("instance", pool, of(instances, who));
      case "kill two instances":
        for (const each of new Set([of(instances, who), of(instances, amount)])) this.kill("instance", pool, each);
        return;
      case "stop an instance":
        return this.stop("instance", pool, of(instances, who), stopMs);
      case "block an instance":
        return this.block(pool, Math.round(stopMs / 2));
      case "kill a balancer":
        return this.kill("balancer", "balancer", of(ready, who));
      case "stop a balancer":
        return this.stop("balancer", "balancer", of(ready, who), stopMs);
      case "replace the balancers":
        return this.operate({ what: "drain balancer" }, "restart", "balancer");
      case "reload":
        return this.operate({ what: "drain all" }, "reload");
      case "restart":
        return this.operate({ what: `drain ${pool}` }, "restart", pool);
      case "scale":
        return this.scale(pool, 1 + Math.floor(amount * (this.sizes[pool] + 1)));
      case "weight":
        return this.operate(
          { what: "weight" },
          "weight",
          of(instances, who)?.name,
          String(1 + Math.floor(amount * 300)),
        );
      case "eject":
        return this.forAWhile("eject", "readmit", of(instances, who), stopMs);
      case "drain":
        return this.forAWhile("drain", "undrain", of(instances, who), stopMs);
    }
  }

  scale(pool, size) {
    this.least[pool] = Math.min(this.least[pool], size);
    return this.operate({ what: `drain ${pool}` }, "scale", pool, String(size));
  }

  kill(role, pool, victim) {
    if (victim === undefined) return;
    if (!signal(victim.pid, "SIGKILL")) return;
    this.note(`SIGKILL to ${victim.name} (${victim.pid})`);
    this.mark({ what: "kill", role, pool, slot: victim.name });
  }

  stop(role, pool, victim, forMs) {
    if (victim === undefined || !signal(victim.pid, "SIGSTOP")) return;
    this.stopped.add(victim.pid);
    this.note(`SIGSTOP to ${victim.name} (${victim.pid}) for ${Math.round(forMs)} ms`);
    const mark = this.mark({ what: "stop", role, pool, slot: victim.name });
    this.later(
      wait(forMs).then(() => {
        mark.until = Date.now();
        this.stopped.delete(victim.pid);
        signal(victim.pid, "SIGCONT");
      }),
    );
  }

  /** The instance that gets this request is blocked by it. */
  block(pool, ms) {
    this.note(`a request blocks an instance of ${pool} for ${ms} ms`);
    const mark = this.mark({ what: "block", role: "instance", pool, slot: `blocked ${this.marks.length}` });
    this.later(
      this.clients.ask({ pool, what: "block", ms }).then(() => {
        mark.until = Date.now();
      }),
    );
  }

  forAWhile(word, back, instance, forMs) {
    if (instance === undefined) return;
    const undo = async () => {
      await wait(forMs);
      await this.command(back, instance.name);
    };
    const mark = { what: "out of turn", pool: instance.name.split(".")[0], slot: instance.name };
    this.later(this.operate(mark, word, instance.name).then(undo));
  }

  /** @param mark its effect on requests */
  operate(mark, ...words) {
    if (words.includes(undefined)) return Promise.resolve();
    const made = this.mark({ ...mark, until: Number.POSITIVE_INFINITY });
    const done = this.command(...words).then(() => {
      made.until = Date.now();
    });
    this.later(done);
    return done;
  }

  command(...words) {
    const args = [PACELINE, ...words, ...this.fleet.runDirArgs];
    return new Promise((resolve) => {
      execFile("sh", args, { timeout: COMMAND_TIMEOUT_MS }, (error, stdout, stderr) => {
        const said = `${stdout}${stderr}`.trim().split("\n").at(-1);
        this.note(`${words.join(" ")} ended ${error === null ? 0 : (error.code ?? error.signal)}: ${said}`);
        resolve();
      });
    });
  }

  later(promise) {
    this.pending.add(promise);
    void promise.finally(() => this.pending.delete(promise));
  }
}

/** Returns false if the process has exited. */
function signal(pid, name) {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}
