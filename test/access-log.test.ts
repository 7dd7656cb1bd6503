/** The access log and recordings: a line for each request to every kind of pool, and none by default. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { connectFleet } from "../packages/supervisor/dist/fleet/fleet.js";
import { record } from "../packages/supervisor/dist/rehearse/recording.js";
import { RUNTIMES, startFleet } from "./support/fleet.js";
import { get, RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const FETCH = `export default { fetch: async (request) => {
  if (request.url.includes("/exit")) process.exit(1);
  if (request.url.includes("/endless")) await new Promise(() => {});
  return new Response("fetch");
} };
`;
const NODE = 'export default (req, res) => res.end("a node");\n';
const WSGI = `
def application(environ, start_response):
    start_response("201 Created", [("Content-Type", "text/plain")])
    return [b"wsgi"]
`;
const COMMAND = `import http from "node:http";
const server = http.createServer((req, res) => res.end("command"));
server.on("upgrade", (req, socket) => {
  socket.on("error", () => {}).on("end", () => socket.end()).resume();
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: x\\r\\n\\r\\n");
});
server.listen(process.env.PORT, process.env.HOST);
`;

/** Responses that the balancer generates itself, and their bodies. */
const LOCAL: [method: string, path: string, status: number, body: string][] = [
  ["HEAD", "/nowhere/head", 404, ""],
  ["POST", "/fetch/exit", 502, "502 Bad Gateway\n"],
  ["GET", "/node/stopped", 503, "503 Service Unavailable\n"],
];

/** Parts of a request that no recording contains. */
const SECRETS = "Cookie: sid=swordfish\r\nAuthorization: Bearer swordfish\r\nReferer: http://a/?k=swordfish\r\n";

