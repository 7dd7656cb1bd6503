/** An upstream that reads a body slowly: the paused client has no deadline meanwhile. */
import path from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { punctually } from "../../../test/support/wait.js";
import { BalancerProcess, SETUPS } from "./support/balancer-process.js";
import { exchangeRaw } from "./support/raw-client.js";
import { ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

/** More than the kernel and a window hold. */
const BODY_BYTES = 400_000;
const PIECE_EVERY_MS = 300;

const upload = (target: string, bytes: number) =>
  `POST ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${bytes}\r\n\r\n${"a".repeat(bytes - 1)}!`;

afterAll(() => BalancerProcess.stopIdle());

describe.each(SETUPS)("slow upstreams on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;
  let pace: NodeJS.Timeout | undefined;

  const start = async (limits: object, onBytes: (connection: UpstreamConnection) => void) => {
    balancer = await BalancerProcess.lease(runtime, limits);
    balancer.protocol = protocol;
    upstream = await ScriptedUpstream.listen(path.join(balancer.directory, "web.sock"), onBytes, protocol);
    await balancer.follow({ "web.1#1": upstream.path });
  };

  /** After its first request, a connection is read one piece at a time. */
  const slowDown = (everyMs?: number) => {
    for (const socket of upstream.accepted) {
      if (socket.isPaused()) continue;
      if (socket.listenerCount("data") < 2) socket.on("data", () => socket.pause());
      socket.pause();
    }
    if (everyMs === undefined || pace !== undefined) return;
    pace = setInterval(() => {
      for (const socket of upstream.accepted) socket.resume();
    }, everyMs);
  };

  afterEach(async () => {
    clearInterval(pace);
    pace = undefined;
    await upstream.close();
    await balancer.giveBack();
  });

  it("is waited for while it takes pieces, before its answer and in the middle of it", async () => {
    const answering = new Set<UpstreamConnection>();
    await start({ bodyTimeoutMs: 200, upstreamResponseTimeoutMs: 2000 }, (connection) => {
      slowDown(PIECE_EVERY_MS);
      const { socket, received } = connection;
      const isWhole = received.endsWith("!");
      if (!answering.has(connection) && (isWhole || received.startsWith("POST /early"))) {
        answering.add(connection);
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
      }
      if (isWhole) socket.write("done");
    });
    await punctually(100, async () => {
      const responses = ["/late", "/early"].map((target) => exchangeRaw(balancer.port, upload(target, BODY_BYTES)));
      for (const { received } of await Promise.all(responses)) expect(received).toMatch(/^HTTP\/1\.1 200 [\s\S]*done$/);
    });
  });

  it("that takes nothing more is given up: 504", async () => {
    await start({ upstreamResponseTimeoutMs: 300 }, () => slowDown());
    const { received } = await exchangeRaw(balancer.port, upload("/", 5_000_000));
    expect(received).toMatch(/^HTTP\/1\.1 504 /);
  });

  it("that takes few requests and goes on after a 504 is reported with it", async (context) => {
    if (protocol === "lane") context.skip("an upstream with a lane takes many requests");
    await start({ upstreamResponseTimeoutMs: 100 }, () => {});
    const upstreams = [{ id: "web.2#1", name: "web.2", socket: upstream.path, maxInFlight: 8 }];
    await balancer.follow({}, [{ name: "web", routes: ["/"], upstreams }]);
    let isReported = false;
    const first = balancer.reports(({ upstreams: [web] }) => web?.overdue !== undefined);
    const reported = first.then(() => {
      isReported = true;
    });
    for (let n = 0; n < 8 && !isReported; n++) {
      const { received } = await exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      expect(received).toMatch(/^HTTP\/1\.1 504 /);
    }
    await reported;
  });

  it("has no more waiting for it, of all clients together, than the balancer may hold: 503", async (context) => {
    if (protocol === "lane") context.skip("a lane that is full takes no new request to begin with");
    await start({ upstreamResponseTimeoutMs: 1000, maxBufferedBytes: 1000 }, () => slowDown());
    const uploads = Array.from({ length: 8 }, () => exchangeRaw(balancer.port, upload("/", 2_000_000)));
    const statuses = (await Promise.all(uploads)).map(({ received }) => received.slice(9, 12));
    expect(new Set(statuses)).toContain("503");
    await balancer.reports(({ inFlight }) => inFlight === 0);
  });
});
