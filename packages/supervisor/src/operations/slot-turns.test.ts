/** Drains, ejections and weights set by an operator: what they change, what is rejected, and when a drain has ended. */
import type { StickyRule } from "@paceline/wire";
import { expect, test } from "vitest";
import { SLOT_POLICY } from "../../test/slot-policy.js";
import { BalancerCoordination } from "../channel/balancer-coordination.js";
import type { ChannelConnection } from "../channel/channel-server.js";
import type { TurnChange } from "../control/api.js";
import { findSlot } from "../core/fleet.js";
import { addPool, report, resize, setTurn } from "../core/fleet-changes.js";
import { EventLog } from "../logs/event-log.js";
import { FleetRunner } from "../processes/fleet-runner.js";
import { SlotTurns } from "./slot-turns.js";

/** Two ready instances of `web`, one of `jobs`, which gets no requests, and a balancer that follows immediately. */
function fleetOf() {
  const runner = new FleetRunner(
    () => SLOT_POLICY,
    () => {},
  );
  for (const [pool, size] of [
    ["web", 2],
    ["jobs", 1],
  ] as const) {
    runner.set(addPool(runner.fleet, pool, 1));
    runner.change((fleet, context) => resize(fleet, pool, size, context));
    for (let index = 1; index <= size; index++)
      runner.change((fleet, context) => report(fleet, pool, index, { type: "ready", attempt: 1 }, context));
  }
  const coordination = new BalancerCoordination(() => {});
  const log = new EventLog();
  const world = {
    busy: [] as string[],
    isStopping: false,
    health: new Map<string, "ejected" | "failing">(),
    sticky: undefined as StickyRule | undefined,
  };
  const follow = () =>
    coordination.applied("balancer.1#1", {
      version: coordination.version,
      leaving: [],
      busy: world.busy,
      listening: true,
    });
  const connection = { send: () => setImmediate(follow) } as unknown as ChannelConnection;
  let changes = 0;
  const publish = () =>
    coordination.publish({ pools: [], listen: [], trustedProxies: [], spoolDir: `${++changes}`, limits: {} as never });
  publish();
  coordination.join("balancer.1#1", connection);
  const turns = new SlotTurns({
    ...{ runner, coordination, log, publish },
    isStopping: () => world.isStopping,
    healthOf: (id) => world.health.get(id),
    getsRequests: (pool) => pool === "web",
    stickyOf: () => world.sticky,
  });
  const change = (what: TurnChange) => turns.change(what, () => {});
  const drain = (name: string, more: { isForced?: boolean; waits?: boolean } = {}) =>
    change({ do: "drain", name, isForced: false, waits: false, ...more });
  const turnOf = (index: number) => findSlot(runner.fleet, "web", index)?.turn;
  const events = () => log.recentEvents().map(({ subject, message }) => `${subject} ${message}`);
  return { world, runner, turns, follow, change, drain, turnOf, events };
}

test.each<[TurnChange, string]>([
  [{ do: "undrain", name: "wbe.1" }, 'no pool or instance named "wbe.1" (known: web)'],
  [{ do: "undrain", name: "web.3" }, 'no pool or instance named "web.3" (known: web.1, web.2)'],
  [{ do: "eject", name: "web" }, "web is a pool: name one of its instances, such as web.1"],
  [{ do: "eject", name: "jobs.1" }, "jobs.1 gets no requests from the balancers"],
  [
    { do: "weight", name: "web.1", weight: 0 },
    "a weight is from 1 to 1000, not 0; for no requests run paceline drain web.1",
  ],
  [
    { do: "weight", name: "web.1", weight: 1001 },
    "a weight is from 1 to 1000, not 1001; for no requests run paceline drain web.1",
  ],
])("%j is rejected", async (change, message) => {
  expect(await fleetOf().change(change)).toEqual({ ok: false, code: "invalid", message });
});

test("the last instance that gets requests is only drained with force", async () => {
  const { change, drain, turnOf } = fleetOf();
  expect(await drain("web.1")).toEqual({ ok: true, message: "web.1 is drained: nothing is in flight there" });
  // The second time, it changes nothing.
  expect(await drain("web.1")).toMatchObject({ ok: true });
  expect(await drain("web.2")).toMatchObject({ ok: false, code: "last-available" });
  expect(turnOf(2)).toBeUndefined();
  expect(await drain("web.2", { isForced: true })).toMatchObject({ ok: true });
  expect(turnOf(2)).toEqual({ drained: true });
  expect(await change({ do: "undrain", name: "web.1" })).toEqual({ ok: true, message: "web.1 gets requests again" });
  expect(await change({ do: "undrain", name: "web.1" })).toEqual({ ok: true, message: "web.1 is not drained" });
});

