/** Starts `examples/object-store` in a folder of its own, for a soak. */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { startFleet } from "../support.mjs";
import { S3 } from "./client.mjs";

const EXAMPLE = fileURLToPath(new URL("../../../examples/object-store", import.meta.url));
const MAX_BODY_BYTES = 12 * 2 ** 30;

/** @param env of the instances, such as DATABASE_URL. */
export async function startStore({ instances = 4, runtime = "bun", env = {}, config = {} } = {}) {
  const folder = mkdtempSync(path.join(process.env.STORE_SOAK_FOLDER ?? tmpdir(), "paceline-store-"));
  mkdirSync(path.join(folder, "objects"), { recursive: true });
  const [accessKey, secret] = [randomBytes(10).toString("hex").toUpperCase(), randomBytes(20).toString("hex")];
  writeFileSync(path.join(folder, "keys.json"), JSON.stringify({ [accessKey]: secret }));
  const limits = { maxBodyBytes: MAX_BODY_BYTES };
  const fleet = await startFleet(undefined, {
    app: undefined,
    runtime,
    balancer: { runtime, limits: { ...limits, upstreamResponseTimeoutMs: 300_000 } },
    minReadyMs: 200,
    pools: {
      store: {
        ...{ app: path.join(EXAMPLE, "app.ts"), instances, limits, drainTimeoutMs: 120_000 },
        env: { STORE_FOLDER: folder, STORE_PUBLIC: "public", STORE_FILES_ROUTE: "/-/objects/", ...env },
        backoff: { initialMs: 10, maxMs: 50 },
        restartBudget: { maxFailures: 1000, periodMs: 1000 },
      },
      files: { static: path.join(folder, "objects"), internal: true, routes: ["/-/objects/"] },
    },
    ...config,
  });
  const client = (options = {}) => new S3({ port: fleet.port, accessKey, secret, ...options });
  return {
    ...{ folder, fleet, accessKey, secret, client },
    async pids() {
      const { pools } = await fleet.control();
      return pools.find(({ name }) => name === "store").instances.filter(({ state }) => state === "ready");
    },
    async stop() {
      await fleet.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
