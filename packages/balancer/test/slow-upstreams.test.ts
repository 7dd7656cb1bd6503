/** An upstream that reads a body slowly: during that time the paused client has no deadline. */
import path from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { punctually } from "../../../test/support/wait.js";
import { BalancerProcess, SETUPS } from "./support/balancer-process.js";
import { exchangeRaw } from "./support/raw-client.js";
import { ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

/** More than the kernel and a window hold. */
const BODY_BYTES = 1_000_000;
const PIECE_EVERY_MS = 250;

const upload = (target: string, bytes: number) =>
  `POST ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${bytes}\r\n\r\n${"a".repeat(bytes - 1)}!`;

afterAll(() => BalancerProcess.stopIdle());

/** Pauses all connections of an upstream. After its first request, each is read piece by piece. */
function slowDown(upstream: ScriptedUpstream): void {
  for (const socket of upstream.accepted) {
    if (socket.isPaused()) continue;
    if (socket.listenerCount("data") < 2) socket.on("data", () => socket.pause());
    socket.pause();
  }
}

// All cases at once, because they mostly wait.
it.concurrent.each(SETUPS)(
  "a slow upstream is awaited while it accepts pieces, before its response and during it, on %s over %s",
  async (runtime, protocol) => {
    const balancer = await BalancerProcess.start(runtime, { bodyTimeoutMs: 300, upstreamResponseTimeoutMs: 4000 });
    balancer.protocol = protocol;
    const answering = new Set<UpstreamConnection>();
    const onBytes = (connection: UpstreamConnection) => {
      slowDown(upstream);
      const { socket, received } = connection;
      const isWhole = received.endsWith("!");
      if (!answering.has(connection) && (isWhole || received.startsWith("POST /early"))) {
        answering.add(connection);
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
      }
      if (isWhole) socket.write("done");
    };
    const upstream = await ScriptedUpstream.listen(path.join(balancer.directory, "web.sock"), onBytes, protocol);
    const pace = setInterval(() => {
      for (const socket of upstream.accepted) socket.resume();
    }, PIECE_EVERY_MS);
    try {
      await balancer.follow({ "web.1#1": upstream.path });
      await punctually(150, async () => {
        const begunAt = performance.now();
        const responses = ["/late", "/early"].map((target) => exchangeRaw(balancer.port, upload(target, BODY_BYTES)));
        for (const { received } of await Promise.all(responses))
          expect(received).toMatch(/^HTTP\/1\.1 200 [\s\S]*done$/);
        // Otherwise it proves nothing.
        expect(performance.now() - begunAt).toBeGreaterThan(4000);
      });
    } finally {
      clearInterval(pace);
      await upstream.close();
      await balancer.stop();
    }
  },
);

describe.each(SETUPS)("slow upstreams on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;

  const start = async (limits: object, onBytes: (connection: UpstreamConnection) => void) => {
    balancer = await BalancerProcess.lease(runtime, limits);
    balancer.protocol = protocol;
    upstream = await ScriptedUpstream.listen(path.join(balancer.directory, "web.sock"), onBytes, protocol);
    await balancer.follow({ "web.1#1": upstream.path });
  };

  afterEach(async () => {
    await upstream.close();
    await balancer.giveBack();
  });

  it("that accepts nothing more is given up: 504", async () => {
    await start({ upstreamResponseTimeoutMs: 300 }, () => slowDown(upstream));
    const { received } = await exchangeRaw(balancer.port, upload("/", 5_000_000));
    expect(received).toMatch(/^HTTP\/1\.1 504 /);
  });

  it("that accepts few requests and continues after a 504 is reported with the request", async (context) => {
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

  it("has no more bytes of all clients waiting for it than the balancer may hold: 503", async (context) => {
    if (protocol === "lane") context.skip("a lane that is full takes no new request to begin with");
    await start({ upstreamResponseTimeoutMs: 1000, maxBufferedBytes: 1000 }, () => slowDown(upstream));
    const uploads = Array.from({ length: 8 }, () => exchangeRaw(balancer.port, upload("/", 2_000_000)));
    const statuses = (await Promise.all(uploads)).map(({ received }) => received.slice(9, 12));
    expect(new Set(statuses)).toContain("503");
    await balancer.reports(({ inFlight }) => inFlight === 0);
  });
});
