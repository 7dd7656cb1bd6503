/** Apps as in their frameworks' documentation, which call listen() themselves: instances in turn, reloads without a loss. */
import { symlinkSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { Project, ROOT, RUNTIMES } from "./support/fleet.js";
import { freePort, isListening } from "./support/ports.js";
import { signal } from "./support/processes.js";
import { differentBodies, get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const INSTANCE = "process.env.PACELINE_INSTANCE";

/** Two instances of one app: a reload also shows that two processes of an app may run at the same time. */
const instancesOf = (name: string) => (name === "bare" ? 2 : 1);

/** By file. All listen on the same port, as in tutorials, and only as the main module, with each way to detect that. */
const appsOn = (port: number): Record<string, string> => ({
  "bare.cjs": `
    const http = require("node:http");
    const server = http.createServer((req, res) => {
      res.setHeader("X-Instance", ${INSTANCE});
      res.end("bare " + server.address().port);
    });
    if (require.main === module && require.main.filename === __filename)
      server.listen(${port}, () => console.log("listening on port", server.address().port));`,
  // As written by express-generator: a program without an extension.
  "express/www": `#!/usr/bin/env node
    const express = require("express");
    const app = express();
    app.set("port", process.env.PORT || "${port}");
    app.get("*rest", (req, res) => res.set("X-Instance", ${INSTANCE}).send("express " + server.address().port));
    const server = require("http").createServer(app);
    if (process.mainModule === module) server.listen(app.get("port"));
    server.on("error", (error) => { throw error; });
    server.on("listening", () => console.log("Listening on port " + server.address().port));`,
  // Its server connects to a database first. A bundler wrote the entry.
  "koa.mjs": `
    import { pathToFileURL } from "node:url";
    if (import.meta.url !== pathToFileURL(process.argv[1]).href) throw new Error("it is not the main module");
    export { default } from "./koa/server.mjs";`,
  // Compiled from TypeScript: it has exports, and another file listens.
  "fastify.cjs": `
    "use strict";
    Object.defineProperty(exports, "__esModule", { value: true });
    if (!module.parent) require("./fastify/server.cjs").start();`,
});

/** Files that the apps import. */
const partsOn = (port: number) => ({
  "express/package.json": "{}",
  "fastify/server.cjs": `
    const fastify = require("fastify")({ logger: true });
    fastify.get("/*", (request, reply) => reply.header("X-Instance", ${INSTANCE}).send("fastify " + fastify.server.address().port));
    exports.start = () =>
      fastify.listen({ port: ${port} }, (error) => { if (error) { fastify.log.error(error); process.exit(1); } });`,
  "koa/server.mjs": `
    import Koa from "koa";
    const app = new Koa();
    let server;
    app.use((ctx) => { ctx.set("X-Instance", ${INSTANCE}); ctx.body = "koa " + server.address().port; });
    await new Promise((resolve) => setTimeout(resolve, 100));
    server = app.listen(${port});
    export default {};`,
});

const appsOfBunOn = (port: number): Record<string, string> => ({
  "bun.ts": `
    let server: Bun.Server | undefined;
    const options = { port: ${port}, fetch: () =>
      new Response("bun " + server?.port, { headers: { "X-Instance": ${INSTANCE} as string } }) };
    if (import.meta.main && Bun.main === import.meta.path) server = Bun.serve(options);`,
  "hono.cjs": `
    const { Hono } = require("hono");
    const { upgradeWebSocket, websocket } = require("hono/bun");
    const app = new Hono();
    app.get("/ws", upgradeWebSocket(() => ({})));
    app.get("/*", (c) => c.text("hono ${port}", 200, { "X-Instance": ${INSTANCE} }));
    module.exports = { default: { fetch: app.fetch, websocket } };`,
});

describe.each(RUNTIMES)("apps that listen, on %s", { timeout: 120_000 }, (runtime) => {
  test("each instance of each is served in turn, a reload loses nothing, and nothing listens on their port", async () => {
    const port = await freePort();
    const files = { ...appsOn(port), ...(runtime === "bun" && appsOfBunOn(port)) };
    const nameOf = (file: string) => file.replace(/\W.*/, "");
    const names = Object.keys(files).map(nameOf);
    const pools = Object.fromEntries(
      Object.keys(files).map((file) => [
        nameOf(file),
        { app: `./${file}`, instances: instancesOf(nameOf(file)), routes: [`/${nameOf(file)}/`] },
      ]),
    );
    const project = await Project.make({
      runtime,
      app: "",
      files: { ...files, ...partsOn(port) },
      config: { pools },
    });
    symlinkSync(join(ROOT, "examples/node_modules"), join(project.folder, "node_modules"));
    await project.start();

    const counts = new Map(names.map((name) => [name, new Map<string, number>()]));
    const wrong: string[] = [];
    let isOver = false;
    const ask = async (name: string) => {
      const byInstance = counts.get(name) as Map<string, number>;
      while (!isOver) {
        const { status, headers, body } = await get(project.port, `/${name}/x`);
        if (status !== 200 || body !== `${name} ${port}`) wrong.push(`${status} ${body}`);
        const instance = headers.get("x-instance") ?? "";
        byInstance.set(instance, (byInstance.get(instance) ?? 0) + 1);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    const clients = Promise.all([...names, ...names].map(ask));
    const total = (byInstance: Map<string, number>) => [...byInstance.values()].reduce((sum, count) => sum + count, 0);
    const enough = () =>
      [...counts].every(([name, byInstance]) => byInstance.size === instancesOf(name) && total(byInstance) >= 20);
    await Promise.race([clients, waitFor("20 responses of each, and of each instance", enough)]);
    expect((await project.reload()).code).toBe(0);
    isOver = true;
    await clients;
    expect(wrong).toEqual([]);
    for (const [name, byInstance] of counts)
      expect([...byInstance.keys()].sort()).toEqual([`${name}.1`, `${name}.2`].slice(0, instancesOf(name)));
    expect([await isListening(port), await isListening(port, "::1")]).toEqual([false, false]);
  });

  test("an app with readySignal is ready when it says so, and knows its number and that this is production", async () => {
    const project = await Project.make({
      runtime,
      instances: 2,
      app: `
        import { existsSync } from "node:fs";
        import { createServer } from "node:http";
        const { NODE_ENV, NODE_APP_INSTANCE } = process.env;
        createServer((_, res) => res.end(NODE_ENV + " " + NODE_APP_INSTANCE)).listen(3000);
        console.log("listening");
        const look = setInterval(() => {
          if (!existsSync("connected")) return;
          clearInterval(look);
          process.send("ready");
        }, 20);`,
      config: { readySignal: true },
      env: { NODE_ENV: undefined },
    });
    project.startInForeground();
    await waitFor("both to listen", () => project.output.match(/listening$/gm)?.length === 2);
    await project.statusWhere(
      "both to be starting",
      ({ pools: [web] }) => web?.instances.every(({ state }) => state === "starting") === true,
    );
    project.write("connected", "");
    await project.ready();
    expect(await differentBodies(project.port, 2)).toEqual(["production 0", "production 1"]);
  });
});

test("the words that PM2 has for it work: -i max, -p, arguments after --, ls, monit, kill", async () => {
  const app = `require("node:http").createServer((_, res) => res.end(process.argv.slice(2).join(" "))).listen(3000);`;
  const project = await Project.make({ runtime: "bun", app: "", files: { "server.cjs": app } });
  const port = await freePort();
  const started = await project.startDetached(["server.cjs", "-i", "max", "-p", `${port}`, "--", "--theme", "dark"]);
  expect(started.code, started.output).toBe(0);
  expect((await get(port)).body).toBe("--theme dark");
  // Once for all instances.
  const where = /web .*the app asked for port 3000; clients connect to (\S+)$/gm;
  expect([...(await project.cli(["events"])).stdout.matchAll(where)].map(([, url]) => url)).toEqual([
    `http://127.0.0.1:${port}`,
  ]);
  const mine = async () => {
    const all: { source: string; pid: number; instances: object | null }[] = JSON.parse(
      (await project.cli(["ls", "--json"])).stdout,
    );
    return all.filter(({ source }) => source === join(project.folder, "server.cjs"));
  };
  const { pid } = await project.status();
  const instances = { ready: availableParallelism(), wanted: availableParallelism() };
  expect(await mine()).toMatchObject([{ state: "running", pid, instances, listen: [`http://127.0.0.1:${port}`] }]);
  signal(pid, "SIGSTOP");
  expect(await mine()).toMatchObject([{ state: "stalled", pid, instances: null }]);
  signal(pid, "SIGCONT");
  expect((await project.cli(["ls"])).output).toMatch(new RegExp(`running +${pid} +(\\d+)/\\1 `));
  expect((await project.cli(["monit", "--plain", "--once"])).output).toContain("web.1");
  expect((await project.cli(["start", "server.cjs", "dark"])).output).toContain("too many arguments: dark");
  expect((await project.cli(["start", "server.cjs", "-p", "70000"])).code).toBe(2);
  // A reload keeps the arguments.
  expect((await project.reload()).code).toBe(0);
  expect((await get(port)).body).toBe("--theme dark");
  // A fleet whose supervisor was killed is listed while it has processes, and gets another supervisor.
  signal(pid, "SIGKILL");
  const listed = { name: basename(project.folder), listen: [`http://127.0.0.1:${port}`] };
  expect(await mine()).toMatchObject([listed]);
  await project.statusWhere("the next supervisor", (status) => status.pid !== pid && status.state === "running");
  expect(await mine()).toMatchObject([{ ...listed, state: "running", instances }]);
  expect((await project.cli(["kill"])).code).toBe(0);
  expect(await mine()).toEqual([]);
});

test("a program after --, and an upstream after --proxy, need no config; a reload keeps them", async () => {
  const app = `require("node:http").createServer((_, res) => res.end(process.argv[2])).listen(process.env.PORT, process.env.HOST);`;
  const project = await Project.make({ runtime: "bun", app: "", files: { "server.cjs": app } });
  const port = await freePort();
  const started = await project.startDetached([
    "-i",
    "2",
    "-p",
    `${port}`,
    "--",
    process.execPath,
    "server.cjs",
    "dark",
  ]);
  expect(started.code, started.output).toBe(0);
  expect((await project.reload()).code).toBe(0);
  expect((await get(port)).body).toBe("dark");
  expect((await project.status()).pools[0]).toMatchObject({ kind: "command", wanted: 2 });

  // Without an option, the usual variable says where to listen.
  const proxyPort = await freePort();
  const second = await Project.make({ runtime: "bun", app: "", env: { PORT: `${proxyPort}` } });
  const proxying = await second.startDetached(["--proxy", `http://127.0.0.1:${port}`]);
  expect(proxying.code, proxying.output).toBe(0);
  expect((await second.cli(["reload"])).code).toBe(0);
  expect((await get(proxyPort)).body).toBe("dark");
  for (const args of [
    ["--static", ".", "--", "node", "server.cjs"],
    ["--proxy", "http://127.0.0.1:1", "server.cjs"],
    ["--", "no-such-program", "dark"],
  ]) {
    expect((await second.cli(["start", "-d", ...args])).code).toBe(2);
  }
});
