/** Long-lasting responses of an instance that drains: each ends between two frames or events, and no other response ends. */
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BalancerProcess, CLIENT_SETUPS } from "./support/balancer-process.js";
import { RawClient } from "./support/raw-client.js";
import { ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

const SWITCHED = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const CLOSE = "\x88\x02\x03\xf4";
/** The client's close frame, masked with zeros. */
const GOODBYE = "\x88\x82\0\0\0\0\x03\xf4";
const events = (text: string) =>
  `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n${chunk(text)}`;
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;

/** The beginning of each response. */
const RESPONSES: Record<string, string> = {
  "/socket": `${SWITCHED}\x81\x02hi`,
  "/socket-half": `${SWITCHED}\x81\x05he`,
  "/other": `${SWITCHED.replace("websocket", "other")}hi`,
  "/events": events("data: 1\n\n"),
  "/events-half": events("data: 1\n"),
  "/body": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe",
};

describe.each(CLIENT_SETUPS)("a drain on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;

  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime, { drainClosesPerSecond: 1000, drainCloseDelayMs: 0 });
    balancer.protocol = protocol;
    const socket = path.join(balancer.directory, "web.1#1.sock");
    const onBytes = (connection: UpstreamConnection) => {
      const [, target = ""] = /^GET (\S+) [\s\S]*\r\n\r\n$/.exec(connection.received) ?? [];
      const response = RESPONSES[target];
      if (response !== undefined) connection.socket.write(response, "latin1");
    };
    upstream = await ScriptedUpstream.listen(socket, onBytes, protocol);
    await balancer.follow({ "web.1#1": socket });
  });

  afterAll(async () => {
    await upstream?.close();
    await balancer?.stop();
  });

  it("closes WebSockets with 1012 and ends event streams, between two pieces of the app's", async () => {
    const clients: Record<string, RawClient> = {};
    // Over HTTP/2 there is no other protocol.
    const targets = Object.keys(RESPONSES).filter((target) => target !== "/other" || !runtime.endsWith("HTTP/2"));
    for (const target of targets) {
      const client = await RawClient.connect(balancer.port);
      clients[target] = client;
      const upgrade = target.startsWith("/socket") ? "websocket" : target === "/other" ? "other" : undefined;
      const lines = upgrade === undefined ? "" : `Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n`;
      await client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\n${lines}\r\n`);
      await client.until(({ received }) => /(hi|he|data: 1\n+(\r\n)?)$/.test(received), `the beginning of ${target}`);
    }
    const client = (target: string) => clients[target] as RawClient;
    const connection = (target: string) =>
      upstream.connections.find(({ received }) => received.startsWith(`GET ${target} `)) as UpstreamConnection;
    const successor = path.join(balancer.directory, "web.1#2.sock");
    await balancer.follow({ "web.1#2": successor });

    await client("/socket").until(({ received }) => received.endsWith(`hi${CLOSE}`), "the close frame");
    await client("/events").until(({ received }) => received.endsWith("\r\n0\r\n\r\n"), "the end of the stream");
    expect(client("/events").received).toContain("data: 1\n\n");
    expect(client("/events").received).toContain("retry: 1000\n\n");
    expect(client("/events").ending).toBe("open");

    // The app sees the client's close frame and ends; what it sends in the meantime has no receiver.
    await client("/socket").send(GOODBYE);
    await upstream.until(() => connection("/socket").received.endsWith(GOODBYE), "the client's close frame");
    connection("/socket").socket.write("\x81\x02no", "latin1");
    connection("/socket").socket.end();
    expect((await client("/socket").ended()).endsWith(`hi${CLOSE}`)).toBe(true);

    // The others had as many ticks as these, and end as soon as they can.
    for (const [target, text] of [
      ["/socket-half", "he"],
      ["/events-half", "data: 1\n"],
      ["/other", "hi"],
      ["/body", "he"],
    ] as const) {
      if (!targets.includes(target)) continue;
      expect(client(target).received.replace(/\r\n$/, "").endsWith(text), target).toBe(true);
      expect(client(target).ending, target).toBe("open");
    }
    connection("/socket-half").socket.write("llo");
    connection("/events-half").socket.write(chunk("data: 2\n\n"));
    await client("/socket-half").until(({ received }) => received.endsWith(`hello${CLOSE}`), "the close frame");
    await client("/events-half").until(({ received }) => received.endsWith("\r\n0\r\n\r\n"), "the end of the stream");
    expect(client("/events-half").received.replace(/\r\n[0-9a-f]+\r\n/g, "")).toContain(
      "data: 1\ndata: 2\n\nretry: 1000\n\n",
    );
    connection("/body").socket.write("llo");
    await client("/body").until(({ received }) => received.endsWith("hello"), "the rest of the body");
    if (targets.includes("/other")) {
      connection("/other").socket.write("!");
      await client("/other").until(({ received }) => received.endsWith("hi!"), "more of the tunnel");
    }
    for (const each of Object.values(clients)) each.destroy();
  });
});
