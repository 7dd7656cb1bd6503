/** The access log: a line for each request to every kind of pool, also refused ones, and none by default. */
import { describe, expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
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

/** The balancer's own responses and their bodies. */
const LOCAL: [method: string, path: string, status: number, body: string][] = [
  ["HEAD", "/nowhere/head", 404, ""],
  ["POST", "/fetch/exit", 502, "502 Bad Gateway\n"],
  ["GET", "/node/stopped", 503, "503 Service Unavailable\n"],
];

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
    await get(project.port, "/fetch/silent");
    // It takes effect with new balancers.
    project.writeConfig({ pools, balancer: { accessLog: true } });
    expect((await project.reload()).code).toBe(0);
    for (const [path] of expected) await get(project.port, path);
    const raw = async (request: string) => {
      const connection = await RawConnection.open(project.port);
      connection.write(request);
      return connection;
    };
    await (await raw('GET /node/"x HTTP/1.1\r\nHost: a\r\nUser-Agent: a"\\ \xe9\r\nConnection: close\r\n\r\n')).end();
    await (await raw("GET / HTTP/1.1\r\nHost: a\r\nbad field\r\n\r\n")).end();
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
    await project.statusWhere("it to be in flight", ({ pools: [pool] }) => pool?.instances[0]?.inFlight === 1);
    endless.close();
    let log = "";
    const head = "127\\.0\\.0\\.1 - - \\[[^\\]]+ \\+0000\\] ";
    await waitFor("the last line", async () => {
      log = await logOf();
      return /"GET \/fetch\/endless HTTP\/1\.1" 499 0 "-" "-" \d+\.\d{6} fetch\.1$/m.test(log);
    });
    for (const [path, status, bytes, upstream] of expected) {
      const request = `"GET ${path.replace(/[?./]/g, "\\$&")} HTTP/1\\.\\d" ${status} ${bytes} "-" "[^"]*"`;
      expect(log).toMatch(new RegExp(`${head}${request} \\d+\\.\\d{6} ${upstream.replace(".", "\\.")}$`, "m"));
    }
    expect(log).toContain('"GET /node/\\x22x HTTP/1.1" 200 6 "-" "a\\x22\\x5C \\xE9" ');
    expect(log).toMatch(new RegExp(`${head}"-" 400 ${"400 Bad Request\n".length} "-" "-" 0\\.000000 -$`, "m"));
    for (const [method, path, status, text] of LOCAL) {
      expect(log).toContain(`"${method} ${path} HTTP/1.1" ${status} ${text.length} "-" "-" `);
    }
    if (runtime === "bun") expect(log).toMatch(/"GET \/command\/up HTTP\/1\.1" 101 0 "-" "-" \d+\.\d{6} command\.1$/m);
    expect(log).not.toContain("/fetch/silent");
  });
});
