/** A pool in tcp mode: whole connections, byte for byte, each to an upstream in turn. */
import net from "node:net";
import type { SnapshotPool } from "@paceline/wire";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { proxyHeader } from "../src/http1/proxy-header.js";
import { BalancerProcess, RUNTIMES } from "./support/balancer-process.js";
import { Changes } from "./support/changes.js";
import { RawClient } from "./support/raw-client.js";

afterAll(() => BalancerProcess.stopIdle());

/** A server that sends its name and then echoes; after a FIN it sends a last word. */
class Echo {
  readonly sockets = new Set<net.Socket>();
  readonly heard: string[] = [];
  readonly changes = new Changes();
  private readonly server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const at = this.heard.push("") - 1;
    if (this.resets > 0) {
      this.resets--;
      return void socket.resetAndDestroy();
    }
    this.sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      this.sockets.delete(socket);
      this.changes.tell();
    });
    socket.write(`${this.name} `);
    socket.on("data", (bytes) => {
      this.heard[at] += bytes.toString("latin1");
      if (this.echoes) socket.write(bytes);
      this.changes.tell();
    });
    socket.on("end", () => {
      if (this.echoes) socket.end("bye");
    });
    this.changes.tell();
  });
  echoes = true;
  /** This many connections are reset before any byte is sent. */
  resets = 0;

  constructor(readonly name: string) {}

  tcp = { host: "127.0.0.1", port: 0 };

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.tcp.port = (this.server.address() as net.AddressInfo).port;
    return this;
  }

  until(holds: () => boolean, what: string): Promise<void> {
    return this.changes.until(holds, () => `${this.name} never saw: ${what}; it heard ${JSON.stringify(this.heard)}`);
  }

  /** Closes the listening socket; later connections are refused. */
  deaf(): void {
    this.server.close();
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

describe.each(RUNTIMES)("tcp mode on %s", (runtime) => {
  let balancer: BalancerProcess;
  let echoes: Echo[];
  let clients: RawClient[];

  beforeEach(async () => {
    balancer = await BalancerProcess.lease(runtime, { maxConnectionsPerAddress: 8 });
    echoes = await Promise.all(["a", "b"].map((name) => new Echo(name).listen()));
    clients = [];
  });

  afterEach(async () => {
    for (const client of clients) client.destroy();
    for (const echo of echoes) echo.close();
    await balancer.giveBack();
  });

  /** Another balancer, which waits for less than a second for an upstream. */
  const hurry = async () => {
    await balancer.giveBack();
    balancer = await BalancerProcess.lease(runtime, { upstreamConnectTimeoutMs: 600, maxConnectionsPerAddress: 8 });
  };

  const follow = (upstreams: object[], more: Partial<SnapshotPool> = {}) =>
    balancer.follow({}, [{ name: "db", mode: "tcp", routes: [], upstreams: upstreams as never, ...more }], {
      listen: [{ fd: 3, address: "tcp://127.0.0.1", pool: "db" }],
    });

  const described = (more: object = {}) =>
    echoes.map(({ tcp }, at) => ({ id: `db.${at + 1}#1`, name: `db.${at + 1}`, tcp, foreign: true, ...more }));

  const connect = async () => {
    const client = await RawClient.connect(balancer.port);
    clients.push(client);
    return client;
  };

  const greeted = async () => {
    const client = await connect();
    await client.until(({ received }) => received.includes(" "), "the name of its server");
    return client;
  };

  it("assigns each connection to the next upstream in turn, and counts it there", async () => {
    await follow(described());
    for (const name of ["a ", "b ", "a ", "b "]) expect((await greeted()).received).toBe(name);
    const { upstreams, inFlight } = await balancer.reports((stats) => stats.inFlight === 4);
    expect(inFlight).toBe(4);
    const [a, b] = upstreams.filter(({ id }) => id.startsWith("db"));
    expect([a, b]).toMatchObject([
      { inFlight: 2, requestsTotal: 2, errorsTotal: 0 },
      { inFlight: 2, requestsTotal: 2, errorsTotal: 0 },
    ]);
  });

  it("forwards any bytes in both directions, and a FIN separately in either direction", async () => {
    await follow(described());
    const client = await greeted();
    const bytes = String.fromCharCode(...Array.from({ length: 256 }, (_, at) => at));
    await client.send(bytes);
    await client.until(({ received }) => received.endsWith(bytes), "its bytes again");
    client.socket.end();
    expect(await client.ended()).toBe(`a ${bytes}bye`);
    expect(client.ending).toBe("fin");
    // The other direction: the server ends first, and still receives.
    const [, b] = echoes as [Echo, Echo];
    b.echoes = false;
    const other = await greeted();
    for (const socket of b.sockets) socket.end();
    await other.ended();
    await other.send("later");
    await b.until(() => b.heard.includes("later"), "what came after its FIN");
    other.socket.end();
    await balancer.reports((stats) => stats.inFlight === 0 && stats.connections === 0);
  });

  it("limits the sender to the rate of a reader that pauses, in either direction", async () => {
    await follow(described());
    const size = 32 << 20;
    const client = await connect();
    client.socket.pause();
    client.socket.write(Buffer.alloc(size, "x"));
    const [a] = echoes as [Echo];
    await a.until(() => (a.heard[0]?.length ?? 0) > 0, "the beginning");
    // Most bytes wait at the client and in the kernel: the balancer holds a little for each direction.
    client.socket.end();
    client.socket.resume();
    expect((await client.ended()).length).toBe(2 + size + 3);
  });

  it("resets the other side when one is reset", async () => {
    await follow(described());
    const client = await greeted();
    for (const socket of (echoes[0] as Echo).sockets) socket.resetAndDestroy();
    await client.ended();
    expect(client.ending).toBe("reset");
    const other = await greeted();
    other.socket.resetAndDestroy();
    const [, b] = echoes as [Echo, Echo];
    await b.until(() => b.sockets.size === 0, "the end of its connection");
  });

  it("goes to another upstream when a connection fails, and waits for one that is expected", async () => {
    (echoes[0] as Echo).deaf();
    await follow(described());
    for (let n = 0; n < 3; n++) expect((await greeted()).received).toBe("b ");
    await follow([], { awaited: true });
    const client = await connect();
    await client.send("early");
    await follow(described().slice(1));
    await client.until(({ received }) => received === "b early", "the server that came later");
  });

  it("connects again if a connection is reset before anything has passed, as by a program that is being killed", async () => {
    const [a, b] = echoes as [Echo, Echo];
    a.resets = 1;
    await follow(described());
    expect((await greeted()).received).toBe("b ");
    b.resets = 2;
    await follow(described().slice(1));
    expect((await greeted()).received).toBe("b ");
    expect(b.resets).toBe(0);
    await balancer.reports((stats) => stats.inFlight === 2 && stats.connections === 2);
    // A program may reject clients that way.
    for (const client of clients.splice(0)) client.destroy();
    await hurry();
    b.resets = 100;
    await follow(described().slice(1));
    const refused = await connect();
    await refused.ended();
    expect(refused.ending).toBe("reset");
    // An immediate reset may be seen as a failed connect, which is tried again at the next tick.
    expect(b.resets).toBeGreaterThan(50);
    await balancer.reports((stats) => stats.inFlight === 0 && stats.connections === 0);
  });

  it("resets a client for which there is no upstream: immediately if none is expected, otherwise in time", async () => {
    await hurry();
    for (const echo of echoes) echo.deaf();
    await follow(described());
    expect(await (await connect()).ended()).toBe("");
    await follow([]);
    const client = await connect();
    await client.ended();
    expect(client.ending).toBe("reset");
  });

  it("keeps the limits of connections at an upstream, and of one address", async () => {
    await follow(described({ maxInFlight: 1 }));
    const [first] = [await greeted(), await greeted()];
    const third = await connect();
    await third.send("x");
    first?.destroy();
    await third.until(({ received }) => received === "a x", "the place that was left");
    // These are other processes, without that limit.
    await follow(described().map(({ id, ...more }) => ({ ...more, id: id.replace("#1", "#2") })));
    for (let n = 0; n < 6; n++) await greeted();
    const ninth = await connect();
    await ninth.ended();
    expect(ninth.ending).toBe("reset");
  });

  it("keeps connections to an upstream that leaves, and reports when it has none", async () => {
    await follow(described());
    const client = await greeted();
    await follow(described().slice(1));
    await client.send("x");
    await client.until(({ received }) => received === "a x", "its server");
    expect((await greeted()).received).toBe("b ");
    client.socket.end();
    await client.ended();
    await balancer.hears((message) => message.type === "applied" && message.leaving.length === 0);
  });

  it.each(["v1", "v2"] as const)(
    "begins each connection with a PROXY header %s if the upstream wants it",
    async (version) => {
      await follow(described({ sendProxy: version }));
      const client = await greeted();
      await client.send("hi");
      const [a] = echoes as [Echo];
      await a.until(() => a.heard[0]?.endsWith("hi") === true, "its bytes");
      const loopback = { address: "127.0.0.1", localAddress: "127.0.0.1" };
      const ends = { ...loopback, port: client.socket.localPort ?? 0, localPort: balancer.port };
      expect(a.heard[0]).toBe(`${proxyHeader(version, ends).toString("latin1")}hi`);
    },
  );

  it("tells an upstream nothing of a client that the proxy in front does not know", async () => {
    const proxied = await BalancerProcess.start(runtime, {}, ["127.0.0.1"]);
    try {
      const upstreams = described({ sendProxy: "v1" }) as never;
      await proxied.follow({}, [{ name: "db", mode: "tcp", routes: [], upstreams }], {
        listen: [{ fd: 3, address: "tcp://127.0.0.1", pool: "db", proxied: true }],
      });
      const client = await RawClient.connect(proxied.port);
      clients.push(client);
      await client.send("PROXY UNKNOWN\r\nhi");
      const [a] = echoes as [Echo];
      await a.until(() => a.heard[0]?.endsWith("hi") === true, "its bytes");
      expect(a.heard[0]).toBe("PROXY UNKNOWN\r\nhi");
    } finally {
      await proxied.stop();
    }
  });
});
