import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hold, holdEqual } from "../../../../test/support/hold.js";
import { SLOT_POLICY } from "../../test/slot-policy.js";
import { adopt, restoreFleet, type SavedFleet, saveFleet, skipAttempt, takePlace } from "./adoption.js";
import {
  drainedLast,
  EMPTY_FLEET,
  type Fleet,
  findPool,
  findSlot,
  hasOtherInTurn,
  isDown,
  leavesOnlyDrained,
  occupants,
  type Pool,
  poolViews,
  processId,
  type Slot,
} from "./fleet.js";
import {
  addPool,
  command,
  discardReplacement,
  endWarm,
  exchangeWarm,
  type FleetChange,
  type FleetContext,
  renew,
  replaceInPlace,
  report,
  resize,
  setCanaryShare,
  setGeneration,
  setTurn,
  startReplacement,
  swap,
} from "./fleet-changes.js";
import { deadlineOf, EVENTS, isAlive, type Process, type SlotPolicy } from "./process.js";

const policy: SlotPolicy = { ...SLOT_POLICY, backoff: { ...SLOT_POLICY.backoff, jitter: 0.5 } };

/** More than a slot needs: a drain, a kill, a backoff and a start. */
const CALM_ROUNDS = 10;

/** The environment that performs effects: live processes, processes in the pool, and set timers. */
class World {
  fleet: Fleet = addPool(EMPTY_FLEET, "web", 1);
  now = 0;
  readonly alive = new Set<string>();
  readonly inPool = new Set<string>();
  readonly alarms = new Map<string, number>();
  readonly spawned = new Set<string>();
  /** The requests to leaving processes and the balancers' reports, in order; each list begins when the process leaves the pool. */
  readonly drains = new Map<string, { at: number; steps: string[] }>();
  /** For generations with different values. */
  readonly policies = new Map<number, SlotPolicy>();
  /** The state file, and the time at which it was written. */
  private saved: { fleet: SavedFleet; clock: number } | undefined;
  /** The generations with a process that became ready. */
  readonly served = new Set<number>();

  context(random = 0.5): FleetContext {
    return { now: this.now, random, policyOf: (_, generation) => this.policies.get(generation) ?? policy };
  }

  take(change: FleetChange): void {
    this.fleet = change.fleet;
    for (const { id, effect } of change.effects) {
      if (effect.type === "spawn") {
        hold(!this.spawned.has(id), `${id} is spawned once`);
        this.spawned.add(id);
        this.alive.add(id);
      } else if (effect.type === "joinPool") this.inPool.add(id);
      else if (effect.type === "leavePool") {
        this.inPool.delete(id);
        this.drains.set(id, { at: this.now, steps: [] });
      } else if (effect.type === "setDeadline") this.alarms.set(id, effect.at);
      else if (effect.type === "clearDeadline") this.alarms.delete(id);
      else if (effect.type === "signal" || effect.type === "askDrain" || effect.type === "release") {
        hold(this.alive.has(id), `${effect.type} goes to a process that lives: ${id}`);
        if (effect.type !== "signal") this.checkDrain(id, effect.type);
      }
    }
    this.check();
  }

  /** A process is asked to drain once, when the balancers follow or half of its time is over; and it is released once it is unused. */
  checkDrain(id: string, asked: "askDrain" | "release"): void {
    hold(!this.inPool.has(id), `${id} has left the pool`);
    const { at, steps } = this.drains.get(id) ?? { at: 0, steps: [] };
    hold(!steps.includes(asked), `${asked} goes to ${id} once`);
    const waitedMs = this.now - at;
    if (asked === "askDrain") {
      const isTime = steps.includes("left") || waitedMs >= policy.drainTimeoutMs / 2;
      hold(isTime, `${id} is asked to drain when no balancer picks it`);
    } else {
      hold(steps.includes("askDrain"), `${id} is asked to drain before it is released`);
      const isTime = steps.includes("released") || waitedMs >= policy.drainTimeoutMs;
      hold(isTime, `${id} is released when no balancer has anything on it`);
    }
    steps.push(asked);
  }

