import { describe, expect, test } from "vitest";
import { SLOT_POLICY } from "../../test/slot-policy.js";
import { adopt, restoreFleet, saveFleet, skipAttempt, slotsOfOtherGenerations } from "./adoption.js";
import { EMPTY_FLEET, type Fleet, findPool, findSlot } from "./fleet.js";
import {
  addPool,
  command,
  type FleetChange,
  type FleetContext,
  report,
  resize,
  startReplacement,
  swap,
} from "./fleet-changes.js";

const policy = SLOT_POLICY;
const at = (now: number): FleetContext => ({ now, random: 0.5, policyOf: () => policy });
const ready = (fleet: Fleet, index: number, attempt = 1) =>
  report(fleet, "web", index, { type: "ready", attempt }, at(0)).fleet;

/** A pool of `size` ready slots. */
function running(size: number): Fleet {
  let { fleet } = resize(addPool(EMPTY_FLEET, "web", 1), "web", size, at(0));
  for (let index = 1; index <= size; index++) fleet = ready(fleet, index);
  return fleet;
}

/** Takes over a fleet at `now`, on a clock that is 1,000 behind the former one, without these processes. */
function taken(fleet: Fleet, gone: string[] = [], now = 5): FleetChange {
  const saved = JSON.parse(JSON.stringify(saveFleet(fleet, 7000)));
  return adopt(restoreFleet(saved, -8000), (id) => !gone.includes(id), at(now));
}

const effectsOf = ({ effects }: FleetChange) =>
  effects.filter(({ effect }) => effect.type !== "log").map(({ id, effect }) => `${id} ${effect.type}`);

describe("a fleet that a new supervisor takes over", () => {
  test("continues with its former sizes after an interrupted stop", () => {
    // The first process has exited, and the second one still drains.
    const { fleet } = resize(running(2), "web", 0, at(0));
    const gone = report(
      fleet,
      "web",
      1,
      { type: "exited", attempt: 1, status: { code: 0, signal: null } },
      at(1),
    ).fleet;
    const saved = JSON.parse(JSON.stringify(saveFleet(gone, 7000)));
    const change = adopt(restoreFleet(saved, -8000, [["web", 2]]), () => true, at(5));
    expect(effectsOf(change)).toContain("web.1#2 spawn");
    expect(findPool(change.fleet, "web")?.wanted).toBe(2);
    expect(findSlot(change.fleet, "web", 2)?.member.process).toMatchObject({ state: "draining", goal: "up" });
    expect(findPool(adopt(restoreFleet(saved, -8000), () => true, at(5)).fleet, "web")?.wanted).toBe(0);
  });

  test("starts and stops nothing if every process still runs", () => {
    const fleet = running(2);
    const change = taken(fleet);
    expect(effectsOf(change)).toEqual([
      "web.1#1 joinPool",
      "web.1#1 setDeadline",
      "web.2#1 joinPool",
      "web.2#1 setDeadline",
    ]);
    expect(findPool(change.fleet, "web")).toMatchObject({ wanted: 2, generation: 1, hasServed: true });
    expect([...(findPool(change.fleet, "web")?.served ?? [])]).toEqual([1]);
  });

  test("counts a process that exited in the meantime as a failure, and restarts it", () => {
    const change = taken(running(2), ["web.2#1"]);
    const process = findSlot(change.fleet, "web", 2)?.member.process;
    expect(process).toMatchObject({ state: "backoff", failures: 1, failuresAt: [5], deadline: 105, nextAttempt: 2 });
    expect(change.effects.map(({ effect }) => effect)).toContainEqual({
      type: "log",
      level: "warn",
      message: "ended with an unknown exit status; restarts in 0.1 s",
      kind: "death",
    });
  });

  test("keeps the times of the former failures", () => {
    const { fleet } = report(
      running(1),
      "web",
      1,
      { type: "exited", attempt: 1, status: { code: 1, signal: null } },
      at(900),
    );
    const process = findSlot(taken(fleet).fleet, "web", 1)?.member.process;
    expect(process).toMatchObject({ state: "backoff", failuresAt: [-100], deadline: 0 });
  });

  test("has no rollout: replacements are stopped, outgoing processes drain, and a slot already replaced is named", () => {
    let { fleet } = startReplacement(running(3), "web", 1, 2, at(0));
    fleet = swap(ready(fleet, 1, 2), "web", 1, at(0)).fleet;
    fleet = startReplacement(fleet, "web", 2, 2, at(0)).fleet;
    fleet = ready(fleet, 2, 2);
    fleet = startReplacement(fleet, "web", 3, 2, at(0)).fleet;
    const change = taken(fleet);
    const slots = findPool(change.fleet, "web")?.slots ?? [];
    expect(slots.map(({ member, other }) => [member.generation, member.process.state, other?.process])).toEqual([
      [2, "ready", expect.objectContaining({ state: "draining", step: "leave", goal: "down", attempt: 1 })],
      [1, "ready", expect.objectContaining({ state: "draining", step: "leave", goal: "down", attempt: 2 })],
      [1, "ready", expect.objectContaining({ state: "draining", step: "term", goal: "down", attempt: 2 })],
    ]);
    expect(slotsOfOtherGenerations(findPool(change.fleet, "web") as never)).toEqual([1]);
    expect(effectsOf(change)).not.toContainEqual(expect.stringContaining("spawn"));
  });

  test("removes a slot whose removal was in progress and whose process has exited", () => {
    const { fleet } = resize(running(2), "web", 1, at(0));
    const { fleet: now } = taken(fleet, ["web.2#1"]);
    expect(findPool(now, "web")?.slots.map(({ name }) => name)).toEqual(["web.1"]);
    expect(findPool(now, "web")?.nextAttempts.get(2)).toBe(2);
  });

  test("spawns a process that was to be restarted and has exited", () => {
    const { fleet } = command(running(1), "web", 1, { type: "restart" }, at(0));
    expect(effectsOf(taken(fleet, ["web.1#1"]))).toContain("web.1#2 spawn");
  });

  test("numbers spawns after those of processes that it does not know, of known and of unknown slots", () => {
    let fleet = skipAttempt(running(1), "web", 1, 9);
    fleet = skipAttempt(fleet, "web", 2, 4);
    const { fleet: now } = resize(fleet, "web", 2, at(0));
    expect(findSlot(now, "web", 1)?.member.process).toMatchObject({ attempt: 1, nextAttempt: 10 });
    expect(findSlot(now, "web", 2)?.member.process).toMatchObject({ attempt: 5 });
  });
});
