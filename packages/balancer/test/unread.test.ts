/** Clients that send requests and do not read: queued bytes are limited, and the clients count until their descriptor is closed. */
import type net from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { inTime } from "../../../test/support/wait.js";
import { BalancerProcess, RUNTIMES, SECURE_SETUPS, SETUPS } from "./support/balancer-process.js";
import { connectTo, exchangeRaw, RawClient } from "./support/raw-client.js";
import { ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

/**
 * A client that reads nothing is reset after three times this time. This process, with all clients and upstreams, may be delayed for a
 * while.
 */
const SEND_TIMEOUT_MS = 1500;
/** More responses than the sockets of both ends hold. */
const READ = 300;
const RESPONSE_BYTES = 32_768;
/** Twice as many responses as the sockets of both ends hold. */
const PIPELINED = 2000;
const REFUSED = 130_000;
const RESPONSE = `HTTP/1.1 200 OK\r\nContent-Length: ${RESPONSE_BYTES}\r\n\r\n${"x".repeat(RESPONSE_BYTES - 6)}`;

/** Returns a responder that puts the number of each target at the end of the body. */
function respondWithTarget(): (connection: UpstreamConnection) => void {
  const answered = new WeakMap<UpstreamConnection, number>();
  return (connection) => {
    for (;;) {
      const at = answered.get(connection) ?? 0;
      const end = connection.received.indexOf("\r\n\r\n", at);
      if (end < 0) return;
      answered.set(connection, end + 4);
      const number = /GET \/(\d+)/.exec(connection.received.slice(at, end))?.[1] as string;
      connection.socket.write(RESPONSE + number.padStart(6));
    }
  };
}

function requests(count: number): string {
  return Array.from({ length: count }, (_, i) => `GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`).join("");
}

describe.concurrent.each(SECURE_SETUPS)(
  "a client that pipelines and does not read, on %s over %s",
  (runtime, protocol) => {
    let balancer: BalancerProcess;
    let upstream: ScriptedUpstream;

    beforeEach(async () => {
      balancer = await BalancerProcess.start(runtime, { sendTimeoutMs: SEND_TIMEOUT_MS });
      balancer.protocol = protocol;
      upstream = await ScriptedUpstream.listen(`${balancer.directory}/one.sock`, respondWithTarget(), protocol);
      await balancer.follow({ "web.1#1": upstream.path });
    });

    afterEach(async () => {
      await balancer.stop();
      await upstream.close();
    });

    it("is served no more than the sockets hold, until it reads or is reset", async () => {
      const reader = connectTo(balancer.port);
      reader.pause().write(requests(READ));
      await upstream.until(({ received }) => received.includes("GET /4 "), "more than what waits for a client");
      expect(await numbersOf(reader, READ)).toEqual(Array.from({ length: READ }, (_, i) => i));
      reader.destroy();

      const silent = await RawClient.connect(balancer.port);
      silent.socket.pause();
      void silent.send(requests(PIPELINED));
      // Refusals are responses, too, but not those of an upstream: the upstream protocol does not matter.
      const refused = protocol === "lane" ? await RawClient.connect(balancer.port) : undefined;
      refused?.socket.pause();
      void refused?.send("GET /../x HTTP/1.1\r\nHost: a\r\n\r\n".repeat(REFUSED));
      const total = refused === undefined ? 2 : 3;
      const { requestsTotal } = await balancer.reports(
        ({ connections, connectionsTotal }) => connections === 0 && connectionsTotal === total,
      );
      const served = upstream.received.split("GET /").length - 1;
      expect(served - READ).toBeLessThan(PIPELINED / 2);
      expect(requestsTotal - served).toBeLessThan(0.75 * REFUSED);
      silent.destroy();
      refused?.destroy();
    });
  },
);

describe.concurrent.each(RUNTIMES)(
  "a connection that is closed with a response that nobody has read, on %s",
  (runtime) => {
    it("counts until its descriptor is closed", async () => {
      const balancer = await BalancerProcess.start(runtime, { maxConnections: 1, bufferBytes: 32_000_000 });
      const body = Buffer.alloc(24_000_000, "0123456789");
      const head = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`;
      const upstream = await ScriptedUpstream.listen(`${balancer.directory}/one.sock`, ({ socket }) => {
        socket.write(head);
        socket.write(body);
      });
      try {
        const upstreams = [{ id: "web.1#1", name: "web.1", socket: upstream.path, maxInFlight: 1 }];
        await balancer.follow({}, [{ name: "web", routes: ["/"], upstreams }]);
        const client = connectTo(balancer.port);
        client.pause().write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        // The upstream is done, and the client has not started to read.
        await balancer.reports(({ requestsTotal, inFlight }) => requestsTotal === 1 && inFlight === 0);
        const other = await exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        expect(other.received).toMatch(/^HTTP\/1\.1 503 /);
        let bytes = 0;
        for await (const piece of client) bytes += piece.length;
        expect(bytes).toBeGreaterThan(body.length);
        await balancer.reports(({ connections }) => connections === 0);
      } finally {
        await balancer.stop();
        await upstream.close();
      }
    });
  },
);

const MUCH_BODY = Buffer.alloc(16_000_000, "0123456789");
const SILENT = 40;
/** On Bun, a client that reads nothing takes little of its response over HTTP/1.1 once memory is scarce. */
const SILENT_OF_LITTLE = 80;
const PACE_MS = 50;
/** It takes a second or two. */
const READS_WITHIN_MS = 60_000;

/** A response, or a tunnel, with as many bytes. */
function respondMuch(): (connection: UpstreamConnection) => void {
  const answered = new WeakSet<UpstreamConnection>();
  return (connection) => {
    const { socket, received } = connection;
    if (answered.has(connection)) return;
    answered.add(connection);
    if (received.startsWith("GET /tunnel"))
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n");
    else socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${MUCH_BODY.length}\r\n\r\n`);
    socket.write(MUCH_BODY);
  };
}

const ASK = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ASK_TUNNEL = "GET /tunnel HTTP/1.1\r\nHost: a\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n";
/** Each runtime and each protocol has both. */
const UNREAD = SETUPS.map(
  ([runtime, protocol]) =>
    [(runtime === "bun") === (protocol === "lane") ? "tunnels" : "responses", runtime, protocol] as const,
);

describe.concurrent.each(UNREAD)(
  "many clients that read nothing of their %s, on %s over %s",
  (what, runtime, protocol) => {
    it("are reset beyond the limit, and a slow reader is not", async () => {
      const silentOnes = runtime === "bun" && protocol === "http1" ? SILENT_OF_LITTLE : SILENT;
      const balancer = await BalancerProcess.start(runtime, { maxUnreadBytes: 300_000 });
      balancer.protocol = protocol;
      const upstream = await ScriptedUpstream.listen(`${balancer.directory}/one.sock`, respondMuch(), protocol);
      const silent: net.Socket[] = [];
      const ask = () => {
        const client = connectTo(balancer.port).on("error", () => {});
        // Node reports a reset as an end if it finds the rest of more than one read before it.
        client.on("end", () => client.destroy());
        client.pause().write(what === "tunnels" ? ASK_TUNNEL : ASK);
        return client;
      };
      await balancer.follow({ "web.1#1": upstream.path });
      let reader = ask();
      // A piece from time to time.
      const pace = setInterval(() => void reader.read(), PACE_MS);
      const readsTo = async (bytes: number) => {
        const deadline = performance.now() + READS_WITHIN_MS;
        while (reader.bytesRead < bytes && !reader.destroyed) {
          const stats = await balancer.reports(() => true);
          if (performance.now() > deadline)
            throw new Error(
              `the reader has ${reader.bytesRead} of ${bytes} bytes; ${balancer.output} ${JSON.stringify(stats)}`,
            );
        }
        return reader.destroyed;
      };
      const begin = () => {
        if (reader.destroyed) reader = ask();
        return readsTo(1_000_000);
      };
      try {
        // Until the reader has proved that it reads, a pause of this process makes it look like one that does not.
        expect(await inTime(begin, (isCut) => isCut)).toBe(false);
        for (let n = 0; n < silentOnes; n++) silent.push(ask());
        // Clients that come while memory is scarce take little, so that few have to be reset.
        const ended = 3;
        await balancer.reports(
          ({ unreadEndedTotal = 0, connections }) => unreadEndedTotal >= ended && connections <= 1 + silentOnes - ended,
        );
        await balancer.hears(({ type }) => type === "notice");
        expect(await readsTo(reader.bytesRead + 500_000)).toBe(false);
        const { errorsTotal, noRoomTotal, unreadEndedTotal } = await balancer.reports(() => true);
        expect([errorsTotal, noRoomTotal]).toEqual([0, unreadEndedTotal]);
      } finally {
        clearInterval(pace);
        for (const client of [reader, ...silent]) client.destroy();
        await balancer.stop();
        await upstream.close();
      }
    });
  },
);

/** Reads this many responses; returns the numbers at their ends. */
async function numbersOf(socket: net.Socket, count: number): Promise<number[]> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of socket) {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes < count * RESPONSE_BYTES) continue;
    const numbers = [
      ...Buffer.concat(pieces)
        .toString("latin1")
        .matchAll(/x {3} *(\d+)/g),
    ];
    if (numbers.length === count) return numbers.map(([, number]) => Number(number));
  }
  return [];
}