  /** The supervisor is killed, some processes exit in the meantime, and another supervisor takes over the saved fleet. */
  loseSupervisor({ attempt, wait, random }: Pick<Step, "attempt" | "wait" | "random">): FleetChange {
    const clock = 1_000_000 + this.now;
    const saved = JSON.parse(JSON.stringify(saveFleet(this.fleet, clock - this.now))) as SavedFleet;
    for (const list of [this.inPool, this.alarms, this.drains]) list.clear();
    let count = 0;
    for (const id of [...this.alive]) if (count++ % 4 === attempt) this.alive.delete(id);
    const before = this.fleet;
    // The new supervisor's clock begins at 0.
    this.now = wait;
    const restored = restoreFleet(saved, -clock);
    const change = adopt(restored, (id) => this.alive.has(id), this.context(random));
    for (const pool of before.pools) {
      const now = findPool(change.fleet, pool.name);
      const { wanted, generation, hasServed } = pool;
      holdEqual([now?.wanted, now?.generation, now?.hasServed], [wanted, generation, hasServed]);
      for (const slot of now?.slots ?? []) hold((slot.other?.process.goal ?? "down") === "down", "only outgoing ones");
      for (const slot of pool.slots) {
        const id = processId(slot.name, slot.member.process.attempt);
        const isKept = slot.member.process.state === "ready" && this.alive.has(id);
        if (isKept) holdEqual(findSlot(change.fleet, "web", slot.index)?.member.process.state, "ready");
      }
    }
    return change;
  }

  /** Writes the state file. */
  save(): void {
    const clock = 1_000_000 + this.now;
    this.saved = { fleet: JSON.parse(JSON.stringify(saveFleet(this.fleet, 1_000_000))) as SavedFleet, clock };
  }

  /**
   * The supervisor is killed before it has written its last changes, and the next one takes over the older fleet. A process that the state
   * does not name gets its slot if the slot has no process; otherwise it is stopped, as FleetAdoption does.
   */
  loseUnsaved({ wait, random, size }: Pick<Step, "wait" | "random" | "size">): FleetChange | null {
    if (this.saved === undefined) return null;
    const { fleet: saved, clock } = this.saved;
    for (const list of [this.inPool, this.alarms, this.drains]) list.clear();
    this.now = wait;
    let fleet = restoreFleet(saved, -clock);
    const idsOf = ({ pools }: Fleet) =>
      pools.flatMap(({ slots }) =>
        slots.flatMap((slot) =>
          occupants(slot)
            .filter(({ occupant }) => isAlive(occupant.process))
            .map(({ occupant }) => processId(slot.name, occupant.process.attempt)),
        ),
      );
    const named = new Set(idsOf(fleet));
    for (const id of [...this.alive].filter((each) => !named.has(each)).sort()) {
      const [name, number] = id.split("#") as [string, string];
      const attempt = Number(number);
      const index = Number(name.split(".")[1]);
      const slot = findSlot(fleet, "web", index);
      const process = slot?.member.process;
      const isFree = process && (!isAlive(process) || !this.alive.has(processId(name, process.attempt)));
      if (isFree && slot.other === null && process.goal === "up" && attempt >= process.attempt)
        fleet = takePlace(fleet, "web", index, {
          attempt,
          generation: slot.member.generation,
          isReady: size % 2 === 0,
        });
      else {
        fleet = skipAttempt(fleet, "web", index, attempt);
        this.alive.delete(id);
      }
    }
    // Names of processes that were started and exited since then may be used again: nothing of those processes is left.
    const known = new Set(idsOf(fleet));
    for (const id of this.spawned) if (!known.has(id)) this.spawned.delete(id);
    this.saved = undefined;
    return adopt(fleet, (id) => this.alive.has(id), this.context(random));
  }

