/** Apps of real frameworks are recognized by their shape, alone and with a given style. */
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { detectApp } from "../packages/server/dist/index.js";
import { ROOT } from "./support/fleet.js";

const examples = createRequire(join(ROOT, "examples/package.json"));
const make = {
  express: () => examples("express")(),
  koa: () => new (examples("koa"))(),
  fastify: () => examples("fastify")(),
  hono: () => new (examples("hono").Hono)(),
  server: () => createServer(() => {}),
  "fetch object": () => ({ fetch: () => new Response() }),
  "fetch function": () => (request: Request) => new Response(request.url),
  "node function": () => (_req: unknown, res: { end(): void }) => res.end(),
  "unclear function": () => (_a: unknown, b: { end(): void }) => b.end(),
};

/** Returns the style, or the problem. */
function outcome(exported: unknown, style?: "fetch" | "node"): string {
  const detection = detectApp(exported, style);
  return "app" in detection ? detection.app.style : detection.problem;
}

describe("what a module exports", () => {
  test.each<[keyof typeof make, string]>([
    ["express", "node"],
    ["koa", "node"],
    ["fastify", "node"],
    ["hono", "fetch"],
    ["server", "node"],
    ["fetch object", "fetch"],
    ["fetch function", "fetch"],
    ["node function", "node"],
  ])("%s is %s", (name, style) => {
    expect(outcome(make[name]())).toBe(style);
  });

  test("a function that can be either names the way out, and takes it", () => {
    expect(outcome(make["unclear function"]())).toMatch(/style: "fetch" or style: "node"/);
    expect(outcome(make["unclear function"](), "node")).toBe("node");
    expect(outcome(make["unclear function"](), "fetch")).toBe("fetch");
  });

  test.each<[keyof typeof make, "fetch" | "node"]>([
    ["express", "fetch"],
    ["koa", "fetch"],
    ["fastify", "fetch"],
    ["server", "fetch"],
    ["hono", "node"],
    ["fetch object", "node"],
  ])("%s is not to be had as %s", (name, style) => {
    expect(outcome(make[name](), style)).toContain(`does not match style: "${style}"`);
  });

  test("the style wins over the names of parameters", () => {
    expect(outcome(make["node function"](), "fetch")).toBe("fetch");
  });

  test.each([
    ["nothing", undefined, /must export by default/],
    ["null", null, /must export by default/],
    ["text", "app", /must export by default/],
    ["an object without fetch", { get: () => {} }, /must export by default/],
    ["a class", class App {}, /exports a class/],
  ])("%s cannot be served", (_, exported, problem) => {
    expect(outcome(exported)).toMatch(problem);
  });

  test("a server that listens already is refused: two would fight for its port", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    expect(outcome(server)).toMatch(/listens already/);
    await new Promise((resolve) => server.close(resolve));
  });
});
