/** Apps of every kind of pool that respond with the facts about their client, and requests that may fake them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import net, { type AddressInfo } from "node:net";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Project } from "./fleet.js";
import { isListening } from "./ports.js";
import { waitFor } from "./wait.js";

/** The response of an app. */
export interface Seen {
  address: string;
  scheme: string;
  host: string;
  /** With the path that the app receives. */
  url: string;
  /** All fields that the app could read. */
  fields: [string, string][];
}

const FETCH_APP = `export default { fetch(request, info) {
  const { clientAddress: address, protocol: scheme, host, innerProtocol, innerHost } = info;
  const inner = [["inner", innerProtocol + "://" + innerHost]];
  return Response.json({ address, scheme, host, url: request.url, fields: [...request.headers, ...inner] });
} };
`;

/** Like frameworks that trust their proxy. */
const HANDLER = `(request, response) => {
  const { headers, rawHeaders } = request;
  const [address] = (headers["x-forwarded-for"] ?? "none").split(", ");
  const [scheme, host] = [headers["x-forwarded-proto"], headers["x-forwarded-host"]];
  const fields = rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [[name, rawHeaders[i + 1]]] : []));
  response.end(JSON.stringify({ address, scheme, host, url: scheme + "://" + host + request.url, fields }));
}`;

const WSGI = `import json
def app(environ, start_response):
    fields = [(key[5:].replace("_", "-"), value) for key, value in environ.items() if key.startswith("HTTP_")]
    forwarded = dict(fields).get("X-FORWARDED-FOR", "none").split(", ")[0]
    # gunicorn leaves both to the app.
    address = environ.get("REMOTE_ADDR") or forwarded
    host = environ["HTTP_HOST"] if "paceline" in environ["SERVER_SOFTWARE"] else environ["HTTP_X_FORWARDED_HOST"]
    scheme = environ["wsgi.url_scheme"]
    path = environ.get("RAW_URI") or environ["SCRIPT_NAME"] + environ["PATH_INFO"]
    seen = dict(address=address, scheme=scheme, host=host, url=scheme + "://" + host + path, fields=fields)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
`;

const ASGI = `import json
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    host = dict(fields)["host"]
    query = scope["query_string"].decode("latin-1")
    url = scope["scheme"] + "://" + host + scope["raw_path"].decode("latin-1") + ("?" + query if query else "")
    address = scope["client"][0] if scope["client"] else "unknown"
    seen = dict(address=address, scheme=scope["scheme"], host=host, url=url, fields=fields)
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})
`;

const FAPWS = `import fapws._evwsgi as evwsgi
from fapws import base
from asks import app
evwsgi.start("0.0.0.0", "8080")
evwsgi.set_base_module(base)
evwsgi.wsgi_cb(("/fapws", app))
evwsgi.run()
`;

/** The apps, by their paths in the project. */
export const APPS: Record<string, string> = {
  "fetch.js": FETCH_APP,
  "handler.js": `export default ${HANDLER};\n`,
  "command.mjs": `import http from "node:http";\nhttp.createServer(${HANDLER}).listen(process.argv[2]);\n`,
  "asks.py": WSGI,
  "asks_async.py": ASGI,
  "start.py": FAPWS,
  "public/a b.txt": "a file",
};

/** The pools, each with a route of its own name. */
export function poolsOf(
  proxy: string,
  python: string | undefined,
  pythons: Partial<Record<"uvicorn" | "hypercorn", string>>,
  hasGunicorn: boolean,
): Record<string, object> {
  const pools: Record<string, object> = {
    fetch: { app: "./fetch.js" },
    http1: { app: "./fetch.js", protocol: "http1" },
    node: { app: "./handler.js" },
    command: { command: [process.execPath, "command.mjs", "{socket}"] },
    proxy: { proxy, proxyOptions: { changeOrigin: false } },
    static: { static: "./public" },
    ...(python !== undefined && { wsgi: { wsgi: "asks:app", python }, fapws: { fapws: "./start.py", python } }),
    ...Object.fromEntries(
      Object.entries(pythons).map(([asgiServer, each]) => [
        asgiServer,
        { asgi: "asks_async:app", asgiServer, python: each },
      ]),
    ),
    ...(hasGunicorn && { gunicorn: { command: ["gunicorn", "--bind", "unix:{socket}", "asks:app"] } }),
  };
  for (const name of Object.keys(pools)) pools[name] = { ...pools[name], instances: 1, routes: `/${name}/` };
  return pools;
}

/** A remote upstream for a proxy. */
export async function startElsewhere(): Promise<string> {
  const reply = new Function(`return ${HANDLER}`)() as (request: IncomingMessage, response: ServerResponse) => void;
  const server = http.createServer(reply);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The target of a request, and its source address. */
export type Way = { port: number; localAddress?: string } | { path: string };

/** Sends a GET request with these lines; returns everything received until the server closes. */
export async function exchange(way: Way, target: string, lines: readonly string[]): Promise<string> {
  const socket = net.connect({ host: "127.0.0.1", ...way } as net.NetConnectOpts);
  socket.setTimeout(15_000, () => socket.destroy(new Error(`no answer to ${target}`)));
  socket.write(Buffer.from([`GET ${target} HTTP/1.1`, ...lines, "", ""].join("\r\n"), "latin1"));
  let received = "";
  socket.setEncoding("latin1").on("data", (text) => {
    received += text;
  });
  await once(socket, "close");
  return received;
}

export function seenIn(reply: string): Seen {
  const body = /\{.*\}/s.exec(reply)?.[0];
  if (!reply.startsWith("HTTP/1.1 200 ") || body === undefined) throw new Error(`not seen: ${reply}`);
  return JSON.parse(body);
}

export function fieldOf({ fields }: Seen, name: string): string | undefined {
  return fields.find(([each]) => each.toLowerCase() === name)?.[1];
}

/** Starts nginx or HAProxy with a configuration, and waits for its port. */
export async function startFront(project: Project, program: "nginx" | "haproxy", port: number, config: string) {
  project.write(`${program}.conf`, config);
  const file = join(project.folder, `${program}.conf`);
  const args = program === "nginx" ? ["-c", file, "-p", project.folder, "-e", "stderr"] : ["-db", "-f", file];
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: `${process.env.PATH}:/usr/sbin` },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
  });
  await waitFor(`${program} to listen`, () => isListening(port), { details: () => output });
}

export function nginxConfig(folder: string, port: number, socket: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return `daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr crit; events {}
http { access_log off; ${temporary.map((name) => `${name}_temp_path ${folder}/t-${name};`).join(" ")}
  server { listen 127.0.0.1:${port};
    location / {
      proxy_pass http://unix:${socket}:;
      proxy_set_header Host inner;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header X-Forwarded-Prefix "";
    } } }
`;
}

export function haproxyConfig(port: number, source: string, to: number): string {
  return `defaults
  mode http
  timeout connect 5s
  timeout client 15s
  timeout server 15s
listen front
  bind 127.0.0.1:${port}
  option forwardfor
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request del-header X-Forwarded-Prefix
  http-request set-header Host inner
  server paceline 127.0.0.1:${to} source ${source}
`;
}