  /** What happens when nothing goes wrong any more: processes get ready in time, and exit when they are asked to. */
  calmDown(): void {
    for (const { index } of findPool(this.fleet, "web")?.slots ?? [])
      this.take(discardReplacement(this.fleet, "web", index, this.context()));
    this.take(endWarm(this.fleet, "web", this.context()));
    for (let round = 0; round < CALM_ROUNDS; round++) {
      for (const slot of findPool(this.fleet, "web")?.slots ?? [])
        for (const { occupant } of occupants(slot)) {
          const { state, attempt } = occupant.process;
          if (state === "starting")
            this.take(report(this.fleet, "web", slot.index, { type: "ready", attempt }, this.context()));
          else if (state === "draining" || state === "killing") this.exit(processId(slot.name, attempt));
        }
      this.now += policy.backoff.maxMs;
      for (const [id, at] of [...this.alarms]) {
        if (at > this.now) continue;
        const [name, attempt] = id.split("#") as [string, string];
        const index = Number(name.split(".")[1]);
        this.take(report(this.fleet, "web", index, { type: "deadline", attempt: Number(attempt) }, this.context()));
      }
    }
  }

  /** The balancers' report about a process that left its pool. */
  balancersReport(index: number, attempt: number, type: "left" | "released"): FleetChange {
    this.drains.get(processId(`web.${index}`, attempt))?.steps.push(type);
    return report(this.fleet, "web", index, { type, attempt }, this.context());
  }

  exit(id: string): void {
    if (!this.alive.delete(id)) return;
    const [name, attempt] = id.split("#") as [string, string];
    const index = Number(name.split(".")[1]);
    const status = { code: 1, signal: null };
    this.take(report(this.fleet, "web", index, { type: "exited", attempt: Number(attempt), status }, this.context()));
  }

  check(): void {
    const slots = this.fleet.pools.flatMap((pool) => pool.slots);
    const ready: string[] = [];
    const live: string[] = [];
    const alarms = new Map<string, number>();
    for (const slot of slots) {
      for (const { occupant } of occupants(slot)) {
        const { process } = occupant;
        const id = processId(slot.name, process.attempt);
        if (process.state === "ready") ready.push(id);
        if (process.state === "ready") this.served.add(occupant.generation);
        if (isAlive(process)) live.push(id);
        const deadline = deadlineOf(process);
        if (deadline !== null) alarms.set(id, deadline);
        const isBounded =
          !["starting", "warm", "draining", "killing", "backoff"].includes(process.state) || deadline !== null;
        hold(isBounded, `${id} is ${process.state} until a deadline`);
      }
    }
    for (const { name, member, other, warm } of slots) {
      hold(member.process.state !== "warm" && other?.process.state !== "warm", `${name} serves or is asked to`);
      hold(["warm", "draining", "killing", undefined].includes(warm?.process.state), "nothing kept is restarted");
      hold((warm?.process.goal ?? "down") === "down", "what is kept is to end");
      const isGivenUp = member.process.state === "failed" && this.served.has(member.generation);
      hold(!isGivenUp, `${name} is not failed, as its generation has served`);
    }
    holdEqual([...this.inPool].sort(), ready.sort(), "in the pool if and only if ready");
    holdEqual([...this.alive].sort(), live.sort(), "every OS process is in a slot");
    holdEqual(this.alarms, alarms, "an alarm for every deadline, and none besides");
    const served = poolViews(this.fleet, new Map([["web", { routes: ["/"], stripPrefix: false }]]), (socket) => ({
      socket,
      protocol: "lane",
    }))[0]?.upstreams.map((u) => u.id);
    holdEqual(served?.sort(), ready, "the snapshot names what is in the pool");
  }
}

