/** Apps of every kind send files of an internal pool with X-Accel-Redirect and X-Sendfile, which no client sees. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { type Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { RawConnection } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";

/** The query field `h` names the field, `v` its value; the response also has its own fields and body. */
const OWN = [
  ["Content-Type", "image/app"],
  ["Set-Cookie", "a=1"],
  ["Content-Disposition", "attachment"],
  ["ETag", '"app"'],
];
const FETCH = `export default { fetch(request) {
  const { searchParams } = new URL(request.url);
  // With "w" in the query, the body ends only when it is cancelled.
  const endless = new ReadableStream({ start: (controller) => controller.enqueue("hidden") });
  return new Response(searchParams.has("w") ? endless : "hidden", { headers: [...${JSON.stringify(OWN)}, [searchParams.get("h"), searchParams.get("v")]] });
} };
`;
const HANDLER = `(request, response) => {
  const { searchParams } = new URL(request.url, "http://x");
  for (const [name, value] of ${JSON.stringify(OWN)}) response.setHeader(name, value);
  response.setHeader(searchParams.get("h"), searchParams.get("v"));
  if (searchParams.has("w")) response.write("hidden");
  else response.end("hidden");
}`;
const NODE = `export default ${HANDLER};\n`;
const COMMAND = `import http from "node:http";
http.createServer(${HANDLER}).listen(process.env.PORT, process.env.HOST);
`;
const WSGI = `
import time
from urllib.parse import parse_qs
def endless():
    while True:
        yield b"hidden"
        time.sleep(0.02)
def application(environ, start_response):
    query = parse_qs(environ["QUERY_STRING"])
    own = [tuple(pair) for pair in ${JSON.stringify(OWN)}]
    start_response("200 OK", [*own, (query["h"][0], query["v"][0])])
    return endless() if "w" in query else [b"hidden"]
`;
const ASGI = `
from urllib.parse import parse_qs
async def application(scope, receive, send):
    query = parse_qs(scope["query_string"].decode())
    own = [*${JSON.stringify(OWN)}, (query["h"][0], query["v"][0])]
    headers = [(name.encode(), value.encode()) for name, value in own]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hidden", "more_body": "w" in query})
    while "w" in query and (await receive())["type"] != "http.disconnect":
        pass
`;
const FAPWS = `
from fapws import _evwsgi, base
from site_app import application
_evwsgi.start("0.0.0.0", "8080")
_evwsgi.set_base_module(base)
_evwsgi.wsgi_cb(("/", application))
_evwsgi.run()
`;

async function ask(project: Project, target: string, { method = "GET", fields = "", body = "" } = {}): Promise<string> {
  const connection = await RawConnection.open(project.port);
  connection.write(`${method} ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${fields}\r\n${body}`);
  await connection.end();
  return connection.received;
}

