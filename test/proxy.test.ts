/** A proxy pool for a remote upstream, in a real fleet: https, WebSockets, redirects, reload. */
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { describe, expect, onTestFinished, test } from "vitest";
import { type RawData, WebSocket, WebSocketServer } from "ws";
import { saying } from "./support/apps.js";
import { type Certificate, makeCertificate } from "./support/certificate.js";
import { Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { get, RawConnection } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

interface Upstream {
  url: string;
  close(): void;
}

/** Returns each request, speaks WebSocket at /chat and redirects from /moved. */
async function startUpstream(certificate?: Certificate): Promise<Upstream> {
  const server = certificate === undefined ? http.createServer(respond) : https.createServer(certificate, respond);
  const scheme = certificate === undefined ? "http" : "https";
  // No connection is closed because of its age between two requests.
  server.keepAliveTimeout = 600_000;
  const sockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) =>
    sockets.handleUpgrade(request, socket, head, (chat) => {
      chat.on("error", () => {});
      chat.on("message", (message: RawData) => chat.send(`you said ${message}`));
    }),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = () => `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  function respond(request: IncomingMessage, response: ServerResponse) {
    if (request.url === "/moved") response.writeHead(301, { location: `${url()}/here` });
    const { url: target, headers, socket } = request;
    response.end(JSON.stringify({ url: target, headers, connection: socket.remotePort }));
  }
  const close = () => {
    for (const chat of sockets.clients) chat.terminate();
    server.close();
    server.closeAllConnections();
  };
  onTestFinished(close);
  return { url: url(), close };
}

const beside = (...proxies: object[]) => {
  const [old, chat] = proxies;
  return { pools: { web: { app: "./app.js", instances: 1 }, old, ...(chat !== undefined && { chat }) } };
};

/** Waits until a slot's log has a matching line. */
async function untilLogged(project: Project, slot: string, line: RegExp): Promise<void> {
  await waitFor(`a line like ${line} of ${slot}`, async () => line.test(await project.logs(slot)));
}

describe.each(RUNTIMES)("a proxy beside an app on %s", (runtime) => {
  test("has its route, its own runtime and one instance, and tells the upstream who asks; WebSockets close with it", async () => {
    const [upstream, chats] = [await startUpstream(), await startUpstream()];
    const old = { proxy: upstream.url, routes: ["/old/"], stripPrefix: true };
    const config = beside(old, { proxy: chats.url, routes: "/chat" });
    const project = await startFleet({ runtime, app: saying("the app"), config });
    const status = await project.status();
    const isProxy = { kind: "proxy", wanted: 1 };
    expect(status.pools).toMatchObject([{ name: "web" }, { name: "old", ...isProxy }, { name: "chat", ...isProxy }]);
    expect((await get(project.port, "/")).body).toBe("the app");

    const connection = await RawConnection.open(project.port);
    onTestFinished(() => connection.close());
    connection.write(
      `GET /x/../old/./a%62?q HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n`,
    );
    await connection.end();
    const seen = JSON.parse(/\{.*\}/.exec(connection.received)?.[0] ?? "{}");
    expect(seen).toMatchObject({
      url: "/a%62?q",
      headers: {
        host: new URL(upstream.url).host,
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": "shop.example",
        "x-forwarded-proto": "http",
        "x-forwarded-prefix": "/old",
      },
    });

    // No client gets a connection that carried another client's requests.
    const clients = await Promise.all([1, 2].map(() => RawConnection.open(project.port)));
    for (const client of [...clients, ...clients]) {
      const before = client.received;
      client.write("GET /old/ HTTP/1.1\r\nHost: a\r\n\r\n");
      await waitFor("an answer", () => client.received.slice(before.length).includes('"connection":'));
    }
    const used = clients.map(({ received }) => [...received.matchAll(/"connection":(\d+)/g)].map(([, port]) => port));
    for (const client of clients) client.close();
    expect(used[0]?.[0]).toBe(used[0]?.[1]);
    expect(used[1]?.[0]).toBe(used[1]?.[1]);
    expect(used[0]?.[0]).not.toBe(used[1]?.[0]);
    expect((await get(project.port, "/old/moved")).headers.get("location")).toBe("/old/here");
    expect((await project.reload()).code).toBe(0);
    expect((await get(project.port, "/old/")).status).toBe(200);

    const chat = new WebSocket(`ws://127.0.0.1:${project.port}/chat`);
    onTestFinished(() => chat.terminate());
    const heard: string[] = [];
    let isClosed = false;
    chat.on("error", () => {});
    chat.on("message", (message: RawData) => heard.push(`${message}`));
    chat.on("close", () => {
      isClosed = true;
    });
    chat.on("open", () => chat.send("hello"));
    await waitFor("an answer", () => heard.includes("you said hello"));
    chats.close();
    await waitFor("the end", () => isClosed);
    expect((await get(project.port, "/chat")).status).toBe(502);
    expect((await get(project.port, "/")).body).toBe("the app");
  });

  // A proxy runs on Node in any case.
  testOnce(runtime)(
    "takes an upstream with a certificate of its own only when it is told to trust it",
    async (context) => {
      const certificate = makeCertificate("old.example");
      if (certificate === undefined) return context.skip("openssl is not installed");
      const upstream = await startUpstream(certificate);
      const { url: proxy } = upstream;
      const project = await startFleet({
        runtime,
        app: saying("the app"),
        files: { "ca.pem": certificate.cert },
        config: {
          pools: {
            strict: { proxy, routes: "/strict/" },
            trusting: { proxy, routes: "/trusting/", proxyOptions: { ca: "./ca.pem", changeOrigin: false } },
            careless: { proxy, routes: "/careless/", proxyOptions: { secure: false } },
            named: {
              proxy: proxy.replace("127.0.0.1", "localhost"),
              routes: "/named/",
              proxyOptions: { ca: "./ca.pem" },
            },
          },
        },
      });
      expect((await get(project.port, "/strict/")).status).toBe(502);
      // The requested Host does not affect the certificate check.
      expect((await get(project.port, "/trusting/")).body).toContain(`"host":"127.0.0.1:${project.port}"`);
      expect((await get(project.port, "/careless/")).status).toBe(200);
      expect((await get(project.port, "/named/")).status).toBe(502);
      // A response may reach its client before its log line is written.
      await untilLogged(project, "strict.1", /proxy https:\S+: self-signed certificate \(GET \/strict\/\)/);
      await untilLogged(project, "named.1", /Hostname\/IP does not match certificate/);
    },
  );
});

test("a proxy runs on Node whatever --runtime says", async () => {
  const upstream = await startUpstream();
  const config = beside({ proxy: upstream.url, routes: "/old/" });
  const project = await Project.make({ runtime: "bun", app: saying("the app"), config });
  expect((await project.startDetached(["--runtime", "bun"])).code).toBe(0);
  expect((await get(project.port, "/old/")).status).toBe(200);
});

test("serve --proxy is a proxy alone, and an upstream that is no URL is a line", async () => {
  const project = await Project.make({ runtime: "bun", app: "" });
  const wrong = await project.cli(["serve", "--proxy", "ftp://a", "--port", "0"], { env: { ...process.env } });
  expect(wrong).toMatchObject({ code: 2, output: expect.stringMatching(/^paceline: the upstream must be an http/) });
});
