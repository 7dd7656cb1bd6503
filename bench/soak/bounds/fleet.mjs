/** The target of a row of the bounds soak: a fleet with every kind of pool, or only `paceline serve`. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { bunPath } from "../../support/programs.mjs";
import { freePort, serveAlone, startFleet, startServer } from "../support.mjs";

/** Deadlines short enough for the soak; the memory for slow clients is below the limit. */
const LIMITS = {
  upstreamIdleTimeoutMs: 1000,
  upstreamResponseTimeoutMs: 5000,
  sendTimeoutMs: 3000,
  bodyTimeoutMs: 5000,
  maxBufferedBytes: 16 << 20,
  maxUnreadBytes: 8 << 20,
};
/** The memory of queued jobs belongs to the app. */
const POOL_LIMITS = { bodyTimeoutMs: 5000, maxDeferredJobs: 10_000 };

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** Creates the folder and the upstream for all fleets of the soak. */
export async function startSurroundings() {
  const folder = mkdtempSync(path.join(tmpdir(), "paceline-bounds-"));
  writeFileSync(path.join(folder, "small.txt"), "small\n");
  /** Reads requests, except for those with this target, and never responds. */
  const silent = http
    .createServer((request) => request.url.endsWith("/unread") || request.resume())
    .listen(0, "127.0.0.1");
  await once(silent, "listening");
  return {
    folder,
    silentUrl: `http://127.0.0.1:${silent.address().port}`,
    end() {
      silent.close();
      silent.closeAllConnections();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Starts the target of a row. */
export function startTarget(scenario, runtime, surroundings) {
  return scenario.alone === undefined
    ? startAll(scenario, runtime, surroundings)
    : startAlone(scenario, runtime, surroundings);
}

/** Starts each kind of pool, each with its path. */
async function startAll({ isSecure = false }, runtime, { folder, silentUrl }) {
  const tlsPort = isSecure ? await freePort() : undefined;
  const program = ["node", here("program.mjs"), "{socket}"];
  const fleet = await startFleet(1, {
    app: undefined,
    instances: undefined,
    runtime,
    ...(isSecure && { alsoListen: [`https://127.0.0.1:${tlsPort}`], tls: { selfSigned: true } }),
    pools: {
      web: { app: here("app.ts"), instances: 2, routes: ["/"], limits: POOL_LIMITS },
      handler: { app: here("handler.ts"), instances: 1, routes: ["/handler/"], limits: POOL_LIMITS },
      plain: {
        app: here("app.ts"),
        protocol: "http1",
        instances: 1,
        routes: ["/plain/"],
        stripPrefix: true,
        limits: POOL_LIMITS,
      },
      files: { static: folder, instances: 1, routes: ["/files/"] },
      python: { wsgi: "wsgi_app:app", cwd: here("."), instances: 1, routes: ["/wsgi/"] },
      program: { command: program, instances: 1, routes: ["/program/"] },
      few: { command: program, instances: 1, routes: ["/few/"], maxInFlight: 4 },
      elsewhere: { proxy: silentUrl, instances: 1, routes: ["/elsewhere/"] },
    },
    balancer: { runtime, limits: LIMITS },
  });
  return {
    ...fleet,
    tlsPort,
    async processes() {
      const { pid, balancers, pools } = await fleet.control();
      const instances = pools.flatMap((pool) => pool.instances);
      return Object.fromEntries([
        ["supervisor", pid],
        ...[...balancers, ...instances].map((each) => [each.name, each.pid]),
      ]);
    },
  };
}

async function startAlone(scenario, runtime, { folder }) {
  const args = scenario.alone.map((each) => each.replace("APP", here("app.ts")).replace("FOLDER", folder));
  const alone = await serveAlone(args, runtime);
  return { ...alone, processes: async () => ({ serve: alone.pid }), ordinary: scenario.ordinary };
}

/** Starts a server of node:tls with the same kind of certificate, without Paceline. */
export async function startBareTls({ folder }) {
  const [certificate, key] = ["certificate.pem", "key.pem"].map((name) => path.join(folder, name));
  const args = [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
    ...["-keyout", key, "-out", certificate, "-subj", "/CN=a.test", "-addext", "subjectAltName=IP:127.0.0.1"],
  ];
  execFileSync("openssl", args, { stdio: "ignore" });
  const bare = await startServer(process.execPath, (port) => [here("bare-tls.mjs"), port, certificate, key]);
  return { ...bare, tlsPort: bare.port };
}

/** Starts the same kind of app on Bun's own server, without Paceline. */
export function startBare() {
  return startServer(bunPath(), (port) => ["--smol", here("bare.ts"), port]);
}
