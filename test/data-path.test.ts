/** Bodies, connections and bad requests, from a client's socket through balancer and instance and back. */
import { createHash, randomBytes } from "node:crypto";
import http from "node:http";
import http2 from "node:http2";
import { describe, expect, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { type Project, RUNTIMES, sharedFleet } from "./support/fleet.js";
import { signal } from "./support/processes.js";
import { get, RawConnection } from "./support/raw-http.js";

/** Returns the method, the length and the SHA-256 of the body; a Node handler, in TypeScript. */
const DIGEST_APP = `
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
export default function handler(request: IncomingMessage, response: ServerResponse): void {
  const hash = createHash("sha256");
  let bytes = 0;
  request.on("data", (part: Buffer) => {
    bytes += part.length;
    hash.update(part);
  });
  request.on("end", () => {
    if (request.url === "/digest?trailers") {
      response.write(String(bytes));
      response.addTrailers({ "X-Got": JSON.stringify(request.trailers), "Content-Length": "1" });
      return response.end();
    }
    response.end([request.method, bytes, hash.digest("hex")].join(" "));
  });
}
`;

/** Reports in /aborted how many clients disconnected before their response; /trailers sends back the trailers that it gets. */
const ABORT_APP = `
let aborted = 0;
export default {
  async fetch(request, info) {
    const { pathname } = new URL(request.url);
    if (pathname === "/aborts/aborted") return new Response(String(aborted));
    if (pathname === "/aborts/trailers") {
      const { length } = await request.text();
      info.addTrailers({ "X-Got": JSON.stringify(Object.fromEntries(info.trailers)), "Content-Length": "1" });
      return new Response(String(length));
    }
    await new Promise((resolve) => {
      request.signal.addEventListener("abort", () => { aborted++; resolve(); });
    });
    return new Response("nobody reads this");
  },
};
`;

/** Sends a request with a body through node:http and resolves with the response's body. */
function send(project: Project, method: string, body: Buffer, headers: http.OutgoingHttpHeaders): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { port: project.port, host: "127.0.0.1", path: "/digest", method, headers },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (part) => {
          text += part;
        });
        response.on("end", () => resolve(text));
        response.on("error", reject);
      },
    );
    request.on("error", reject);
    for (let at = 0; at < body.length; at += 60_000) request.write(body.subarray(at, at + 60_000));
    request.end();
  });
}

