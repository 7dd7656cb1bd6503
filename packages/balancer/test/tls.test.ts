/** HTTPS: certificates by name and their replacement, sessions, limits of handshakes, client certificates, and bytes in both directions. */
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import http2 from "node:http2";
import net from "node:net";
import path from "node:path";
import tls from "node:tls";
import type { CertificateEntry } from "@paceline/wire";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeCertificate } from "../../../test/support/certificate.js";
import { BalancerProcess, testCertificate } from "./support/balancer-process.js";
import { RawClient } from "./support/raw-client.js";
import { HELLO, respondEach, ScriptedUpstream } from "./support/scripted-upstream.js";

afterAll(() => BalancerProcess.stopIdle());

const GET = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const GET_LAST = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

function entry(name: string): CertificateEntry {
  const made = makeCertificate(name);
  if (made === undefined) throw new Error("openssl is not installed");
  return { names: [name], certificatePem: made.cert, keyPem: made.key, source: "file", notAfter: Date.now() + 1e8 };
}

const others = { b: entry("b.test"), wild: entry("*.c.test"), renewed: entry("a.test") };

/** Does a handshake, and resolves with the connection. */
async function shake(port: number, options: tls.ConnectionOptions = {}): Promise<tls.TLSSocket> {
  const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, servername: "a.test", ...options });
  await once(socket, "secureConnect");
  socket.on("error", () => {});
  return socket;
}

/** Returns the response to a request, and the TLS connection's session. */
async function ask(socket: tls.TLSSocket, request = GET_LAST): Promise<string> {
  let received = "";
  socket.setEncoding("latin1").on("data", (text: string) => {
    received += text;
  });
  socket.write(request);
  await once(socket, "close");
  return received;
}

const nameOf = (socket: tls.TLSSocket) => String(socket.getPeerCertificate().subject.CN);