test("an ejected instance can take over from one that is drained", async () => {
  const { change, drain } = fleetOf();
  for (const name of ["web.1", "web.2"]) await change({ do: "eject", name });
  expect(await drain("web.1")).toMatchObject({ ok: true });
  expect(await drain("web.2")).toMatchObject({ ok: false, code: "last-available" });
});

test("a drain with --wait ends with the last request there, and reports that; a drain that is undone fails", async () => {
  const { world, follow, change, drain, events } = fleetOf();
  world.busy = ["web.2#1"];
  expect(await drain("web.2")).toEqual({ ok: true, message: "web.2 is drained; its requests in flight continue" });
  const waiting = drain("web.2", { waits: true });
  await new Promise(setImmediate);
  expect(events().at(-1)).toContain("is drained");
  world.busy = [];
  follow();
  expect(await waiting).toEqual({ ok: true, message: "web.2 is drained: nothing is in flight there" });
  expect(events().at(-1)).toBe("web.2 nothing is in flight any more");

  await change({ do: "undrain", name: "web.2" });
  world.busy = ["web.2#1"];
  const undone = drain("web.2", { waits: true });
  await new Promise(setImmediate);
  world.busy = [];
  await change({ do: "undrain", name: "web.2" });
  expect(await undone).toMatchObject({ ok: false, code: "failed" });
  world.isStopping = true;
  expect(await drain("web.2")).toMatchObject({ code: "failed", message: "the fleet is stopping" });
});

test("a supervisor that takes over reports when an earlier supervisor's drain has ended, if requests are in flight", async () => {
  const { world, runner, turns, follow, events } = fleetOf();
  for (const index of [1, 2]) runner.set(setTurn(runner.fleet, "web", index, { drained: true }));
  world.busy = ["web.2#1"];
  follow();
  await turns.resume();
  expect(events()).toEqual([]);
  world.busy = [];
  follow();
  await new Promise(setImmediate);
  expect(events()).toEqual(["web.2 nothing is in flight any more"]);
});

test("the result of a weight says which clients of a sticky pool ignore it", async () => {
  const { world, change } = fleetOf();
  const weigh = async () => (await change({ do: "weight", name: "web.1", weight: 50 })) as { message: string };
  world.sticky = { by: "cookie" };
  expect((await weigh()).message).toBe(
    "web.1 has the weight 50; it affects only new clients, since known ones stay with their instance",
  );
  world.sticky = { by: "path" };
  expect((await weigh()).message).toContain("it has no effect on requests whose instance is chosen by a hash");
});

test("an ejection applies to the process, and the command says when it has no effect", async () => {
  const { change, runner, turnOf } = fleetOf();
  expect(await change({ do: "eject", name: "web.1" })).toEqual({ ok: true, message: "web.1 is ejected" });
  expect(turnOf(1)).toEqual({ ejected: 1 });
  expect(await change({ do: "eject", name: "web.2" })).toMatchObject({
    message: expect.stringContaining("it still gets requests"),
  });
  expect(await change({ do: "readmit", name: "web.2" })).toEqual({ ok: true, message: "web.2 is readmitted" });
  expect(await change({ do: "readmit", name: "web.2" })).toEqual({ ok: true, message: "web.2 is not ejected" });
  const exit = { type: "exited", attempt: 1, status: { code: 1, signal: null } } as const;
  runner.change((fleet, context) => report(fleet, "web", 1, exit, context));
  expect(await change({ do: "eject", name: "web.1" })).toMatchObject({ ok: false, code: "invalid" });
});

test("readmit also ends ejections by balancers, but not failures of health checks", async () => {
  const { world, change, turnOf } = fleetOf();
  world.health.set("web.1#1", "ejected").set("web.2#1", "failing");
  const readmit = (name: string) => change({ do: "readmit", name });
  expect(await readmit("web.1")).toEqual({ ok: true, message: "web.1 is readmitted" });
  expect(await readmit("web.1")).toEqual({ ok: true, message: "web.1 is readmitted" });
  expect(turnOf(1)).toEqual({ readmits: 2 });
  expect(await readmit("web.2")).toMatchObject({ message: expect.stringContaining("fails its health checks") });
  expect(turnOf(2)).toBeUndefined();
});

test("a weight is kept with other settings; 100 removes it", async () => {
  const { change, drain, turnOf } = fleetOf();
  expect(await change({ do: "weight", name: "web.1", weight: 50 })).toMatchObject({
    message: "web.1 has the weight 50",
  });
  await drain("web.1");
  expect(turnOf(1)).toEqual({ weight: 50, drained: true });
  await change({ do: "weight", name: "web.1", weight: 100 });
  expect(turnOf(1)).toEqual({ drained: true });
});
