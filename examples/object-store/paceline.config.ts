/** An object store for S3's clients, four instances on one folder and one database: `npm start examples/object-store`. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const folder = resolve(process.env.STORE_FOLDER ?? join(import.meta.dirname, "data"));
const keys = process.env.STORE_KEYS ?? join(folder, "keys.json");
const maxBodyBytes = 5 * 2 ** 30 + (64 << 20);

mkdirSync(join(folder, "objects"), { recursive: true, mode: 0o700 });
// A generated pair of keys, in place of a default that everybody knows.
if (!existsSync(keys)) {
  const access = randomBytes(10).toString("hex").toUpperCase();
  writeFileSync(keys, `${JSON.stringify({ [access]: randomBytes(20).toString("hex") })}\n`, { mode: 0o600 });
}

export default {
  name: "object-store",
  // A put that is sent again has the same id, so that it recognizes the object of its first attempt.
  balancer: { requestId: true, limits: { maxBodyBytes, upstreamResponseTimeoutMs: 300_000 } },
  pools: {
    store: {
      app: "./app.ts",
      instances: Number(process.env.STORE_INSTANCES ?? 4),
      limits: { maxBodyBytes },
      // An upload in progress has this long to finish when the pool is reloaded.
      drainTimeoutMs: 120_000,
      env: { STORE_FOLDER: folder, STORE_KEYS: keys, STORE_FILES_ROUTE: "/-/objects/" },
    },
    // Sends the whole objects of public buckets (STORE_PUBLIC=assets,downloads), so that no instance has to do that.
    files: { static: join(folder, "objects"), internal: true, routes: ["/-/objects/"] },
  },
};