describe.each(["bun with TLS", "node with TLS"] as const)("https on %s", (runtime) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;

  const start = async (limits: object = {}) => {
    balancer = await BalancerProcess.lease(runtime, limits);
    upstream = await ScriptedUpstream.listen(path.join(balancer.directory, "web.sock"), respondEach(HELLO), "http1");
    await balancer.follow({ "web.1#1": upstream.path });
  };

  afterEach(async () => {
    await upstream.close();
    await balancer.giveBack();
  });

  describe("with the usual limits", () => {
    beforeEach(() => start());

    it("serves kept connections, and tells the instance about https", async () => {
      const client = await RawClient.connect(balancer.port);
      await client.send(GET);
      await client.until(({ received }) => received.endsWith("hello"), "the first response");
      await client.send(GET_LAST);
      expect((await client.ended()).match(/hello/g)).toHaveLength(2);
      expect(client.ending).toBe("fin");
      const [connection] = upstream.connections;
      expect(connection?.received).toMatch(/X-Forwarded-Proto: https\r\n/i);
      expect(connection?.received).toMatch(/proto=https/);
    });

    it("chooses the certificate by name, and replaces it without closing a connection", async () => {
      balancer.certify([testCertificate(), others.b, others.wild]);
      const kept = await shake(balancer.port);
      const names = [nameOf(kept)];
      for (const servername of ["b.test", "x.c.test", "unknown.test", ""]) {
        const socket = await shake(balancer.port, { servername });
        names.push(nameOf(socket));
        socket.destroy();
      }
      expect(names).toEqual(["a.test", "b.test", "*.c.test", "a.test", "a.test"]);
      balancer.certify([others.renewed]);
      const fresh = await shake(balancer.port);
      const fingerprints = [kept, fresh].map((socket) => socket.getPeerCertificate().fingerprint256);
      expect(new Set(fingerprints).size).toBe(2);
      expect(await ask(kept)).toMatch(/hello$/);
      expect(await ask(fresh)).toMatch(/hello$/);
      balancer.certify();
    });

    it.each([
      ["TLS 1.3", { minVersion: "TLSv1.3" }, "TLSv1.3"],
      ["TLS 1.2", { maxVersion: "TLSv1.2" }, "TLSv1.2"],
      ["no older one", { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" }, undefined],
      ["no weak cipher", { maxVersion: "TLSv1.2", ciphers: "AES128-SHA:ECDHE-ECDSA-AES128-SHA" }, undefined],
    ] as const)("speaks %s", async (_, options, version) => {
      const socket = await shake(balancer.port, { ...options, ALPNProtocols: ["http/1.1"] }).catch(() => undefined);
      expect(socket?.getProtocol()).toBe(version);
      if (socket !== undefined) expect(socket.alpnProtocol).toBe("http/1.1");
      socket?.destroy();
    });

    it("takes clients that only offer HTTP/1.0", async () => {
      const socket = await shake(balancer.port, { ALPNProtocols: ["http/1.0"] });
      expect(socket.alpnProtocol).toBe("http/1.0");
      socket.destroy();
    });

    it("carries large bodies in both directions, and half-closes", async () => {
      const size = 3_000_000;
      const body = Buffer.alloc(size, "0123456789abcdef").toString("latin1");
      await upstream.close();
      upstream = await ScriptedUpstream.listen(
        path.join(balancer.directory, "big.sock"),
        (connection) => {
          const [, received = ""] = connection.received.split("\r\n\r\n");
          if (received.length < size) return;
          connection.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n${received}`, "latin1");
        },
        "http1",
      );
      await balancer.follow({ "web.1#2": upstream.path });
      const client = await RawClient.connect(balancer.port);
      await client.send(
        `POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: ${size}\r\n\r\n${body}`,
      );
      const received = await client.ended();
      expect(received.slice(received.indexOf("\r\n\r\n") + 4) === body).toBe(true);
      expect(client.ending).toBe("fin");
    });
  });

  it("requests client certificates, and forwards whose it was; no client can set that field", async () => {
    await start();
    const forged =
      "GET / HTTP/1.1\r\nHost: a.test\r\nX-Client-Cert-Subject: CN=root\r\nX_Client_Cert_Subject: CN=root\r\nConnection: close\r\n\r\n";
    const { b, wild } = others;
    const certificate = { cert: b.certificatePem, key: b.keyPem };
    // They are self-signed: each is its own authority.
    balancer.certify([testCertificate()], { clientCaPem: b.certificatePem, isClientOptional: true });
    expect(await ask(await shake(balancer.port, certificate), forged)).toMatch(/hello$/);
    expect(await ask(await shake(balancer.port), forged)).toMatch(/hello$/);
    const requests = upstream.received.split("GET / ").slice(1);
    const [known, unknown] = requests.map((request) => request.match(/^x.client.cert.*$/gim));
    const fingerprint = new X509Certificate(b.certificatePem).fingerprint256.replaceAll(":", "").toLowerCase();
    expect(known?.map((line) => line.toLowerCase())).toEqual([
      "x-client-cert-subject: cn=b.test",
      `x-client-cert-fingerprint: ${fingerprint}`,
    ]);
    expect(unknown).toBeNull();
    balancer.certify([testCertificate()], { clientCaPem: b.certificatePem });
    const refused = [{}, { cert: wild.certificatePem, key: wild.keyPem }].map(async (options) => {
      const socket = await shake(balancer.port, options).catch(() => undefined);
      return socket === undefined ? "" : ask(socket).catch(() => "");
    });
    expect(await Promise.all(refused)).toEqual(["", ""]);
    expect(await ask(await shake(balancer.port, certificate))).toMatch(/hello$/);
    // A session ticket would let in a client that once had a certificate.
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      const only = { minVersion: version, maxVersion: version };
      const first = await shake(balancer.port, { ...only, ...certificate });
      let session = first.getSession();
      first.on("session", (later) => {
        session = later;
      });
      expect(await ask(first)).toMatch(/hello$/);
      const second = await shake(balancer.port, { ...only, ...certificate, session });
      expect([version, second.isSessionReused()]).toEqual([version, false]);
      expect(await ask(second)).toMatch(/hello$/);
    }
    balancer.certify();
  });

  it("reads a PROXY header before TLS", async () => {
    balancer = await BalancerProcess.start(runtime, {}, ["127.0.0.1"]);
    upstream = await ScriptedUpstream.listen(path.join(balancer.directory, "web.sock"), respondEach(HELLO), "http1");
    const listen = [{ fd: 3, address: "127.0.0.1", tls: true, proxied: true }];
    await balancer.follow({ "web.1#1": upstream.path }, undefined, { listen });
    const socket = net.connect(balancer.port, "127.0.0.1");
    socket.write("PROXY TCP4 192.0.2.9 127.0.0.1 12345 443\r\n");
    const secured = tls.connect({ socket, rejectUnauthorized: false });
    await once(secured, "secureConnect");
    expect(await ask(secured)).toMatch(/hello$/);
    expect(upstream.received).toMatch(/X-Forwarded-For: 192\.0\.2\.9\r\nX-Forwarded-Proto: https/i);
  });

  it("adds HSTS to responses unless the app has it", async () => {
    await start();
    await balancer.follow({ "web.1#1": upstream.path }, undefined, { hsts: "max-age=300" });
    expect(await ask(await shake(balancer.port))).toMatch(/\r\nStrict-Transport-Security: max-age=300\r\n/);
  });

  it("closes handshakes that do not end in time", async () => {
    await start({ handshakeTimeoutMs: 1000 });
    const [silent, half] = [0, 1].map(() => net.connect(balancer.port, "127.0.0.1").on("error", () => {}));
    const closed = [silent, half].map((socket) => new Promise((resolve) => socket?.on("close", resolve)));
    half?.write(Buffer.from([22, 3, 1, 2, 0, 1]));
    await Promise.all(closed);
    // On a busy machine, the handshake of a good client may take too long as well.
    const tryOnce = async () => ask(await shake(balancer.port));
    await expect.poll(() => tryOnce().catch(String)).toMatch(/hello$/);
  });
});

it("http is redirected to https, except the requests of a certificate authority", async () => {
  const balancer = await BalancerProcess.start("bun");
  await balancer.follow({}, [], { listen: [{ fd: 3, address: "127.0.0.1", redirect: 8443 }] });
  const client = await RawClient.connect(balancer.port);
  const get = (target: string, host = "a.test:8080") => `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  await client.send(get("/a/../b?c=d") + get("/.well-known/acme-challenge/token") + get("/", "[::1]:80"));
  await client.until(({ received }) => received.split("HTTP/1.1 ").length === 4, "three responses");
  const [, ...responses] = client.received.split("HTTP/1.1 ");
  expect(
    responses.map((response) => /^(\d+).*?(?:Location: (\S+))?\r\n(?:Connection.*)?\r\n/s.exec(response)?.slice(1, 3)),
  ).toEqual([
    ["308", "https://a.test:8443/a/../b?c=d"],
    ["404", undefined],
    ["308", "https://[::1]:8443/"],
  ]);
  client.destroy();
  // Clients that begin with HTTP/2 get the same over HTTP/2.
  const session = http2.connect(`http://127.0.0.1:${balancer.port}`);
  const found = await Promise.all(
    ["/a?b=c", "/.well-known/acme-challenge/token"].map(async (path) => {
      const request = session.request({ ":path": path, ":authority": "a.test" });
      const [headers] = (await once(request, "response")) as [
        http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader,
      ];
      request.resume();
      return [headers[":status"], headers.location];
    }),
  );
  expect(found).toEqual([
    [308, "https://a.test:8443/a?b=c"],
    [404, undefined],
  ]);
  session.destroy();
  await balancer.stop();
});
