/** One of four upstreams fails in each possible way: it is ejected and readmitted, and no request to the others is lost. */
import http from "node:http";
import path from "node:path";
import type { BalancerStats, ChildMessage, EjectionRule, UpstreamStats } from "@paceline/wire";
import { describe, expect, it } from "vitest";
import { BalancerProcess, pool } from "./support/balancer-process.js";
import { HELLO, ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

const RULE: EjectionRule = {
  // Fewer than there are clients: all of them wait at one that hangs.
  failures: 3,
  failurePercent: 50,
  minRequests: 5,
  windowMs: 300,
  ejectMs: 1000,
  maxEjectMs: 1000,
  maxEjectedPercent: 50,
};
const NAMES = ["web.1#1", "web.2#1", "web.3#1", "web.4#1"];
const CLIENTS = 4;
const PAUSE_MS = 10;
/** The serving upstreams respond well within this time, even if this process, which runs all of them, is delayed. */
const RESPONSE_TIMEOUT_MS = 2000;

/** How an upstream treats a request. */
type Way = "serves" | "fails" | "resets" | "hangs";

const WAYS: [way: Exclude<Way, "serves">, reason: RegExp, status: number | undefined][] = [
  ["fails", /^(\d+ failures in a row|\d+ of \d+ requests failed); of the others' \d+ requests 0 failed$/, 500],
  ["resets", /^(\d+ failures in a row|\d+ of \d+ requests failed); of the others' \d+ requests 0 failed$/, undefined],
  // Its responses fail together, so the share of failures may decide.
  ["hangs", /^(\d+ failures in a row|\d+ of \d+ requests failed); of the others' \d+ requests 0 failed$/, 504],
];

class Upstreams {
  readonly ways = new Map<string, Way>(NAMES.map((name) => [name, "serves"]));
  readonly all = new Map<string, ScriptedUpstream>();
  private readonly served = new WeakMap<UpstreamConnection, number>();

  constructor(private readonly balancer: BalancerProcess) {}

  async listen(): Promise<Record<string, string>> {
    for (const name of NAMES) {
      const socket = path.join(this.balancer.directory, `${name}.sock`);
      const protocol = this.balancer.protocol === "lane" ? "lane" : "http1";
      this.all.set(name, await ScriptedUpstream.listen(socket, (each) => this.serve(name, each), protocol));
    }
    return Object.fromEntries([...this.all].map(([name, upstream]) => [name, upstream.path]));
  }

  private serve(name: string, connection: UpstreamConnection): void {
    const heads = connection.received.split("\r\n\r\n").length - 1;
    if (heads <= (this.served.get(connection) ?? 0)) return;
    this.served.set(connection, heads);
    const { socket } = connection;
    switch (this.ways.get(name)) {
      case "serves":
        return void socket.write(HELLO);
      case "fails":
        return void socket.write("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n");
      case "hangs":
        // Its event loop turns: the request has started.
        return void socket.write("HTTP/1.1 103 Early Hints\r\n\r\n");
      case "resets":
        for (const each of this.all.get(name)?.accepted ?? []) each.destroy();
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.all.values()].map((upstream) => upstream.close()));
  }
}

/** Clients that keep their connections, and their results. */
class Clients {
  readonly statuses = new Map<number, number>();
  private isOver = false;
  private readonly agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS });
  private readonly loops: Promise<void>[];

  constructor(private readonly port: number) {
    this.loops = Array.from({ length: CLIENTS }, () => this.loop());
  }

  private async loop(): Promise<void> {
    while (!this.isOver) {
      const status = await this.ask();
      this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** Resolves with the status; 0 without a response. */
  private ask(): Promise<number> {
    return new Promise((resolve) => {
      const request = http.get({ host: "127.0.0.1", port: this.port, agent: this.agent });
      request.on("error", () => resolve(0));
      request.on("response", (response) => {
        response.resume();
        response.on("error", () => resolve(0));
        response.on("end", () => resolve(response.statusCode ?? 0));
      });
    });
  }

  /** Returns the statuses other than 200 since the last call. */
  takeFailures(): number[] {
    const failed = [...this.statuses.keys()].filter((status) => status !== 200);
    this.statuses.clear();
    return failed;
  }

  async stop(): Promise<void> {
    this.isOver = true;
    await Promise.all(this.loops);
    this.agent.destroy();
  }
}

const one = ({ upstreams }: BalancerStats, name: string) => upstreams.find(({ id }) => id === name) as UpstreamStats;

/** Every runtime and every upstream protocol; the deciding code is the same for all of them. */
const SETUPS = [
  ["bun", "lane"],
  ["node", "http1"],
] as const;

describe.concurrent.each(SETUPS)("ejection on %s over %s", (runtime, protocol) => {
  it("ejects the one upstream that is worse, however it fails, and none if all fail", async () => {
    const balancer = await BalancerProcess.start(runtime, { upstreamResponseTimeoutMs: RESPONSE_TIMEOUT_MS });
    balancer.protocol = protocol;
    const upstreams = new Upstreams(balancer);
    const described = { ...pool("web", ["/"], await upstreams.listen()), ejection: RULE, slowStartMs: 100 };
    await balancer.follow({}, [described]);
    const clients = new Clients(balancer.port);
    try {
      for (const [at, [way, reason, status]] of WAYS.entries()) {
        const bad = NAMES[at] as string;
        await balancer.reports((stats) => NAMES.every((name) => one(stats, name).requestsTotal > 20 * (at + 1)));
        expect(clients.takeFailures(), way).toEqual([]);
        upstreams.ways.set(bad, way);
        const ejected = await balancer.reports((stats) => one(stats, bad).ejected !== undefined);
        expect(one(ejected, bad).ejected?.reason, way).toMatch(reason);
        expect(ejected.upstreams.filter((each) => each.ejected !== undefined)).toHaveLength(1);
        // It gets no new requests, and the others serve.
        const before = one(ejected, bad);
        const still = await balancer.reports(
          (stats) => one(stats, bad).ejected?.number !== before.ejected?.number || one(stats, bad).inFlight === 0,
        );
        if (one(still, bad).ejected?.number === before.ejected?.number)
          expect(one(still, bad).requestsTotal, way).toBeLessThanOrEqual(before.requestsTotal + before.inFlight);
        upstreams.ways.set(bad, "serves");
        await balancer.reports((stats) => {
          const { ejected: again, requestsTotal } = one(stats, bad);
          return again === undefined && requestsTotal > before.requestsTotal + 5;
        });
        expect(clients.takeFailures(), way).toEqual(status === undefined ? [] : [status]);
      }

      // An app whose instances all fail keeps all of them.
      for (const name of NAMES) upstreams.ways.set(name, "fails");
      const start = await balancer.reports(() => true);
      const failing = await balancer.reports((stats) =>
        NAMES.every((name) => one(stats, name).requestsTotal > one(start, name).requestsTotal + 40),
      );
      expect(failing.upstreams.filter(({ ejected }) => ejected !== undefined)).toEqual([]);

      // Without a retry budget, a request that is lost with its upstream is not sent to another one. Only this one has lost such
      // requests before: after losses at two, they are not sent again in any case.
      for (const name of NAMES) upstreams.ways.set(name, name === NAMES[1] ? "resets" : "serves");
      const { ejection: _, ...plain } = described;
      await balancer.follow({}, [{ ...plain, retryBudget: { percent: 0, minPerSecond: 0 } }]);
      await balancer.reports(() => clients.statuses.has(502));
      const isTold = (message: ChildMessage) =>
        message.type === "notice" && /^the retry budget of web is used up: \d+ requests/.test(message.message);
      await balancer.hears(isTold);
    } finally {
      await clients.stop();
      await upstreams.close();
      await balancer.stop();
    }
  });
});