describe.each(RUNTIMES)("files that an app hands out, on %s", (runtime) => {
  test("come from an internal pool, with the conditions of the client and the fields of the app", async () => {
    const python = findPython();
    const asgiPython = findPython("uvicorn");
    const one = { instances: 1 };
    const kinds = {
      fetch: { app: "./app.js", ...one, routes: ["/fetch/"] },
      http1: { app: "./app.js", ...one, protocol: "http1", routes: ["/http1/"] },
      node: { app: "./node.js", ...one, routes: ["/node/"] },
      ...(runtime === "bun" && {
        command: { command: ["node", "./command.mjs"], routes: ["/command/"] },
        ...(asgiPython !== undefined && {
          asgi: { asgi: "async_app", python: asgiPython, ...one, routes: ["/asgi/"] },
        }),
        ...(python !== undefined && {
          wsgi: { wsgi: "site_app", python, ...one, routes: ["/wsgi/"] },
          fapws: { fapws: "./start.py", python, ...one, routes: ["/fapws/"] },
        }),
      }),
    };
    const project = await startFleet({
      runtime,
      app: FETCH,
      files: {
        ...{ "node.js": NODE, "command.mjs": COMMAND, "site_app.py": WSGI, "async_app.py": ASGI, "start.py": FAPWS },
        ...{ "files/a b.txt": "0123456789", "files/other.txt": "other" },
      },
      config: { pools: { ...kinds, files: { static: "./files", internal: true, routes: ["/protected/"] } } },
    });
    const own = ["content-type: image/app", "set-cookie: a=1", "content-disposition: attachment"];
    const hidden = /x-accel|x-sendfile|hidden|"app"/i;
    for (const kind of Object.keys(kinds)) {
      const accel = `/${kind}/?h=X-Accel-Redirect&v=/protected/a%2520b.txt`;
      const send = `/${kind}/?h=X-Sendfile&v=${encodeURIComponent(join(project.folder, "files/a b.txt"))}`;
      for (const target of [accel, send]) {
        const whole = await ask(project, target);
        expect(whole, target).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*content-length: 10\r\n[\s\S]*\r\n\r\n0123456789$/i);
        for (const field of own) expect(whole.toLowerCase(), target).toContain(`\r\n${field}\r\n`);
        expect(whole, target).not.toMatch(hidden);
        const etag = /\r\netag: (.*)\r\n/i.exec(whole)?.[1];
        const part = await ask(project, target, { fields: "Range: bytes=2-4\r\n" });
        expect(part, target).toMatch(/^HTTP\/1\.1 206 [\s\S]*content-range: bytes 2-4\/10\r\n[\s\S]*\r\n\r\n234$/i);
        for (const field of own) expect(part.toLowerCase(), target).toContain(`\r\n${field}\r\n`);
        const same = await ask(project, target, { fields: `If-None-Match: ${etag}\r\n` });
        expect(same, target).toMatch(/^HTTP\/1\.1 304 [\s\S]*set-cookie: a=1\r\n[\s\S]*\r\n\r\n$/i);
        const head = await ask(project, target, { method: "HEAD" });
        expect(head, target).toMatch(/^HTTP\/1\.1 200 [\s\S]*content-length: 10\r\n[\s\S]*\r\n\r\n$/i);
        const posted = await ask(project, target, { method: "POST", fields: "Content-Length: 3\r\n", body: "abc" });
        expect(posted, target).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\n0123456789$/);
      }
      const early = await ask(project, `${accel}&w=1`);
      expect(early, kind).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*content-length: 10\r\n[\s\S]*\r\n\r\n0123456789$/i);
      expect(early, kind).not.toMatch(hidden);
      for (const value of [
        "/protected/none",
        "/elsewhere",
        "protected/a",
        "/protected/../app.js",
        `/${kind}/?h=X-Own`,
      ]) {
        const response = await ask(project, `/${kind}/?h=X-Accel-Redirect&v=${encodeURIComponent(value)}`);
        expect(response, `${kind} ${value}`).toMatch(/^HTTP\/1\.1 40[04] /);
        expect(response, `${kind} ${value}`).not.toMatch(hidden);
      }
      const outside = await ask(project, `/${kind}/?h=X-Sendfile&v=/etc/passwd`);
      expect(outside, kind).toMatch(/^HTTP\/1\.1 404 /);
    }
    // No client reaches it directly.
    for (const target of [
      "/protected/other.txt",
      "/protected/",
      "/fetch/../protected/other.txt",
      "//protected/other.txt",
    ])
      expect(await ask(project, target), target).toMatch(/^HTTP\/1\.1 404 /);
    // The dropped bodies have ended.
    await project.statusWhere("none to be at work or replaced", ({ pools }) =>
      pools.every(({ instances }) => instances.every(({ inFlight, attempt }) => inFlight === 0 && attempt === 1)),
    );
  });

  // Which fields are dropped is decided above the transports.
  testOnce(runtime)(
    "are none for a proxy's upstream unless asked, and without an internal pool the fields pass",
    async () => {
      const far = await startFleet({ runtime, app: NODE, config: { instances: 1 } });
      const target = `http://127.0.0.1:${far.port}`;
      const path = "/?h=X-Accel-Redirect&v=/protected/a.txt";
      // For a server in front that supports them.
      expect(await ask(far, path)).toMatch(/x-accel-redirect: \/protected\/a\.txt\r\n[\s\S]*hidden$/i);
      const project = await startFleet({
        runtime,
        app: "",
        files: { "files/a.txt": "a file" },
        config: {
          pools: {
            plain: { proxy: target, routes: ["/plain/"], stripPrefix: true },
            asked: { proxy: target, routes: ["/asked/"], stripPrefix: true, proxyOptions: { fileRedirects: true } },
            files: { static: "./files", internal: true, routes: ["/protected/"] },
          },
        },
      });
      const plain = await ask(project, `/plain${path}`);
      expect(plain).toMatch(/^HTTP\/1\.1 200 [\s\S]*hidden$/);
      expect(plain).not.toMatch(/x-accel/i);
      expect(await ask(project, `/asked${path}`)).toMatch(/^HTTP\/1\.1 200 [\s\S]*a file$/);
    },
  );
});
