/**
 * Keeps connections of each kind open for longer than every timer of every runtime. None may be reset because of its age or stay in flight,
 * and a stop must be quick. `npm test` runs the short form `--seconds 150`.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { clientsOf } from "./age/clients.mjs";
import { http2ClientsOf } from "./age/http2-clients.mjs";
import { controlStatus, endsWithProgram, freePort, PACELINE, serveAlone, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: { seconds: { type: "string", default: "360" }, "stop-ms": { type: "string", default: "2000" } },
});
const SECONDS = Number(values.seconds);
const STOP_MS = Number(values["stop-ms"]);
const HERE = fileURLToPath(new URL("./age", import.meta.url));

const hasPython = (() => {
  try {
    execFileSync("python3", ["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]);
    return true;
  } catch {
    process.stdout.write("skips  pools of WSGI: there is no Python 3.9\n");
    return false;
  }
})();

/** By route path. A WSGI instance runs one request at a time, and three of these requests are long. */
const POOLS = {
  "/lane": { app: `${HERE}/app.ts`, protocol: "lane" },
  "/http1": { app: `${HERE}/app.ts`, protocol: "http1" },
  "/node": { app: `${HERE}/handler.mjs` },
  "/command": { command: [process.execPath, `${HERE}/command.mjs`, "{socket}"] },
  "/proxy": { proxy: "http://UPSTREAM" },
  ...(hasPython ? { "/wsgi": { wsgi: "wsgi_age:application", cwd: HERE, instances: 4 } } : {}),
};
const UPGRADES = ["/lane", "/node", "/command", "/proxy"];

class Fleet {
  constructor(runtime) {
    this.runtime = runtime;
    this.folder = mkdtempSync(path.join(tmpdir(), "paceline-age-"));
    this.socket = path.join(this.folder, "front.sock");
  }

  async start(upstream) {
    this.port = await freePort();
    this.securePort = await freePort();
    const pools = Object.entries(POOLS).map(([route, pool]) => [
      route.slice(1),
      {
        instances: 1,
        ...pool,
        ...(pool.proxy === undefined ? {} : { proxy: pool.proxy.replace("UPSTREAM", upstream) }),
        routes: [`${route}/`],
      },
    ]);
    const config = {
      listen: [`127.0.0.1:${this.port}`, `unix:${this.socket}`, `https://127.0.0.1:${this.securePort}`],
      tls: { selfSigned: true },
      runtime: this.runtime,
      // Together the slow readers leave more bytes unread than the default allows; here each of them must stay connected.
      balancer: { runtime: this.runtime, limits: { maxUnreadBytes: 64 << 20 } },
      pools: Object.fromEntries(pools),
    };
    const file = path.join(this.folder, "paceline.config.json");
    writeFileSync(file, JSON.stringify(config));
    const args = [PACELINE, "start", file, "--run-dir", path.join(this.folder, ".paceline")];
    const env = { ...process.env, PACELINE_RUNTIME: this.runtime };
    this.child = endsWithProgram(spawn("sh", args, { cwd: this.folder, stdio: ["ignore", "ignore", "inherit"], env }));
    for (const deadline = Date.now() + 60_000; ; await wait(200)) {
      const status = await this.status().catch(() => undefined);
      // The sockets listen when a balancer is ready, possibly after the instances. At the very start the wanted number is 0.
      const isReady = status?.pools.every(({ ready, wanted }) => wanted > 0 && ready === wanted);
      if (isReady && status.balancers.length > 0 && status.balancers.every(({ state }) => state === "ready")) break;
      if (Date.now() > deadline) throw new Error(`the fleet on ${this.runtime} did not get ready`);
    }
  }

  status() {
    return controlStatus(path.join(this.folder, ".paceline/control.sock"));
  }

