import type { SupervisorMessage } from "@paceline/wire";
import { expect, test } from "vitest";
import { BalancerCoordination, type SnapshotContent } from "./balancer-coordination.js";
import type { ChannelConnection } from "./channel-server.js";

function content(...upstreams: string[]): SnapshotContent {
  const list = upstreams.map((id) => ({
    id,
    name: id.split("#")[0] ?? id,
    socket: `/run/${id}`,
    protocol: "lane" as const,
  }));
  const limits = {} as SnapshotContent["limits"];
  return {
    listen: [],
    pools: [{ name: "web", routes: ["/"], stripPrefix: false, upstreams: list }],
    trustedProxies: [],
    spoolDir: "/run/spool",
    limits,
  };
}

function balancer(coordination: BalancerCoordination, id: string, follows?: number) {
  const heard: SupervisorMessage[] = [];
  const connection = { send: (message: SupervisorMessage) => heard.push(message) } as unknown as ChannelConnection;
  coordination.join(id, connection, follows);
  return { connection, heard, versions: () => heard.flatMap((m) => (m.type === "snapshot" ? [m.version] : [])) };
}

/** A coordination, and its reports. */
function watched() {
  const reports: string[] = [];
  return { reports, coordination: new BalancerCoordination((upstream, what) => reports.push(`${upstream} ${what}`)) };
}

test("a balancer gets the current snapshot when it joins, and each new one that differs", () => {
  const { coordination } = watched();
  coordination.publish(content("web.1#1"));
  const first = balancer(coordination, "balancer.1#1");
  coordination.publish(content("web.1#1"));
  coordination.publish(content("web.1#1", "web.2#1"));
  expect(first.versions()).toEqual([1, 2]);
  expect(balancer(coordination, "balancer.2#1").versions()).toEqual([2]);
});

test("a snapshot is applied when all running balancers follow it; one that does not respond is named and not awaited", async () => {
  const { coordination } = watched();
  coordination.publish(content());
  balancer(coordination, "balancer.1#1");
  balancer(coordination, "balancer.2#1");
  coordination.applied("balancer.1#1", { version: 1, leaving: [], listening: true });
  expect(await coordination.whenApplied(1, 20)).toEqual(["balancer.2#1"]);
  const waiting = coordination.whenApplied(1, 10_000);
  coordination.gone("balancer.2#1");
  expect(await waiting).toEqual([]);
  expect(await coordination.whenApplied(2, 20)).toEqual(["balancer.1#1"]);
});

test("an upstream has left when all balancers follow, and is released when none uses it, including one with a lost channel", () => {
  const { coordination, reports } = watched();
  coordination.publish(content("web.1#1"));
  balancer(coordination, "balancer.1#1");
  coordination.applied("balancer.1#1", { version: 1, leaving: [], listening: true });
  coordination.publish(content());
  coordination.leave("web.1#1");
  expect(coordination.lateFor("web.1#1")).toEqual(["balancer.1#1"]);
  expect(reports).toEqual([]);
  coordination.applied("balancer.1#1", { version: 2, leaving: ["web.1#1"], listening: true });
  expect(reports).toEqual(["web.1#1 left"]);
  coordination.lostChannel("balancer.1#1");
  balancer(coordination, "balancer.1#1");
  expect(reports).toEqual(["web.1#1 left"]);
  coordination.applied("balancer.1#1", { version: 2, leaving: [], listening: true });
  coordination.applied("balancer.1#1", { version: 2, leaving: [], listening: true });
  expect(reports).toEqual(["web.1#1 left", "web.1#1 released"]);
});