const MALFORMED: [string, string][] = [
  ["both framings", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"],
  ["bare LF", "GET / HTTP/1.1\nHost: x\n\n"],
  ["a folded field", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"],
  ["a space before the colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n"],
  ["NUL in a field", "GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n"],
  ["no Host", "GET / HTTP/1.1\r\n\r\n"],
  ["two Hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"],
];

const POOLS = {
  web: { app: "./app.js", instances: 2, routes: ["/"] },
  digest: { app: "./digest.ts", instances: 1, routes: ["/digest"] },
  aborts: { app: "./aborts.js", instances: 1, routes: ["/aborts/"] },
};

describe.each(RUNTIMES)("the data path on %s", (runtime) => {
  const files = { "digest.ts": DIGEST_APP, "aborts.js": ABORT_APP };
  const fleet = sharedFleet({ runtime, app: HELLO, files, config: { pools: POOLS } });

  test("malformed heads are answered 400, closed, and reach no instance", async () => {
    const project = fleet();
    for (const [what, bytes] of MALFORMED) {
      const connection = await RawConnection.open(project.port);
      connection.write(bytes);
      await connection.end();
      expect(`${what}: ${connection.received}`).toMatch(/: HTTP\/1\.1 400 /);
    }
    expect((await get(project.port)).status).toBe(200);
    // Not the requests that were sent: on a busy machine one is moved to another instance.
    const responsesOf = ({ instances }: Status["pools"][number]) =>
      instances.flatMap(({ responses }) => Object.values(responses ?? {})).reduce((sum, count) => sum + count, 0);
    const { pools } = await project.statusWhere("the sound request", ({ pools }) =>
      pools.some((it) => responsesOf(it) > 0),
    );
    expect(pools.map(responsesOf)).toEqual([1, 0, 0]);
  });

  test("bodies of every framing reach a Node handler whole", async () => {
    for (const size of [0, 1, 5_000_000]) {
      const body = randomBytes(size);
      const expected = `POST ${size} ${createHash("sha256").update(body).digest("hex")}`;
      expect(await send(fleet(), "POST", body, { "content-length": size })).toBe(expected);
      expect(await send(fleet(), "POST", body, { "transfer-encoding": "chunked" })).toBe(expected);
    }
  });

  test.each(["/aborts/trailers", "/digest?trailers"])("trailers of both directions: %s", async (path) => {
    const { port } = fleet();
    const ask = async (te: string) => {
      const connection = await RawConnection.open(port);
      connection.write(
        `POST ${path} HTTP/1.1\r\nHost: x\r\n${te}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n`,
      );
      connection.write("3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Real-IP: 6.6.6.6\r\n\r\n");
      await connection.end();
      return connection.received;
    };
    // The instance of a Node handler reports on its control lane that it reads trailers.
    await expect
      .poll(() => ask("TE: trailers\r\n"), { timeout: 10_000 })
      .toMatch(/\r\n\r\n1\r\n3\r\n0\r\nx-got: \{"x-sum":"1"\}\r\n\r\n$/i);
    expect(await ask("")).toMatch(/\r\n3(?:\r\n0\r\n\r\n)?$/);
    const client = http2.connect(`http://127.0.0.1:${port}`);
    const request = client.request(
      { ":method": "POST", ":path": path, te: "trailers" },
      { endStream: false, waitForTrailers: true },
    );
    request.on("wantTrailers", () => request.sendTrailers({ "x-sum": "2" }));
    request.end("abcd");
    let trailers: http2.IncomingHttpHeaders = {};
    request.on("trailers", (got) => {
      trailers = got;
    });
    let body = "";
    for await (const piece of request) body += piece;
    client.close();
    expect({ body, got: trailers["x-got"], length: trailers["content-length"] }).toEqual({
      ...{ body: "4", got: '{"x-sum":"2"}', length: undefined },
    });
  });

  test("a download that nobody reads holds up nobody else", async () => {
    const { port } = fleet();
    const stuck = http.get({ port, host: "127.0.0.1", path: "/big?bytes=100000000" });
    await new Promise<void>((resolve, reject) => {
      stuck.on("error", reject);
      stuck.on("response", (response) => {
        response.pause();
        resolve();
      });
    });
    for (let count = 0; count < 20; count++) expect((await get(port)).body).toBe(HELLO_BODY);
    stuck.destroy();
  });

  test("pipelined requests are answered in order", async () => {
    const connection = await RawConnection.open(fleet().port);
    connection.write(
      "GET /slow?ms=300 HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n" +
        "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    expect(await connection.end()).toBe("closed");
    expect(connection.received.match(/HTTP\/1\.1 200/g)).toHaveLength(3);
    expect(connection.received.indexOf("slow")).toBeLessThan(connection.received.indexOf(HELLO_BODY));
    expect(connection.received.split(HELLO_BODY)).toHaveLength(2); // HEAD has no body.
  });

  test("a client that goes away is noticed by the app", async () => {
    const project = fleet();
    const inFlight = ({ pools }: Status) => pools[2]?.instances[0]?.inFlight;
    const connection = await RawConnection.open(project.port);
    connection.write("GET /aborts/ HTTP/1.1\r\nHost: x\r\n\r\n");
    await project.statusWhere("the request to be in flight", (status) => inFlight(status) === 1);
    connection.close();
    await project.statusWhere("the request to be over", (status) => inFlight(status) === 0);
    expect((await get(project.port, "/aborts/aborted")).body).toBe("1");
  });

  test("an instance lost within an answer: the client sees a broken connection", async () => {
    const project = fleet();
    const connection = await RawConnection.open(project.port);
    connection.write("GET /big?bytes=200000&ms=20000 HTTP/1.1\r\nHost: x\r\n\r\n");
    const received = await connection.until(/\r\n\r\n[\s\S]*a{1000}/);
    const [, name] = /x-instance: (web\.\d)/i.exec(received) ?? [];
    const { pools } = await project.status();
    signal(pools[0]?.instances.find((instance) => instance.name === name)?.pid ?? 0, "SIGKILL");
    await connection.end();
    // Neither a last chunk nor the declared length.
    expect(connection.received.endsWith("0\r\n\r\n")).toBe(false);
    expect(connection.received.length).toBeLessThan(200_000);
  });
});