describe.each(RUNTIMES)("the access log on %s", (runtime) => {
  test("has a line for each request, and none is written unless asked for", async () => {
    const python = runtime === "bun" ? findPython() : undefined;
    const pools = {
      fetch: { app: "./app.js", instances: 1, routes: ["/fetch/"] },
      node: { app: "./node.js", instances: 1, routes: ["/node/"] },
      ...(runtime === "bun" && {
        files: { static: "./public", routes: ["/files/"] },
        far: { proxy: "http://127.0.0.1:9", routes: ["/far/"] },
        command: { command: ["node", "./command.mjs"], routes: ["/command/"] },
      }),
      ...(python !== undefined && { wsgi: { wsgi: "site_app", python, instances: 1, routes: ["/wsgi/"] } }),
    };
    const expected: [string, number, number | string, string][] = [
      ["/fetch/?a=1", 200, 5, "fetch.1"],
      ["/node/", 200, 6, "node.1"],
      ...(runtime === "bun"
        ? ([
            ["/files/a.txt", 200, 6, "files.1"],
            ["/files/none", 404, "\\d+", "files.1"],
            ["/far/", 502, "\\d+", "far.1"],
            ["/command/", 200, 7, "command.1"],
          ] as [string, number, number | string, string][])
        : []),
      ...(python === undefined ? [] : [["/wsgi/", 201, 4, "wsgi.1"] as [string, number, number, string]]),
      ["/nowhere", 404, "404 Not Found\n".length, "-"],
    ];
    const project = await startFleet({
      runtime,
      app: FETCH,
      files: { "node.js": NODE, "public/a.txt": "a file", "command.mjs": COMMAND, "site_app.py": WSGI },
      config: { pools },
    });
    const logOf = async () => await project.logs("balancer.1");
    const raw = async (request: string) => {
      const connection = await RawConnection.open(project.port);
      connection.write(request);
      return connection;
    };
    await get(project.port, "/fetch/silent");

    // A recording needs no access log, continues when balancers are replaced, and contains nothing secret.
    const file = join(project.folder, "recorded.jsonl");
    const ending = new AbortController();
    let hasBegun = () => {};
    const begun = new Promise<void>((resolve) => {
      hasBegun = resolve;
    });
    const fleet = await connectFleet({ runDir: project.runDir });
    const how = { fleet, file, forMs: 600_000, signal: ending.signal, onBegin: hasBegun };
    const recording = record(how);
    await begun;
    for (const [path] of expected) await get(project.port, path);
    expect(await project.restart("balancer")).toMatchObject({ code: 0 });
    const post = `POST /fetch/cart?id=swordfish HTTP/1.1\r\nHost: a\r\n${SECRETS}Content-Length: 9\r\n`;
    await (await raw(`${post}Connection: close\r\n\r\nswordfish`)).end();
    const recorded = () => readFileSync(file, "utf8").trim().split("\n").slice(1);
    await waitFor("all to be recorded", () => recorded().length > expected.length);
    ending.abort();
    expect(await recording).toEqual({ requests: expected.length + 1, lost: 0, isFull: false });
    await get(project.port, "/fetch/silent");
    const each = expected.map(([path, status, bytes]) => ({
      ...{ atMs: expect.any(Number), ms: expect.any(Number), method: "GET", path: path.replace(/=.*/, "="), status },
      bytes: typeof bytes === "number" ? bytes : expect.any(Number),
    }));
    const last = expect.objectContaining({ method: "POST", path: "/fetch/cart?id=", status: 200, bytes: 5 });
    expect(recorded().map((line) => JSON.parse(line))).toEqual(expect.arrayContaining([...each, last]));
    expect(readFileSync(file, "utf8")).not.toMatch(/swordfish|127\.0\.0\.1|silent/);
    expect(await logOf()).not.toMatch(/HTTP\/1|swordfish/);

    // The access log takes effect with new balancers.
    project.writeConfig({ pools, balancer: { accessLog: true } });
    expect((await project.reload()).code).toBe(0);
    for (const [path] of expected) await get(project.port, path);
    await (await raw('GET /node/"x HTTP/1.1\r\nHost: a\r\nUser-Agent: a"\\ \xe9\r\nConnection: close\r\n\r\n')).end();
    await (await raw("GET / HTTP/1.1\r\nHost: a\r\nbad field\r\n\r\n")).end();
    await (await raw("GET /fetch/big HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n")).end();
    const chunked = "POST /fetch/endless HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    await (await raw(`${chunked}3\r\nabc\r\nZZ\r\n`)).end();
    expect((await project.stop("node")).code).toBe(0);
    for (const [method, path] of LOCAL) {
      await (await raw(`${method} ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)).end();
    }
    if (runtime === "bun") {
      const tunnel = await raw("GET /command/up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
      await tunnel.until(/^HTTP\/1\.1 101 /);
      tunnel.close();
    }
    const endless = await raw("GET /fetch/endless HTTP/1.1\r\nHost: a\r\n\r\n");
    // Its former process has crashed in a request.
    const isRunning = ({ pools: [pool] }: Status) => pool?.ready === 1 && pool.instances[0]?.inFlight === 1;
    await project.statusWhere("it to be in flight", isRunning);
    endless.close();
    let log = "";
    const head = "127\\.0\\.0\\.1 - - \\[[^\\]]+ \\+0000\\] ";
    // The lines of requests that do not end with their response.
    const lines = [/"GET \/fetch\/endless HTTP\/1\.1" 499 0 "-" "-" \d+\.\d{6} fetch\.1$/m];
    if (runtime === "bun") lines.push(/"GET \/command\/up HTTP\/1\.1" 101 0 "-" "-" \d+\.\d{6} command\.1$/m);
    const hasAll = async () => {
      log = await logOf();
      return lines.every((line) => line.test(log));
    };
    await waitFor("the last lines", hasAll, { details: () => log });
    for (const [path, status, bytes, upstream] of expected) {
      const request = `"GET ${path.replace(/[?./]/g, "\\$&")} HTTP/1\\.\\d" ${status} ${bytes} "-" "[^"]*"`;
      expect(log).toMatch(new RegExp(`${head}${request} \\d+\\.\\d{6} ${upstream.replace(".", "\\.")}$`, "m"));
    }
    expect(log).toContain('"GET /node/\\x22x HTTP/1.1" 200 6 "-" "a\\x22\\x5C \\xE9" ');
    expect(log).toMatch(new RegExp(`${head}"-" 400 ${"400 Bad Request\n".length} "-" "-" 0\\.000000 -$`, "m"));
    for (const [method, path, status, text] of LOCAL) {
      expect(log).toContain(`"${method} ${path} HTTP/1.1" ${status} ${text.length} "-" "-" `);
    }
    expect(log).toContain('"GET /fetch/big HTTP/1.1" 413 ');
    expect(log).toContain('"POST /fetch/endless HTTP/1.1" 400 16 "-" "-" ');
    expect(log).not.toContain("/fetch/silent");
  });
});
