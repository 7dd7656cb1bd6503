/** Starts what is measured, each on a port of its own: one instance, the fleet, and the peers found on the machine. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PACELINE = path.join(ROOT, "packages/supervisor/bin/paceline");
const HELLO = path.join(ROOT, "examples/hello/app.ts");

/** The Bun that Paceline brings along, for the peers' upstreams. */
export function bunPath() {
  const modules = path.join(ROOT, "packages/supervisor/node_modules/@oven");
  const name = readdirSync(modules).find((entry) => entry.startsWith("bun-"));
  return path.join(modules, name, "bin/bun");
}

/** The version a program tells, or undefined when it is not there. */
export function versionOf(program, args) {
  const { error, stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
  // nginx tells its version on stderr.
  return error === undefined ? `${stdout}${stderr}`.trim().split("\n")[0] : undefined;
}

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Waits until the address answers with 200. */
async function answers(port) {
  const deadline = Date.now() + 15_000;
  for (;;) {
    const isUp = await new Promise((resolve) => {
      const request = http.get({ port, host: "127.0.0.1", agent: false }, (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode === 200));
      });
      request.on("error", () => resolve(false));
    });
    if (isUp) return;
    if (Date.now() > deadline) throw new Error(`nothing answers on port ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function run(command, args, directory, options = {}) {
  const child = spawn(command, args, { cwd: directory, stdio: ["ignore", "ignore", "inherit"], ...options });
  child.on("error", (error) => process.stderr.write(`${command}: ${error.message}\n`));
  return child;
}

/** Two Bun instances on unix sockets, as both peers get them. */
async function bunUpstreams(directory) {
  const app = path.join(directory, "upstream.mjs");
  writeFileSync(
    app,
    `Bun.serve({ unix: process.argv[2], idleTimeout: 0, fetch: () => new Response("Hello World!\\n") });\n`,
  );
  const sockets = ["a.sock", "b.sock"].map((name) => path.join(directory, name));
  return { sockets, children: sockets.map((socket) => run(bunPath(), ["--smol", app, socket], directory)) };
}

// Started by root, the workers would be somebody else, who may not connect to the upstreams' sockets.
const COMMON_NGINX = `${process.getuid() === 0 ? "user root;" : ""} daemon off; error_log stderr crit; pid nginx.pid;
worker_processes 1; worker_rlimit_nofile 20000; events { worker_connections 8192; }
`;

export const CONTESTANTS = {
  "one instance": async () => {
    const port = await freePort();
    const child = run("sh", [PACELINE, "serve", HELLO, "--port", String(port)], ROOT);
    return { port, children: [child] };
  },
  "nginx, return 200": async (directory) => {
    const port = await freePort();
    writeFileSync(
      path.join(directory, "nginx.conf"),
      `${COMMON_NGINX}http { access_log off; keepalive_requests 1000000;
        server { listen 127.0.0.1:${port} backlog=4096; location / { return 200 "Hello World!\\n"; } } }`,
    );
    return { port, children: [run("nginx", ["-p", directory, "-c", "nginx.conf"], directory)] };
  },
  "paceline, 2 instances": async (directory) => fleet(directory, 2),
  "nginx, 2 Bun": async (directory) => {
    const port = await freePort();
    const { sockets, children } = await bunUpstreams(directory);
    writeFileSync(
      path.join(directory, "nginx.conf"),
      `${COMMON_NGINX}http { access_log off; keepalive_requests 1000000;
        upstream app { ${sockets.map((socket) => `server unix:${socket};`).join(" ")} keepalive 512; keepalive_requests 1000000; }
        server { listen 127.0.0.1:${port} backlog=4096; location / {
          proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
          proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; } } }`,
    );
    return { port, children: [...children, run("nginx", ["-p", directory, "-c", "nginx.conf"], directory)] };
  },
  // ab speaks HTTP/1.0, HAProxy passes the version on, and Bun closes such connections: what meets a close is tried again.
  "haproxy, 2 Bun": async (directory) => {
    const port = await freePort();
    const { sockets, children } = await bunUpstreams(directory);
    const servers = sockets.map((socket, i) => `  server s${i} unix@${socket} pool-max-conn 512 maxconn 128\n`);
    writeFileSync(
      path.join(directory, "haproxy.cfg"),
      `global\n  maxconn 8192\n  nbthread 1\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n` +
        `  timeout connect 5s\n  retries 3\n  retry-on conn-failure empty-response\n  option forwardfor\n  http-reuse always\n` +
        `frontend f\n  bind 127.0.0.1:${port} backlog 4096\n  default_backend b\nbackend b\n  balance roundrobin\n${servers.join("")}`,
    );
    return { port, children: [...children, run("haproxy", ["-db", "-f", "haproxy.cfg"], directory)] };
  },
};

/** A fleet of the hello app with that many instances. */
export async function fleet(directory, instances) {
  const port = await freePort();
  const args = ["start", HELLO, "--instances", String(instances), "--listen", `127.0.0.1:${port}`];
  const child = run("sh", [PACELINE, ...args, "--run-dir", path.join(directory, "run")], directory);
  return { port, children: [child] };
}

/** The program a contestant cannot do without. */
export function neededProgram(name) {
  return ["nginx", "haproxy"].find((program) => name.startsWith(program));
}

/** Starts one, and answers when it serves. */
export async function start(name, scratch) {
  const directory = path.join(scratch, name.replaceAll(/\W+/g, "-"));
  mkdirSync(directory, { recursive: true });
  const contestant = await CONTESTANTS[name](directory);
  await answers(contestant.port);
  return contestant;
}

/** Stops it, and waits until its processes have ended. */
export async function stop({ children }) {
  for (const child of [...children].reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
    await once(child, "exit");
    clearTimeout(timer);
  }
}
