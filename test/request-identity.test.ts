/** The identity of a request, for every kind of pool: the app, the client and the log agree. And the facts in the log, with one fleet. */
import { existsSync, readFileSync, renameSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { Project, RUNTIMES } from "./support/fleet.js";
import { RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";
import { APPS, exchange, fieldOf, poolsOf, seenIn, startElsewhere, type Way } from "./support/who-asks.js";

const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SAID = ["Host: a", "X-Request-Id: said-1", `traceparent: ${PARENT}`, "tracestate: a=1", "X_Request_Id: said-2"];
const OWN = `export default { fetch: async (request) => {
  if (request.url.includes("/exit")) process.exit(1);
  if (request.url.includes("/stream")) return new Response(new ReadableStream({ start: (c) => c.enqueue("first") }));
  if (request.url.includes("/late")) await new Promise(() => {});
  return new Response(await request.text());
} };
`;

/** Sends these bytes to a unix socket; returns everything received until the server closes or resets. */
function sent(path: string, text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect({ path });
    let received = "";
    socket.setEncoding("latin1").on("data", (more) => {
      received += more;
    });
    socket.on("error", () => {}).on("close", () => resolve(received));
    socket.write(Buffer.from(text, "latin1"));
  });
}

type Entry = Record<string, string | number>;