test("a drained upstream is idle when all balancers follow and none has a request there", async () => {
  const { coordination } = watched();
  coordination.publish(content("web.1#1"));
  for (const id of ["balancer.1#1", "balancer.2#1"]) balancer(coordination, id);
  const idle = coordination.whenIdle(["web.1#1"], 1, 10_000);
  coordination.applied("balancer.1#1", { version: 1, leaving: [], busy: ["web.1#1"], listening: true });
  coordination.applied("balancer.2#1", { version: 1, leaving: [], listening: true });
  expect(coordination.isIdle(["web.1#1"], 1)).toBe(false);
  expect(await coordination.whenIdle(["web.1#1"], 1, 1)).toBe(false);
  expect(coordination.isIdle(["web.2#1"], 1)).toBe(true);
  // The balancer with its last request exits.
  coordination.gone("balancer.1#1");
  expect(await idle).toBe(true);
});

test("a balancer that reconnects counts when it reports what it still uses, not before", () => {
  const { coordination, reports } = watched();
  coordination.publish(content("web.1#1"));
  balancer(coordination, "balancer.1#1");
  coordination.applied("balancer.1#1", { version: 1, leaving: [], listening: true });
  coordination.publish(content());
  coordination.leave("web.1#1");
  coordination.lostChannel("balancer.1#1");
  const back = balancer(coordination, "balancer.1#1");
  expect(back.versions()).toEqual([2]);
  expect(coordination.appliedVersion("balancer.1#1")).toBe(1);
  expect(reports).toEqual([]);
  coordination.applied("balancer.1#1", { version: 2, leaving: [], listening: true });
  expect(reports).toEqual(["web.1#1 left", "web.1#1 released"]);
});

test("a balancer that joined after the upstream left must follow before the upstream is released", () => {
  const { coordination, reports } = watched();
  coordination.publish(content("web.1#1"));
  balancer(coordination, "balancer.1#1");
  coordination.publish(content());
  coordination.leave("web.1#1");
  coordination.applied("balancer.1#1", { version: 2, leaving: ["web.1#1"], listening: true });
  balancer(coordination, "balancer.2#1");
  coordination.applied("balancer.1#1", { version: 2, leaving: [], listening: true });
  expect(reports).toEqual(["web.1#1 left"]);
  coordination.applied("balancer.2#1", { version: 2, leaving: [], listening: true });
  expect(reports).toEqual(["web.1#1 left", "web.1#1 released"]);
});

test("nothing is reported about an upstream that has exited", () => {
  const { coordination, reports } = watched();
  coordination.publish(content());
  balancer(coordination, "balancer.1#1");
  coordination.leave("web.1#1");
  coordination.gone("web.1#1");
  coordination.applied("balancer.1#1", { version: 1, leaving: [], listening: true });
  expect(reports).toEqual([]);
});

test("without a balancer nothing is awaited", async () => {
  const { coordination, reports } = watched();
  coordination.publish(content());
  expect(await coordination.whenApplied(1, 10_000)).toEqual([]);
  coordination.leave("web.1#1");
  expect(reports).toEqual(["web.1#1 left", "web.1#1 released"]);
});

test("versions continue those of an earlier supervisor, whose last ones may be unknown", () => {
  const { coordination, reports } = watched();
  coordination.continueFrom(7);
  coordination.expect("balancer.1#1");
  coordination.publish(content("web.1#1"));
  expect(coordination.version).toBe(8);
  // Until it has connected, nobody knows what it follows.
  coordination.leave("web.2#1");
  expect(reports).toEqual([]);
  const first = balancer(coordination, "balancer.1#1", 8);
  expect(first.versions(), "it would ignore a version that it has").toEqual([9]);
  coordination.applied("balancer.1#1", { version: 8, leaving: [], listening: true });
  expect(reports, "that was another snapshot").toEqual([]);
  coordination.applied("balancer.1#1", { version: 9, leaving: [], listening: true });
  expect(reports).toEqual(["web.2#1 left", "web.2#1 released"]);
  // After it has lost its channel, it follows our snapshots.
  coordination.join("balancer.1#1", first.connection, 9);
  expect(first.versions()).toEqual([9, 9]);
  const second = balancer(coordination, "balancer.2#1", 20);
  expect([second.versions(), first.versions()]).toEqual([[21], [9, 9, 21]]);
});
