/** What the function of a config module gets, and an option that sets a key. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { findRuntimes } from "../runtime/runtimes.js";
import { composeFleet } from "./compose.js";

test.each([
  ["development", true, undefined],
  ["production", false, undefined],
  ["staging", true, "staging"],
])("the mode is %s with watches: %s and NODE_ENV: %s", async (mode, watches, nodeEnv) => {
  const folder = mkdtempSync(join(tmpdir(), "pl-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
    vi.unstubAllEnvs();
  });
  vi.stubEnv("NODE_ENV", nodeEnv);
  vi.stubEnv("FROM_THE_START", "yes");
  const file = join(folder, "paceline.config.mjs");
  const pool = '{ proxy: "http://127.0.0.1:1", env: { MODE: mode, STARTED: env.FROM_THE_START } }';
  writeFileSync(file, `export default async ({ mode, env }) => (${pool});\n`);
  const fleet = await composeFleet({
    ...{ source: { kind: "config", file }, cwd: folder, release: folder, listenDir: folder, name: "test" },
    ...{ overrides: {}, runtimes: findRuntimes(), watches },
  });
  expect(fleet.pools[0]?.env).toEqual({ MODE: mode, STARTED: "yes" });
});

test.each([
  [{ app: "./app.js" }, "cookie", { by: "cookie", name: "paceline_web" }],
  [{ pools: { shop: { app: "./app.js", sticky: "address" } } }, "header:X-User", { by: "header", name: "x-user" }],
  [{ app: "./app.js" }, "ip", /^sticky: must be "cookie"/],
  [{ static: "." }, "cookie", /sticky: is only valid in .*pools/],
  [{ pools: { a: { app: "./app.js" }, b: { app: "./app.js", routes: ["/b/"] } } }, "cookie", /--sticky: .*\(a, b\)/],
])("%j with --sticky %s", async (config, sticky, expected) => {
  const folder = mkdtempSync(join(tmpdir(), "pl-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "app.js"), "");
  const source = { kind: "object", config, name: "test", folder } as const;
  const composed = composeFleet({
    ...{ source, cwd: folder, release: folder, listenDir: folder, name: "test" },
    ...{ overrides: { sticky }, runtimes: findRuntimes(), watches: false },
  });
  if (expected instanceof RegExp) await expect(composed).rejects.toThrow(expected);
  else expect((await composed).pools[0]?.relayed.sticky).toEqual(expected);
});
