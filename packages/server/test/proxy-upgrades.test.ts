/** Upgrades through http-proxy alone and through one of our instances, with raw bytes on both sides. */
import { afterAll, describe, expect, it } from "vitest";
import { eventually } from "./harness.js";
import {
  answered,
  type Both,
  endShared,
  exchange,
  RawUpstream,
  startAlone,
  upstreamGets,
  withBare,
  within,
  withOurs,
} from "./proxy-harness.js";

afterAll(endShared);

const asking = (protocol = "websocket", more = "") =>
  `GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: ${protocol}\r\nSec-WebSocket-Key: eA==\r\n${more}\r\n`;
const SWITCHING =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nKeep-Alive: timeout=5\r\nX-Passes: caf\xe9\r\n\r\n";

/** Returns a client and the upstream's connection, connected with each other. */
async function joined(both: Both) {
  const client = await answered(both, asking(), SWITCHING);
  await client.gets(/\r\n\r\n/);
  return { client, wire: await both.upstream.connection(0) };
}

describe("an upgrade on node", () => {
  it("forwards bytes in both directions, including those that arrived with either head", async () => {
    const both = await withOurs();
    const client = both.front.client();
    client.send(`${asking()}early`);
    const there = await upstreamGets(both, /\r\n\r\n/);
    expect(there).toMatch(/^connection: upgrade\r$/im);
    expect(there).toMatch(/^upgrade: websocket\r$/im);
    const wire = await both.upstream.connection(0);
    wire.send(`${SWITCHING}hello`);
    const back = await client.gets(/hello$/);
    expect(back).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
    expect(back).toMatch(/^x-passes: caf\xe9\r$/im);
    expect(back).not.toMatch(/^keep-alive:/im);
    await wire.gets(/\r\n\r\nearly$/);
    client.send("more");
    await wire.gets(/earlymore$/);
    wire.send("again");
    await client.gets(/helloagain$/);
  });

  it("ends on both sides when either side ends, with the last bytes", async () => {
    for (const first of ["client", "wire"] as const) {
      const pair = await joined(await withOurs());
      const [ending, other] = first === "client" ? [pair.client, pair.wire] : [pair.wire, pair.client];
      ending.send("last").end();
      expect(await other.closed()).toMatch(/last$/);
    }
  });

  it.each(["client", "wire"] as const)("is cut on the other side when the %s is reset", async (first) => {
    const both = await withOurs();
    const { client, wire } = await joined(both);
    if (first === "client") {
      client.destroy();
      await wire.closed();
    } else {
      wire.reset();
      await client.closed();
    }
    await exchange(both);
  });

  it("with a body gets 400, and nothing of it reaches the upstream", async () => {
    const both = await withOurs();
    const client = both.front.client();
    client.send(asking("websocket", "Content-Length: 5\r\n").concat("12345"));
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 400 /);
    expect(both.upstream.connections).toHaveLength(0);
  });
});

