/** Starts `examples/object-store` in a separate folder, for a soak. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, startFleet } from "../support.mjs";
import { S3 } from "./client.mjs";
import { startPostgres } from "./postgres.mjs";

const EXAMPLE = fileURLToPath(new URL("../../../examples/object-store", import.meta.url));
const MAX_BODY_BYTES = 12 * 2 ** 30;
/** The host of a store with TLS; its buckets are subdomains. */
const DOMAIN = "s3.store.test";

/**
 * @param hasPostgres whether to use PostgreSQL in place of SQLite: that of DATABASE_URL, or one that is started
 * @param buckets with TLS, the buckets that clients name by a host: `place` is then for virtual-host style
 */
export async function startStore({ instances = 4, runtime = "bun", hasPostgres = false, buckets = [] } = {}) {
  const folder = mkdtempSync(path.join(process.env.STORE_SOAK_FOLDER ?? tmpdir(), "paceline-store-"));
  mkdirSync(path.join(folder, "objects"), { recursive: true });
  const [accessKey, secret] = [randomBytes(10).toString("hex").toUpperCase(), randomBytes(20).toString("hex")];
  writeFileSync(path.join(folder, "keys.json"), JSON.stringify({ [accessKey]: secret }));
  const isStarted = hasPostgres && process.env.DATABASE_URL === undefined;
  const postgres = isStarted ? await startPostgres() : undefined;
  if (isStarted && postgres === undefined) throw new Error("PostgreSQL is not installed: apt-get install postgresql");
  const env = { STORE_FOLDER: folder, STORE_PUBLIC: "public", STORE_FILES_ROUTE: "/-/objects/", DATABASE_URL: "" };
  if (hasPostgres) env.DATABASE_URL = postgres?.url ?? process.env.DATABASE_URL;
  const limits = { maxBodyBytes: MAX_BODY_BYTES };
  const port = await freePort();
  const secure = buckets.length > 0 ? await secured(folder, buckets) : undefined;
  if (secure !== undefined) env.STORE_DOMAINS = DOMAIN;
  const fleet = await startFleet(undefined, {
    app: undefined,
    runtime,
    ...(secure && { tls: secure.tls }),
    listen: [`127.0.0.1:${port}`, ...(secure ? [`https://127.0.0.1:${secure.port}`] : [])],
    balancer: { runtime, requestId: true, limits: { ...limits, upstreamResponseTimeoutMs: 300_000 } },
    minReadyMs: 200,
    pools: {
      store: {
        ...{ app: path.join(EXAMPLE, "app.ts"), instances, limits, drainTimeoutMs: 120_000, env },
        backoff: { initialMs: 10, maxMs: 50 },
        restartBudget: { maxFailures: 1000, periodMs: 1000 },
      },
      files: { static: path.join(folder, "objects"), internal: true, routes: ["/-/objects/"] },
    },
  });
  return {
    ...{ folder, fleet, port },
    /** For commonly used clients. */
    place: { url: `http://127.0.0.1:${port}`, accessKey, secret, ...secure?.place },
    client: (options = {}) => new S3({ port, accessKey, secret, ...options }),
    async pids() {
      const { pools } = await fleet.control();
      return pools.find(({ name }) => name === "store").instances.filter(({ state }) => state === "ready");
    },
    async stop() {
      await fleet.stop();
      postgres?.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A certificate that is its own authority, and a hosts file for clients in a separate mount namespace, which needs root. */
async function secured(folder, buckets) {
  const [certificate, key] = ["certificate.pem", "key.pem"].map((name) => path.join(folder, name));
  const names = `subjectAltName=DNS:${DOMAIN},DNS:*.${DOMAIN}`;
  const args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  const files = ["-keyout", key, "-out", certificate];
  execFileSync("openssl", [...args, "-subj", `/CN=${DOMAIN}`, "-addext", names, ...files], { stdio: "ignore" });
  const hosts = path.join(folder, "hosts");
  writeFileSync(hosts, `127.0.0.1 localhost ${DOMAIN} ${buckets.map((name) => `${name}.${DOMAIN}`).join(" ")}\n`);
  const port = await freePort();
  const wrap = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts];
  const place = { url: `https://${DOMAIN}:${port}`, ca: certificate, isVirtual: true, wrap };
  return { port, place, tls: { certificates: [{ certificate, key }] } };
}
