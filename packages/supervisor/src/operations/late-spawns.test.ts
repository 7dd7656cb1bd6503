/** Which process that the saved state does not name takes the place of its slot's lost process. */
import { once } from "node:events";
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { makeFolder } from "../../test/support.js";
import { EMPTY_FLEET, findSlot } from "../core/fleet.js";
import { addPool, command, report, resize, startReplacement } from "../core/fleet-changes.js";
import type { Orphan } from "../run-dir/orphans.js";
import { placeLateSpawn } from "./late-spawns.js";

const policy = { readyTimeoutMs: 1, stableAfterMs: 1, drainTimeoutMs: 9, isUpstream: true } as never;
const context = { now: 0, random: 0, policyOf: () => policy };
const { fleet: starting } = resize(addPool(EMPTY_FLEET, "web", 1), "web", 1, context);
const ready = report(starting, "web", 1, { type: "ready", attempt: 1 }, context).fleet;
const health = { readyPath: undefined };
const settings = { runtime: "bun", maxOutputBytes: 100, maxInFlight: 4, workload: {}, health };
const orphan = {
  ...{ pid: 7, identity: { pid: 7, startedAt: "70", boot: "" }, name: "web.1", isBalancer: false, pool: "web" },
  ...{ attempt: 2, generation: 1, command: undefined, token: "t", drainTimeoutMs: 1, spawnTag: "m" },
} as Orphan;

function place(
  given: Partial<Orphan>,
  {
    fleet = ready,
    runs = false,
    more = {},
    known = [1],
    protocol = undefined as "lane" | undefined,
    folder = "/nowhere",
  } = {},
) {
  const generation = (_pool: string, number: number) =>
    known.includes(number) ? { pool: { ...settings, ...more } } : undefined;
  return placeLateSpawn(
    fleet,
    { ...orphan, ...given },
    {
      configs: { balancer: settings, generation } as never,
      socketPath: (id) => `${folder}/${id}.sock`,
      protocolOf: () => protocol,
      isRunning: () => runs,
    },
  );
}

describe("a process that was spawned just before the kill", () => {
  test("takes the place of the one that it replaced, and is starting until it reports", () => {
    const placed = place({});
    expect(placed).toMatchObject({
      isRestart: true,
      process: {
        ...{
          id: "web.1#2",
          pid: 7,
          startTime: "70",
          token: "t",
          socket: "/nowhere/web.1#2.sock",
          tag: "m",
          mark: null,
        },
        ...{ maxInFlight: 4, perClient: false, tcp: null },
      },
    });
    const process = findSlot(placed?.fleet ?? EMPTY_FLEET, "web", 1)?.member.process;
    expect(process).toMatchObject({ state: "starting", attempt: 2, nextAttempt: 3, goal: "up", hasServed: true });
  });

  test.each([
    ["an app whose like have said that they speak over the lane", { app: {} }, "lane", "ready", "lane"],
    ["an app of which nobody knows", { app: {} }, undefined, "starting", "http1"],
    ["a static folder of which nobody knows", { static: {} }, undefined, "starting", "http1"],
    ["a Python app", { wsgi: {} }, undefined, "ready", "http1"],
  ] as const)(
    "that listens is ready if it is known what it speaks: %s",
    async (_, workload, protocol, state, spoken) => {
      const folder = makeFolder();
      const server = createServer().listen(`${folder}/web.1#2.sock`);
      await once(server, "listening");
      const placed = place({}, { folder, protocol, more: { workload, protocol: "lane" } });
      server.close();
      expect(placed?.process.protocol).toBe(spoken);
      expect(findSlot(placed?.fleet ?? EMPTY_FLEET, "web", 1)?.member.process.state).toBe(state);
    },
  );

  test.each([
    ["unknown", [1]],
    ["known", [1, 2]],
  ])(
    "may be of a generation that a full disk kept out of its slot's state, and waits for its hello: %s",
    async (_, known) => {
      const folder = makeFolder();
      const server = createServer().listen(`${folder}/web.1#2.sock`);
      await once(server, "listening");
      const placed = place({ generation: 2 }, { folder, known, protocol: "lane", more: { workload: { app: {} } } });
      server.close();
      expect(placed).toMatchObject({ configOf: 1, process: { id: "web.1#2", generation: 2 } });
      const member = findSlot(placed?.fleet ?? EMPTY_FLEET, "web", 1)?.member;
      expect(member).toMatchObject({ generation: 2, process: { state: "starting", attempt: 2 } });
    },
  );

  test("may be the first one of its slot, whose pid was not known yet", () => {
    expect(place({ attempt: 1 }, { fleet: starting })).toMatchObject({ process: { id: "web.1#1" } });
  });

  test("is the shim of a command, of a worker, or a balancer", () => {
    const address = { host: "127.0.0.1", port: 5 };
    const shim = place({ command: { address } })?.process;
    expect(shim).toMatchObject({
      mark: "m",
      tag: null,
      tcp: address,
      socket: "/nowhere/web.1#2.sock",
      perClient: true,
    });
    expect(place({ command: {} })?.process).toMatchObject({ socket: null, tcp: null });
    const { fleet } = resize(addPool(EMPTY_FLEET, "balancer", 1), "balancer", 1, context);
    expect(place({ pool: "balancer", name: "balancer.1" }, { fleet })?.process).toMatchObject({ socket: null });
    expect(place({}, { more: { workload: { proxy: {} } } })?.process.perClient).toBe(true);
  });

  test.each([
    ["while the slot's own process runs", {}, { runs: true }],
    ["of another generation while the slot's own process runs", { generation: 2 }, { runs: true }],
    ["without a generation", { generation: Number.NaN }, {}],
    ["beside a replacement", {}, { fleet: startReplacement(ready, "web", 1, 1, context).fleet }],
    ["of a slot that is to end", {}, { fleet: command(ready, "web", 1, { type: "stop" }, context).fleet }],
    ["that is older than the slot's own", { attempt: 0 }, {}],
    ["of an unknown slot", { name: "web.9" }, {}],
    ["of an unknown pool", { pool: "gone", name: "gone.1" }, {}],
    ["that is a template", { name: "web.template", attempt: 1 }, {}],
    ["without a token", { token: undefined }, {}],
  ])("does not take a place %s", (_, given, world) => {
    expect(place(given as Partial<Orphan>, world)).toBeUndefined();
  });
});