describe("an upgrade that the upstream rejects, on node", () => {
  const refusal =
    "HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\nWWW-Authenticate: Basic\r\nX-Theirs: 1\r\nConnection: X-Theirs\r\n\r\n4\r\nwho?\r\n0\r\n\r\n";

  it("the bare library: has the framing that its body no longer has", async () => {
    const client = await answered(await withBare(), asking(), refusal);
    const received = await client.closed();
    expect(received).toMatch(/^transfer-encoding: chunked/im);
    expect(received).toMatch(/\r\n\r\nwho\?$/);
  });

  it("is forwarded completely", async () => {
    const both = await withOurs();
    const client = await answered(both, asking(), refusal);
    const received = await client.closed();
    expect(received).toMatch(/^HTTP\/1\.1 401 Unauthorized\r\n/);
    expect(received).toMatch(/^www-authenticate: Basic\r$/im);
    expect(received).toMatch(/^connection: close\r$/im);
    expect(received).not.toMatch(/^x-theirs:/im);
    expect(received).toMatch(/\r\n\r\n4\r\nwho\?\r\n0\r\n\r\n$/);
    await exchange(both);
  });

  it("has its length if the upstream stated it", async () => {
    const client = await answered(await withOurs(), asking(), "HTTP/1.1 400 No\r\nContent-Length: 4\r\n\r\nwhy?");
    const received = await client.closed();
    expect(received).toMatch(/^HTTP\/1\.1 400 No\r\n[\s\S]*content-length: 4\r\n[\s\S]*\r\n\r\nwhy\?$/i);
    expect(received).not.toMatch(/transfer-encoding/i);
  });

  it("does not look complete if it was cut off", async () => {
    const both = await withOurs();
    const head = "HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n";
    const client = await answered(both, asking(), `${head}4\r\nwhy?\r\n`);
    await client.gets(/why\?/);
    (await both.upstream.connection(0)).reset();
    expect(await client.closed()).not.toMatch(/\r\n0\r\n\r\n$/);
    await exchange(both);
  });

  it("by closing becomes a 502", async () => {
    const both = await withOurs();
    const client = both.front.client();
    client.send(asking());
    const wire = await both.upstream.connection(0);
    await wire.gets(/\r\n\r\n/);
    wire.reset();
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n[\s\S]*\r\n\r\nBad Gateway\n$/);
    await exchange(both);
  });
});

describe("a client that disconnects before the response to its upgrade, on node", () => {
  const leave = async ({ upstream, front }: Both, how: "destroy" | "reset" | "end") => {
    const client = front.client();
    client.send(asking());
    const wire = await upstream.connection(0);
    await wire.gets(/\r\n\r\n/);
    client[how]();
    return wire;
  };

  it("the bare library: the upstream is never notified", async () => {
    const both = await withBare();
    const wire = await leave(both, "end");
    await exchange(both);
    expect(wire.ended).toBe("open");
  });

  it("the bare library: crashes the process if it resets", async () => {
    const both = await withBare();
    await leave(both, "reset");
    await within(both.front.exited, "the end of the bare library");
    expect(both.front.output.join("\n")).toMatch(/ECONNRESET/);
  });

  it.each(["destroy", "reset", "end"] as const)("takes its request to the upstream with it: %s", async (how) => {
    const upstream = await RawUpstream.listen();
    const front = await startAlone(upstream.url);
    const wire = await leave({ upstream, front }, how);
    await wire.closed();
    await exchange({ upstream, front });
  });
});

describe("an upgrade to something else than a WebSocket, on node", () => {
  it("the bare library: is cut off", async () => {
    const both = await withBare();
    const client = both.front.client();
    client.send(asking("chat/2"));
    expect(await client.closed()).toBe("");
  });

  it("is forwarded", async () => {
    const both = await withOurs();
    const client = await answered(both, asking("chat/2"), SWITCHING.replace("websocket", "chat/2"));
    expect(await client.gets(/\r\n\r\n/)).toMatch(/^upgrade: chat\/2\r$/im);
  });
});

describe("a silent tunnel on node", () => {
  it("is closed at its deadline", async () => {
    const { client, wire } = await joined(await withOurs({ tunnelIdleTimeoutMs: 100 }));
    await Promise.all([client.closed(), wire.closed()]);
  });

  it("whose client reads nothing slows the upstream down", async () => {
    const both = await withOurs();
    const { client, wire } = await joined(both);
    client.pause();
    const block = "x".repeat(1 << 20);
    for (let i = 0; i < 24; i++) wire.send(block);
    const first = wire.waitingBytes;
    // The first bytes fill the sockets' buffers; after that nothing moves.
    let last = first;
    await eventually("the upstream to be held back", async () => {
      await exchange(both);
      const waiting = wire.waitingBytes;
      const isStill = waiting === last;
      last = waiting;
      return isStill || undefined;
    });
    expect(last).toBeGreaterThan(14 << 20);
    client.resume();
    await eventually("all to arrive", () => client.received.length > 24 << 20 || undefined);
  });
});