describe.each(RUNTIMES)("the identity of a request, on %s", (runtime) => {
  test("is one for app, client and log, and the log says where its time went and who ended it", async () => {
    const all = poolsOf(await startElsewhere(), runtime === "bun" ? findPython() : undefined, {}, false);
    const names = ["fetch", "http1", "node", ...(runtime === "bun" ? ["command", "proxy", "wsgi"] : [])];
    const kinds = names.filter((name) => name in all);
    const pools = Object.fromEntries(kinds.map((name) => [name, all[name]]));
    const files = { ...APPS, "own.js": OWN, "oops.html": "<p>Sorry</p>" };
    const project = await Project.make({ runtime, app: "", files, config: {} });
    const [socket, proxied] = [join(project.folder, "front.sock"), join(project.folder, "proxied.sock")];
    const log = join(project.folder, "access.log");
    project.writeConfig({
      listen: [`127.0.0.1:${project.port}`, `unix:${socket}`, `unix:${proxied}`],
      pools: {
        ...pools,
        own: { app: "./own.js", instances: 1, routes: "/own/", errorPages: { 413: "oops.html", 502: "oops.html" } },
      },
      balancer: {
        ...{
          runtime,
          trustedProxies: ["unix"],
          proxyProtocol: `unix:${proxied}`,
          requestId: { inResponse: true },
          trace: true,
        },
        accessLog: { format: "json", file: "access.log" },
        limits: { upstreamResponseTimeoutMs: 10_000, maxBodyBytes: 1_000_000 },
      },
    });
    await project.start();
    const entries = (): Entry[] =>
      readFileSync(log, "utf8")
        .split("\n")
        .slice(0, -1)
        .map((text) => JSON.parse(text));
    const logged = (what: string, has: (entry: Entry) => boolean): Promise<Entry> =>
      waitFor(what, () => entries().find(has), { details: () => readFileSync(log, "utf8") });
    const raw = async (text: string) => {
      const connection = await RawConnection.open(project.port);
      connection.write(text);
      return connection;
    };
    // It ends after its deadline, while the others run.
    const late = await raw("GET /own/late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

    const ways: [Way, string[]][] = [
      [{ port: project.port }, SAID],
      [{ port: project.port }, ["Host: a"]],
      [{ path: socket }, SAID],
    ];
    for (const kind of kinds) {
      const ids = new Set<string | undefined>();
      for (const [way, lines] of ways) {
        const reply = await exchange(way, `/${kind}/x`, [...lines, "Connection: close"]);
        const seen = seenIn(reply);
        const id = fieldOf(seen, "x-request-id") ?? "";
        const parent = fieldOf(seen, "traceparent") ?? "";
        ids.add(id);
        expect(/^X-Request-Id: (.*)\r$/im.exec(reply)?.[1], kind).toBe(id);
        expect(JSON.stringify(seen), kind).not.toContain("said-2");
        if ("path" in way) expect([id, parent, fieldOf(seen, "tracestate")], kind).toEqual(["said-1", PARENT, "a=1"]);
        else {
          expect(id, kind).toMatch(UUID7);
          expect(parent, kind).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
          expect(JSON.stringify(seen), kind).not.toMatch(/said|0af7651916cd43dd8448eb211c80319c|a=1/);
        }
        const entry = await logged(`${kind} ${id}`, ({ requestId, pool }) => requestId === id && pool === kind);
        const [method, target, status, outcome, phase] = ["GET", `/${kind}/x`, 200, "whole", "response"];
        expect(entry).toMatchObject({ method, target, status, outcome, phase, instance: `${kind}.1`, retries: 0 });
        expect(entry.traceId).toBe(parent.slice(3, 35));
        expect("handlerMs" in entry, kind).toBe(kind === "fetch");
        const { durationMs, firstByteMs, queueMs, connectMs } = entry as Record<string, number>;
        expect(Number(queueMs) + Number(connectMs)).toBeLessThanOrEqual(Number(firstByteMs));
        expect(Number(firstByteMs)).toBeLessThanOrEqual(Number(durationMs));
      }
      expect(ids.size).toBe(3);
    }

    // The client is named in a PROXY header, and is not a proxy itself.
    const lies = "Host: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Request-Id: said-3\r\nConnection: close\r\n\r\n";
    for (const header of [
      "PROXY TCP4 192.0.2.9 127.0.0.1 12345 80\r\n",
      "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\x7f\0\0\x01\x30\x39\0\x50",
    ]) {
      const seen = seenIn(await sent(proxied, `${header}GET /fetch/proxied HTTP/1.1\r\n${lies}`));
      expect(seen).toMatchObject({ address: "192.0.2.9", scheme: "http", host: "a" });
      expect(JSON.stringify(seen)).not.toMatch(/6\.6\.6\.6|said/);
    }
    const unknown = await sent(proxied, `PROXY UNKNOWN\r\nGET /fetch/x HTTP/1.1\r\n${lies}`);
    expect(seenIn(unknown)).toMatchObject({ address: "unknown" });
    expect(await sent(proxied, `GET /fetch/x HTTP/1.1\r\n${lies}`)).toBe("");
    const known = await logged("the client of a PROXY header", ({ target }) => target === "/fetch/proxied");
    expect(known.clientAddress).toBe("192.0.2.9");
    await waitFor("the event", async () => (await project.events()).includes("without a good PROXY header"));

    // The responses that the balancer generates itself have it, too.
    const nowhere = await exchange({ port: project.port }, "/nowhere", ["Host: a", "Connection: close"]);
    const id = /^HTTP\/1\.1 404 [\s\S]*^X-Request-Id: (.*)\r$/m.exec(nowhere)?.[1];
    expect(await logged("404", ({ status }) => status === 404)).toMatchObject({
      ...{ requestId: id, outcome: "refused", phase: "head", bytes: 14 },
    });
    const bad = await raw("GET / HTTP/1.1\r\nHost: a\r\nbad field\r\n\r\n");
    await bad.end();
    expect(bad.received).not.toContain("X-Request-Id");
    expect(await logged("400", ({ status }) => status === 400)).toMatchObject({ outcome: "refused", phase: "head" });

    const post = (path: string) => `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`;
    const echo = await raw(post("/own/echo"));
    await echo.until(/hello$/);
    echo.close();
    expect(await logged("a POST", ({ target }) => target === "/own/echo")).toMatchObject({ requestBytes: 5, bytes: 5 });
    const stream = await raw("GET /own/stream HTTP/1.1\r\nHost: a\r\n\r\n");
    await stream.until(/first/);
    stream.close();
    expect(await logged("499", ({ status }) => status === 499)).toMatchObject({
      ...{ target: "/own/stream", bytes: 5, outcome: "client-left", phase: "response", pool: "own" },
    });
    await late.until(/^HTTP\/1\.1 504 /);
    expect(await logged("504", ({ status }) => status === 504)).toMatchObject({
      ...{ target: "/own/late", outcome: "instance-late", phase: "wait", instance: "own.1" },
    });
    const lost = await raw(post("/own/exit"));
    await lost.until(/<p>Sorry<\/p>$/);
    expect(lost.received).toMatch(
      /^HTTP\/1\.1 502 .*\r\nContent-Type: text\/html; charset=utf-8\r\nContent-Length: 12\r\n/,
    );
    expect(lost.received).toMatch(/\r\nCache-Control: no-store\r\n[\s\S]*X-Request-Id: /);
    expect(await logged("502", ({ status }) => status === 502)).toMatchObject({
      ...{ target: "/own/exit", outcome: "instance-lost", phase: "wait", requestBytes: 5, bytes: 12 },
    });
    // A body that is too large gets the error page of its route's pool, because of its stated length or when it exceeds the limit.
    for (const body of ["Content-Length: 1000001\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\nf4240\r\n"]) {
      const large = await raw(`POST /own/echo HTTP/1.1\r\nHost: a\r\n${body}`);
      await large.until(/<p>Sorry<\/p>$/);
      expect(large.received).toMatch(/^HTTP\/1\.1 413 /);
    }
    const lineOfText = await raw("POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 1000001\r\n\r\n");
    await lineOfText.until(/\r\n\r\n413 Content Too Large\n$/);

    // The file was moved: it contains the lines so far, and the new file gets the next lines.
    renameSync(log, `${log}.1`);
    const { pid } = await project.status();
    process.kill(pid as number, "SIGUSR1");
    await waitFor("a new file", () => existsSync(log));
    await exchange({ port: project.port }, "/moved", ["Host: a", "Connection: close"]);
    await logged("the next line", ({ target }) => target === "/moved");
    expect((await project.stop()).code).toBe(0);
  });
});