const step = fc.record({
  action: fc.constantFrom(
    ...EVENTS.filter((event) => event !== "park" && event !== "unpark"),
    ...(["resize", "replacement", "swap", "discard", "inPlace", "save", "unsaved"] as const),
    ...(["keep", "exchange", "endWarm", "share"] as const),
  ),
  index: fc.integer({ min: 1, max: 4 }),
  attempt: fc.integer({ min: 0, max: 8 }),
  wait: fc.constantFrom(0, 0, 50, 600, 3000),
  random: fc.double({ min: 0, max: 0.999, noNaN: true }),
  size: fc.integer({ min: 0, max: 4 }),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const step0: Step = { action: "start", index: 1, attempt: 0, wait: 0, random: 0, size: 0 };

/** Events for draining processes, in any order. */
const drainStep = fc.record({
  action: fc.constantFrom("left", "released", "deadline"),
  wait: fc.constantFrom(0, 50, 600),
});

function play(world: World, s: Step): void {
  const change = changeOf(world, s);
  if (change !== null) world.take(change);
}

function changeOf(world: World, s: Step): FleetChange | null {
  world.now += s.wait;
  const context = world.context(s.random);
  const { fleet } = world;
  // Mostly about existing processes, so that histories progress; sometimes about an old attempt.
  const slot = findSlot(fleet, "web", s.index);
  const attempts = slot === undefined ? [] : occupants(slot).map(({ occupant }) => occupant.process.attempt);
  const attempt = attempts[s.attempt % 3] ?? s.attempt;
  const id = processId(`web.${s.index}`, attempt);
  switch (s.action) {
    case "resize":
      return resize(fleet, "web", s.size, context);
    case "replacement":
      return startReplacement(fleet, "web", s.index, 2, context);
    case "swap":
      return swap(fleet, "web", s.index, context);
    case "keep":
      return swap(fleet, "web", s.index, context, 4000);
    case "exchange":
      return exchangeWarm(fleet, "web", s.index, context);
    case "endWarm":
      return endWarm(fleet, "web", context);
    case "share":
      return { fleet: setCanaryShare(fleet, "web", s.size === 0 ? undefined : 10 * s.size), effects: [] };
    case "discard":
      return discardReplacement(fleet, "web", s.index, context);
    case "inPlace":
      return replaceInPlace(fleet, "web", s.index, 2, context);
    case "start":
    case "stop":
    case "restart":
      return command(fleet, "web", s.index, { type: s.action }, context);
    case "exited":
      world.exit(id);
      return null;
    case "spawnFailed":
      if (!world.alive.delete(id)) return null;
      return report(fleet, "web", s.index, { type: "spawnFailed", attempt, reason: "ENOENT" }, context);
    case "adopted":
      return world.loseSupervisor(s);
    case "save":
      world.save();
      return null;
    case "unsaved":
      return world.loseUnsaved(s);
    case "left":
    case "released":
      return world.balancersReport(s.index, attempt, s.action);
    case "hung":
    case "overrun":
      return report(fleet, "web", s.index, { type: s.action, attempt, reason: "hung" }, context);
    default:
      return report(fleet, "web", s.index, { type: s.action, attempt }, context);
  }
}

describe("over random histories", () => {
  test("the invariants hold at every step, and after a stop with all exits delivered everything is stopped", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.array(drainStep, { maxLength: 6 }), (steps, drainSteps) => {
        const world = new World();
        world.take(resize(world.fleet, "web", 3, world.context()));
        for (const s of steps) play(world, s);
        for (const index of [1, 2, 3]) play(world, { ...step0, action: "ready", index });
        world.take(resize(world.fleet, "web", 0, world.context()));
        for (const { action, wait } of drainSteps)
          for (const index of [1, 2, 3]) play(world, { ...step0, action, index, wait });
        for (const id of [...world.alive]) world.exit(id);
        expect(world.alive.size, "nothing was spawned after the stop").toBe(0);
        expect(isDown(world.fleet)).toBe(true);
        expect(findPool(world.fleet, "web")?.slots).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  test("the wanted state is reached when nothing goes wrong any more: no slot is lost, no process is left over", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const world = new World();
        world.take(resize(world.fleet, "web", 3, world.context()));
        for (const s of steps) play(world, s);
        world.calmDown();
        const { wanted, slots, hasServed } = findPool(world.fleet, "web") as Pool;
        expect(slots.map(({ index }) => index)).toEqual(Array.from({ length: wanted }, (_, at) => at + 1));
        for (const { name, member, other, warm } of slots) {
          expect(warm).toBeUndefined();
          const { goal, state } = member.process;
          // A generation that was never ready is given up; only a command of the operator changes that.
          const expected = goal === "down" ? "stopped" : state === "failed" && !hasServed ? "failed" : "ready";
          expect({ name, state, other }).toEqual({ name, state: expected, other: null });
        }
        const ready = slots.filter(({ member }) => member.process.state === "ready");
        expect([...world.alive].sort()).toEqual(
          ready.map(({ name, member }) => processId(name, member.process.attempt)).sort(),
        );
      }),
      { numRuns: 500 },
    );
  });

  test("a process that ignores every request is killed in bounded time after a stop", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const world = new World();
        world.take(resize(world.fleet, "web", 2, world.context()));
        for (const s of steps) play(world, s);
        world.take(resize(world.fleet, "web", 0, world.context()));
        const end = world.now + policy.drainTimeoutMs + policy.termTimeoutMs + policy.killTimeoutMs;
        while (world.now < end) {
          world.now += 100;
          for (const [id, at] of [...world.alarms]) {
            if (at > world.now) continue;
            const [name, attempt] = id.split("#") as [string, string];
            const index = Number(name.split(".")[1]);
            world.take(
              report(world.fleet, "web", index, { type: "deadline", attempt: Number(attempt) }, world.context()),
            );
          }
        }
        for (const slot of findPool(world.fleet, "web")?.slots ?? []) {
          for (const { occupant } of occupants(slot))
            hold(["killing", "stopped"].includes(occupant.process.state), "killed, or stopped");
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("a fleet", () => {
  function readyFleet(size: number): World {
    const world = new World();
    world.take(resize(world.fleet, "web", size, world.context()));
    for (let index = 1; index <= size; index++) {
      world.take(report(world.fleet, "web", index, { type: "ready", attempt: 1 }, world.context()));
    }
    return world;
  }

  test("removes its highest slots when it is scaled down, as soon as their processes have exited", () => {
    const world = readyFleet(4);
    world.take(resize(world.fleet, "web", 2, world.context()));
    expect([...world.inPool]).toEqual(["web.1#1", "web.2#1"]);
    expect(findPool(world.fleet, "web")?.slots).toHaveLength(4);
    world.exit("web.4#1");
    world.exit("web.3#1");
    expect(findPool(world.fleet, "web")?.slots.map((s) => s.name)).toEqual(["web.1", "web.2"]);
  });

  test("starts a draining slot again when it is wanted again", () => {
    const world = readyFleet(2);
    world.take(resize(world.fleet, "web", 1, world.context()));
    world.take(resize(world.fleet, "web", 2, world.context()));
    world.exit("web.2#1");
    expect(findSlot(world.fleet, "web", 2)?.member.process).toMatchObject({ state: "starting", attempt: 2 });
  });

  test("that has served never ends up with no instance: it keeps trying, and slots that were given up before are tried again", () => {
    const world = new World();
    world.take(resize(world.fleet, "web", 2, world.context()));
    const memberOf = (index: number) => findSlot(world.fleet, "web", index)?.member.process as Process;
    const crash = (index: number, times: number) => {
      for (let time = 0; time < times; time++) {
        const process = memberOf(index);
        if (process.state === "backoff") {
          world.now = process.deadline;
          const deadline = { type: "deadline", attempt: process.attempt } as const;
          world.take(report(world.fleet, "web", index, deadline, world.context()));
        }
        world.exit(processId(`web.${index}`, memberOf(index).attempt));
      }
    };
    crash(2, policy.restartBudget.maxFailures);
    expect(memberOf(2).state).toBe("failed");
    world.take(report(world.fleet, "web", 1, { type: "ready", attempt: 1 }, world.context()));
    expect(memberOf(2).state).toBe("starting");
    for (const index of [1, 2]) {
      crash(index, 2 * policy.restartBudget.maxFailures);
      const process = memberOf(index);
      expect(process.state).toBe("backoff");
      const { maxMs, jitter } = policy.backoff;
      expect(deadlineOf(process)).toBe(world.now + maxMs * (1 - jitter / 2));
    }
  });

  test("that has served keeps trying a newer generation that never got ready, except as a replacement of a serving one", () => {
    const world = readyFleet(2);
    const crash = (index: number, times: number) => {
      for (let time = 0; time < times; time++) {
        const slot = findSlot(world.fleet, "web", index);
        const { process } = slot?.other ?? (slot as Slot).member;
        if (process.state === "backoff") {
          world.now = process.deadline;
          const deadline = { type: "deadline", attempt: process.attempt } as const;
          world.take(report(world.fleet, "web", index, deadline, world.context()));
        }
        const now = findSlot(world.fleet, "web", index);
        world.exit(processId(`web.${index}`, (now?.other ?? (now as Slot).member).process.attempt));
      }
    };
    world.take(startReplacement(world.fleet, "web", 1, 2, world.context()));
    crash(1, policy.restartBudget.maxFailures);
    expect(findSlot(world.fleet, "web", 1)?.other?.process.state).toBe("failed");
    world.take(discardReplacement(world.fleet, "web", 1, world.context()));
    // Scaled to zero, given a new generation, and grown while its resources are missing.
    world.take(resize(world.fleet, "web", 0, world.context()));
    for (const id of [...world.alive]) world.exit(id);
    world.fleet = setGeneration(world.fleet, "web", 3);
    world.take(resize(world.fleet, "web", 1, world.context()));
    crash(1, 2 * policy.restartBudget.maxFailures);
    expect(findSlot(world.fleet, "web", 1)?.member).toMatchObject({ generation: 3, process: { state: "backoff" } });
  });

  test("applies to a replacement the policy of its generation, and to the replaced process that of its own", () => {
    const world = readyFleet(1);
    world.policies.set(2, { ...policy, readyTimeoutMs: 7000, stableAfterMs: 8000, drainTimeoutMs: 9000 });
    world.take(startReplacement(world.fleet, "web", 1, 2, world.context()));
    expect(world.alarms.get("web.1#2")).toBe(7000);
    world.take(report(world.fleet, "web", 1, { type: "ready", attempt: 2 }, world.context()));
    expect(world.alarms.get("web.1#2")).toBe(8000);
    world.take(swap(world.fleet, "web", 1, world.context()));
    expect(world.alarms.get("web.1#1")).toBe(policy.drainTimeoutMs / 2);
  });

  test("swaps a replacement in while both serve, and the old one leaves", () => {
    const world = readyFleet(1);
    world.take(startReplacement(world.fleet, "web", 1, 2, world.context()));
    world.take(report(world.fleet, "web", 1, { type: "ready", attempt: 2 }, world.context()));
    expect([...world.inPool]).toEqual(["web.1#1", "web.1#2"]);
    world.take(swap(world.fleet, "web", 1, world.context()));
    expect([...world.inPool]).toEqual(["web.1#2"]);
    expect(findSlot(world.fleet, "web", 1)).toMatchObject({
      member: { generation: 2, process: { attempt: 2 } },
      other: { role: "outgoing", process: { state: "draining", attempt: 1 } },
    });
    world.exit("web.1#1");
    expect(findSlot(world.fleet, "web", 1)?.other).toBeNull();
  });

  /** Two slots; the first has a ready replacement of generation 2. */
  function deploying(): World {
    const world = readyFleet(2);
    world.fleet = setCanaryShare(world.fleet, "web", 10);
    world.take(startReplacement(world.fleet, "web", 1, 2, world.context()));
    world.take(report(world.fleet, "web", 1, { type: "ready", attempt: 2 }, world.context()));
    return world;
  }

  test("gives a deploy's canaries their share of the turns together, and their own cookie", () => {
    const world = deploying();
    const views = () =>
      poolViews(world.fleet, new Map([["web", { routes: ["/"], stripPrefix: false }]]), (id) => {
        return { socket: id, protocol: "lane", cookie: "slot", alsoCookie: `generation of ${id}` };
      })[0]?.upstreams.map(({ id, weight, canary, cookie }) => ({ id, weight, canary, cookie }));
    expect(views()).toEqual([
      { id: "web.1#1", weight: 9, canary: undefined, cookie: "slot" },
      { id: "web.1#2", weight: 2, canary: true, cookie: "generation of web.1#2" },
      { id: "web.2#1", weight: 9, canary: undefined, cookie: "slot" },
    ]);
    // A tenth of a percent is exact, too.
    world.fleet = setCanaryShare(world.fleet, "web", 0.1);
    expect(views()?.map(({ weight }) => weight)).toEqual([999, 2, 999]);
    world.fleet = setCanaryShare(world.fleet, "web", undefined);
    expect(views()?.map(({ weight, canary }) => weight ?? canary)).toEqual([undefined, undefined, undefined]);
  });

  test("keeps a slot drained over its processes and a new supervisor, and an ejection as long as its process", () => {
    const world = deploying();
    const turns = (fleet: Fleet) =>
      poolViews(fleet, new Map([["web", { routes: ["/"], stripPrefix: false }]]), (id) => ({
        ...{ socket: id, protocol: "lane" },
      }))[0]?.upstreams.map(({ id, outOfTurn, share }) => [id, outOfTurn, share]);
    world.fleet = setTurn(world.fleet, "web", 1, { ejected: 1, weight: 50 });
    expect(turns(world.fleet)).toEqual([
      ["web.1#1", "ejected", 50],
      ["web.1#2", undefined, 50],
      ["web.2#1", undefined, undefined],
    ]);
    expect(turns(restoreFleet(saveFleet(world.fleet, 0), 0))).toEqual(turns(world.fleet));
    world.fleet = setTurn(world.fleet, "web", 1, { ejected: 1, weight: 50, drained: true });
    world.take(swap(world.fleet, "web", 1, world.context()));
    expect(turns(world.fleet)?.[0]).toEqual(["web.1#2", "drained", 50]);
    world.fleet = setTurn(world.fleet, "web", 1, {});
    expect(findSlot(world.fleet, "web", 1)).not.toHaveProperty("turn");
  });

  test("knows which slots are still in service without one slot, and with fewer slots", () => {
    const world = readyFleet(3);
    const pool = () => findPool(world.fleet, "web") as Pool;
    expect(hasOtherInTurn(pool(), 1)).toBe(true);
    world.fleet = setTurn(world.fleet, "web", 1, { drained: true });
    expect([1, 2, 3].map((size) => leavesOnlyDrained(pool(), size))).toEqual([true, false, false]);
    expect(leavesOnlyDrained(pool(), 0)).toBe(false);
    expect(drainedLast(pool(), [1, 2, 3])).toEqual([2, 3, 1]);
    world.fleet = setTurn(world.fleet, "web", 2, { ejected: 1 });
    expect([1, 2, 3].map((index) => hasOtherInTurn(pool(), index))).toEqual([true, true, false]);
    world.fleet = setTurn(world.fleet, "web", 3, { drained: true });
    world.fleet = setTurn(world.fleet, "web", 2, { drained: true });
    expect([1, 2, 3, 4].map((size) => leavesOnlyDrained(pool(), size))).toEqual([true, true, false, false]);
  });

  test("does not wait for a drained slot, but for another one that is not ready yet", () => {
    const world = readyFleet(2);
    const isAwaited = () =>
      poolViews(world.fleet, new Map([["web", { routes: ["/"], stripPrefix: false }]]), (id) => ({
        ...{ socket: id, protocol: "lane" },
      }))[0]?.awaited;
    for (const index of [1, 2]) world.fleet = setTurn(world.fleet, "web", index, { drained: true });
    expect(isAwaited()).toBeUndefined();
    world.fleet = setTurn(world.fleet, "web", 2, {});
    world.exit("web.2#1");
    expect(isAwaited()).toBe(true);
  });

  describe("renews a slot, whatever is in it: one process is left, of the wanted generation", () => {
    const warms = ["none", "warm", "ended"] as const;
    const others = ["none", "starting", "ready", "ended", "backoff", "outgoing"] as const;
    const cases = warms.flatMap((warm) => others.flatMap((other) => [1, 2].map((of) => ({ warm, other, of }))));
    test.each(cases)("warm $warm, other $other of generation $of", ({ warm, other, of }) => {
      const world = readyFleet(1);
      const slot = () => findSlot(world.fleet, "web", 1) as Slot;
      const tell = (type: "ready" | "exited", attempt: number) => {
        if (type === "exited") return world.exit(`web.1#${attempt}`);
        world.take(report(world.fleet, "web", 1, { type, attempt }, world.context()));
      };
      // The slot has generation 2; its former process is warm, has exited, or is the outgoing one.
      world.take(startReplacement(world.fleet, "web", 1, 2, world.context()));
      tell("ready", 2);
      world.take(swap(world.fleet, "web", 1, world.context(), other === "outgoing" ? 0 : 4000));
      if (warm === "none" && other !== "outgoing") {
        world.take(endWarm(world.fleet, "web", world.context()));
        tell("exited", 1);
      } else if (warm === "ended") world.take(endWarm(world.fleet, "web", world.context()));
      if (other !== "none" && other !== "outgoing") {
        world.take(startReplacement(world.fleet, "web", 1, of, world.context()));
        if (other === "ready" || other === "ended") tell("ready", 3);
        if (other === "ended") world.take(discardReplacement(world.fleet, "web", 1, world.context()));
        if (other === "backoff") tell("exited", 3);
      }
      // A rollout acts and observes: an action that it requests twice happens once.
      let isDone = false;
      for (let round = 0; round < CALM_ROUNDS && !isDone; round++) {
        const change = renew(world.fleet, "web", 1, { generation: 1, usesWarm: true }, world.context());
        world.take(change);
        isDone = change.step !== "waits";
        if (change.step === "started") {
          tell("ready", slot().other?.process.attempt ?? 0);
          world.take(swap(world.fleet, "web", 1, world.context()));
        }
        for (const { occupant } of occupants(slot()))
          if (occupant.process.state === "draining") tell("exited", occupant.process.attempt);
      }
      expect(isDone).toBe(true);
      expect(slot()).toMatchObject({ member: { generation: 1, process: { state: "ready" } }, other: null });
      expect(slot().warm).toBeUndefined();
      expect(world.alive.size).toBe(1);
    });
  });

  test("keeps the process that a deploy replaced warm for a time, and returns to it immediately", () => {
    const kept = () => {
      const world = deploying();
      world.take(swap(world.fleet, "web", 1, world.context(), 4000));
      expect([...world.inPool]).toEqual(["web.2#1", "web.1#2"]);
      expect(findSlot(world.fleet, "web", 1)).toMatchObject({ other: null, warm: { process: { state: "warm" } } });
      return world;
    };
    const back = kept();
    back.take(exchangeWarm(back.fleet, "web", 1, back.context()));
    expect([...back.inPool]).toEqual(["web.2#1", "web.1#1"]);
    expect(findSlot(back.fleet, "web", 1)).toMatchObject({
      member: { generation: 1, process: { state: "ready", attempt: 1 } },
      warm: { generation: 2, process: { state: "draining", attempt: 2 } },
    });
    back.exit("web.1#2");
    expect(findSlot(back.fleet, "web", 1)?.warm).toBeUndefined();

    const over = kept();
    over.now = 4000;
    over.take(report(over.fleet, "web", 1, { type: "deadline", attempt: 1 }, over.context()));
    expect(findSlot(over.fleet, "web", 1)?.warm).toMatchObject({ process: { state: "draining" } });

    const adopted = kept();
    adopted.take(adopted.loseSupervisor({ attempt: 9, wait: 0, random: 0 }));
    expect(findSlot(adopted.fleet, "web", 1)?.warm).toMatchObject({ process: { state: "warm" } });
    const died = kept();
    died.exit("web.1#1");
    expect(findSlot(died.fleet, "web", 1)?.warm).toBeUndefined();
  });
});