  open(seconds) {
    const tcp = { port: this.port, host: "127.0.0.1" };
    const secure = { port: this.securePort, host: "127.0.0.1", isSecure: true };
    const place = (route) => (route === "/http1" ? { path: this.socket } : tcp);
    const poolOf = (route) => ({
      path: route,
      upgrades: UPGRADES.includes(route),
      readsSlowest: ["/lane", "/http1", "/command"].includes(route),
    });
    const named = (clients, route) =>
      clients.map((client) =>
        Object.assign(client, { name: `${client.name} of ${route.slice(1)}, balancer on ${this.runtime}` }),
      );
    const secured = clientsOf(secure, poolOf("/lane"), seconds);
    for (const client of secured) client.name += " over TLS";
    return [
      ...Object.keys(POOLS).flatMap((route) => named(clientsOf(place(route), poolOf(route), seconds), route)),
      ...named(secured, "/lane"),
      ...["/lane", "/command"].flatMap((route) => named(http2ClientsOf(secure, poolOf(route), seconds), route)),
    ];
  }

  /** Returns the balancers' count of requests in flight. */
  async inFlight() {
    const { pools, balancers } = await this.status();
    return [...pools.flatMap(({ instances }) => instances), ...balancers].reduce(
      (sum, { inFlight }) => sum + (inFlight ?? 0),
      0,
    );
  }

  /** Returns the duration of the stop, in milliseconds. */
  async stop() {
    const beganAt = performance.now();
    const ended = once(this.child, "exit");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 4 * STOP_MS);
    this.child.kill("SIGTERM");
    await ended;
    clearTimeout(timer);
    return performance.now() - beganAt;
  }

  async remove() {
    if (this.child?.exitCode === null) await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** `paceline serve`, where clients connect to the runtime's own server. */
const ALONE = ["bun", "node"].flatMap((runtime) => [
  { runtime, app: `${HERE}/app.ts`, upgrades: false },
  { runtime, app: `${HERE}/handler.mjs`, upgrades: true },
]);

async function startAlone({ runtime, app, upgrades }) {
  const server = await serveAlone([app], runtime);
  const open = (seconds) =>
    clientsOf({ port: server.port, host: "127.0.0.1" }, { path: "", upgrades, readsSlowest: true }, seconds).map(
      (client) => Object.assign(client, { name: `${client.name} of ${path.basename(app)}, alone on ${runtime}` }),
    );
  return { ...server, open };
}

async function upstreamServer() {
  const { server } = await import("./age/handler.mjs");
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

const upstream = await upstreamServer();
const fleets = ["bun", "node"].map((runtime) => new Fleet(runtime));
const alone = [];
try {
  for (const each of ALONE) alone.push(await startAlone(each));
  for (const fleet of fleets) await fleet.start(`127.0.0.1:${upstream.address().port}`);
  const clients = [...fleets, ...alone].flatMap((each) => each.open(SECONDS));
  await wait(SECONDS * 1000 - 1000);
  const aged = clients.map((client) => [client.name, client.problem()]);
  // Waits for clients that finish by themselves.
  const ended = await Promise.all(clients.map(async (client) => [client.name, await client.finish()]));
  for (const [name, problem] of [...aged, ...ended]) if (problem !== undefined) verdict(false, `${name}: ${problem}`);
  verdict(process.exitCode !== 1, `${clients.length} connections were open for ${SECONDS} s, and ended whole`);
  for (const client of clients) client.destroy();
  for (const fleet of fleets) {
    let inFlight = Number.NaN;
    for (const deadline = Date.now() + 10_000; inFlight !== 0 && Date.now() < deadline; await wait(200))
      inFlight = await fleet.inFlight();
    verdict(inFlight === 0, `${inFlight} requests are in flight afterwards, balancer on ${fleet.runtime}`);
    const took = await fleet.stop();
    verdict(took < STOP_MS, `a stop took ${Math.round(took)} ms, balancer on ${fleet.runtime}`);
  }
} finally {
  for (const fleet of fleets) await fleet.remove();
  for (const server of alone) await server.stop();
  upstream.closeAllConnections();
  upstream.close();
}
process.exit();
