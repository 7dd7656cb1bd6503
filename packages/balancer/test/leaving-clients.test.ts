/** Clients that leave while nobody reads the body that they send: noticed within seconds, however they went. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BalancerProcess, SETUPS } from "./support/balancer-process.js";
import { RawClient } from "./support/raw-client.js";
import { ScriptedUpstream } from "./support/scripted-upstream.js";

/** More than balancer, upstream and kernels hold; and so little more than those before the client's own that its FIN comes through. */
const MUCH_BYTES = 3_000_000;
const LITTLE_BYTES = 150_000;

describe.concurrent.each(SETUPS)("clients that leave unread, on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;
  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime, { upstreamResponseTimeoutMs: 60_000, bodyTimeoutMs: 60_000 });
    balancer.protocol = protocol;
    // Reads no more once it has a piece of each body.
    upstream = await ScriptedUpstream.listen(
      `${balancer.directory}/one.sock`,
      () => {
        for (const socket of upstream.accepted) if (upstream.connections.length === 3) socket.pause();
      },
      protocol,
    );
    await balancer.follow({ "web.1#1": upstream.path });
  });
  afterAll(async () => {
    await balancer.stop();
    await upstream.close();
  });

  it("are let go of, and one that stays is not", async () => {
    const clients = await Promise.all(
      [MUCH_BYTES, LITTLE_BYTES, MUCH_BYTES].map(async (bytes) => {
        const client = await RawClient.connect(balancer.port);
        void client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n${"x".repeat(bytes)}`);
        return client;
      }),
    );
    await balancer.reports(({ inFlight }) => inFlight === 3);
    const [reset, ended, stays] = clients as [RawClient, RawClient, RawClient];
    reset.socket.resetAndDestroy();
    ended.destroy();
    await balancer.reports(({ inFlight }) => inFlight === 1);
    expect(stays.ending).toBe("open");
    stays.destroy();
  });
});
