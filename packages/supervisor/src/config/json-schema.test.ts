/** The JSON Schema accepts what `paceline check` accepts, and the types of the package are current. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, expect, test } from "vitest";
import { findRuntimes } from "../runtime/runtimes.js";
import { composeFleet } from "./compose.js";
import { configJsonSchema, type JsonSchema } from "./json-schema.js";
import { POOL_KINDS } from "./kinds/index.js";
import { ConfigError } from "./problems.js";

interface Ajv {
  compile(schema: object): (value: unknown) => boolean;
  errorsText(): string;
}

/** The JSON Schema library that Fastify uses. */
function ajv(): Ajv {
  const require = createRequire(new URL("../../../../examples/package.json", import.meta.url));
  const ofCompiler = createRequire(createRequire(require.resolve("fastify")).resolve("@fastify/ajv-compiler"));
  const Ajv = ofCompiler("ajv") as new (options: object) => Ajv;
  return new Ajv({ strict: true, strictTypes: false, strictRequired: false, allErrors: true });
}

const validate = ajv().compile(configJsonSchema());

/** Whether the configuration can be loaded. */
async function isLoadable(config: object): Promise<boolean> {
  const folder = import.meta.dirname;
  const task = {
    ...{
      source: { kind: "object" as const, config, name: "test", folder },
      cwd: folder,
      release: folder,
      listenDir: folder,
    },
    ...{ name: "test", overrides: {}, runtimes: findRuntimes(), watches: false },
  };
  return composeFleet(task).then(
    () => true,
    (error) => {
      if (error instanceof ConfigError) return false;
      throw error;
    },
  );
}

const upstream = { proxy: "http://127.0.0.1:1" };

describe("the JSON Schema and the loader agree on", () => {
  test.each<[string, object, boolean]>([
    ["one pool", upstream, true],
    ["a $schema key", { $schema: "./x.json", ...upstream }, true],
    ["several pools", { listen: "8080", pools: { a: upstream, b: { command: ["sh"], routes: ["/b/"] } } }, true],
    ["defaults beside pools", { env: { A: 1, B: true }, drainTimeoutMs: 5, pools: { a: upstream } }, true],
    ["a text for a list", { ...upstream, routes: "/", listen: ["8080", "8081"] }, true],
    ["shares and words", { ...upstream, maxSurge: "50%", instances: "cpus" }, true],
    ["limits", { ...upstream, balancer: { limits: { maxQueue: 0, bodyTimeoutMs: 1 } } }, true],
    ["keys of the kind", { ...upstream, proxyOptions: { cookieDomainRewrite: { "*": "" }, changeOrigin: true } }, true],
    ["an unknown key", { ...upstream, lisen: "8080" }, false],
    ["an unknown key in a table", { ...upstream, balancer: { limits: { maxQueues: 1 } } }, false],
    ["a wrong type", { ...upstream, drainTimeoutMs: "5s" }, false],
    ["a number out of range", { ...upstream, instances: 5000 }, false],
    ["a wrong word", { ...upstream, runtime: "deno" }, false],
    ["a wrong share", { ...upstream, maxSurge: "200%" }, false],
    ["an empty text", { proxy: "" }, false],
    ["no kind", { listen: "8080" }, false],
    ["a pool without a kind", { pools: { a: { instances: 1 } } }, false],
    ["two kinds", { ...upstream, command: ["sh"] }, false],
    ["two kinds in a pool", { pools: { a: { ...upstream, command: ["sh"] } } }, false],
    ["a key of another kind", { ...upstream, stopSignal: "SIGINT" }, false],
    ["a key of another kind in a pool", { pools: { a: { ...upstream, threads: 2 } } }, false],
    ["a kind beside pools", { ...upstream, pools: { a: upstream } }, false],
    ["routes beside pools", { routes: ["/"], pools: { a: upstream } }, false],
    ["a bad name of a pool", { pools: { A: upstream } }, false],
    ["a worker", { worker: ["sh", "-c", "sleep 1"], readyAfterMs: 5 }, true],
    ["a worker with routes", { pools: { a: { worker: ["sh"], routes: ["/"] } } }, false],
    ["a worker with a request's key at the top", { worker: ["sh"], maxRequests: 5 }, false],
    ["a command as one text", { command: "sh -c true" }, false],
  ])("%s", async (_, config, isValid) => {
    expect({ schema: validate(config), loader: await isLoadable(config) }).toEqual({
      schema: isValid,
      loader: isValid,
    });
  });
});

test("every key has a description with its unit and default, without links that only the documentation can follow", () => {
  const { properties = {} } = configJsonSchema();
  const described: string[] = [];
  const walk = (schemas: Record<string, JsonSchema>, path: string) => {
    for (const [key, { description = "", properties: inner = {} }] of Object.entries(schemas)) {
      expect(description, path + key).toMatch(/\.$/);
      expect(description, path + key).not.toMatch(/\]\(/);
      described.push(path + key);
      walk(inner, `${path}${key}.`);
    }
  };
  walk(properties, "");
  expect(described).toContain("balancer.limits.maxQueue");
  for (const { name } of POOL_KINDS) expect(described).toContain(name);
  expect(properties.drainTimeoutMs?.description).toMatch(/\n\nValue: whole number, ms\. Default: 30000\.$/);
  expect(properties.listen?.default).toEqual(["127.0.0.1:8080"]);
});

test("config-types.ts is current (else run: node scripts/make-config-types.mjs)", async () => {
  const script = "../../../../scripts/make-config-types.mjs";
  const { configTypes } = (await import(script)) as { configTypes(): string };
  expect(readFileSync(new URL("config-types.ts", import.meta.url), "utf8")).toBe(configTypes());
});
