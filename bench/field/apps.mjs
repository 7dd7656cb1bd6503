/**
 * Common web frameworks, each as in its own documentation: `source` runs with `node` or `bun`, unchanged, alone and behind Paceline.
 * Requests to compare are "METHOD path [type body]"; `websocket` is a path that echoes.
 */

import { JSON_TYPE, LINES, STREAMS, WEB_LINES } from "./sources.mjs";

export const APPS = [
  {
    name: "node:http",
    packages: [],
    source: `
      const { createServer } = require("node:http");${LINES}
      createServer((req, res) => {
        if (req.url === "/stream") return lines(res);
        if (req.method === "POST") return req.pipe(res);
        res.setHeader("Content-Type", "text/plain");
        for (let n = 0; n < 5; n++) res.write("line " + n + "\\n");
        res.end("Hello World\\n");
      }).listen(process.env.PORT || 3000, () => console.log("Server running"));`,
    requests: ["GET /", "HEAD /", ["POST", "/upload", "application/octet-stream", "x".repeat(2_000_000)]],
    ...STREAMS,
  },
  ...["4.22.3", "5.3.0"].map((version) => ({
    name: `Express ${version[0]}`,
    packages: [`express@${version}`],
    source: `
      const express = require("express");${LINES}
      const app = express();
      app.use(express.json());
      app.get("/stream", (req, res) => lines(res));
      app.post("/upload", async (req, res) => res.send(await count(req)));
      app.get("/", (req, res) => res.send("Hello World!"));
      app.post("/echo", (req, res) => res.json(req.body));
      app.use("/files", express.static(__dirname));
      app.get("/error", () => { throw new Error("no"); });
      app.listen(process.env.PORT || 3000, () => console.log("Example app listening"));`,
    requests: [
      "GET /",
      "GET /files/package.json",
      "GET /nowhere",
      "GET /error",
      ["POST", "/echo", JSON_TYPE, '{"a":1}'],
    ],
    ...STREAMS,
  })),
  {
    name: "Koa",
    packages: ["koa@3.3.0"],
    source: `
      const Koa = require("koa");
${LINES}
      const app = new Koa();
      app.use(async (ctx) => {
        if (ctx.path === "/upload") ctx.body = await count(ctx.req);
        else if (ctx.path === "/stream") {
          ctx.respond = false;
          await lines(ctx.res);
        } else ctx.body = "Hello World";
      });
      app.listen(process.env.PORT || 3000);`,
    requests: ["GET /", "HEAD /"],
    ...STREAMS,
  },
  {
    name: "Fastify",
    packages: ["fastify@5.12.8", "@fastify/websocket@11.3.7"],
    source: `
      const fastify = require("fastify")();
${LINES}
      fastify.register(require("@fastify/websocket"));
      fastify.get("/", async () => ({ hello: "world" }));
      fastify.post("/echo", async (request) => request.body);
      fastify.get("/stream", (request, reply) => { reply.hijack(); reply.raw.statusCode = 200; return lines(reply.raw); });
      fastify.addContentTypeParser("application/octet-stream", (request, payload, done) => done(null, payload));
      fastify.post("/upload", async (request) => count(request.body));
      fastify.register(async (app) => app.get("/ws", { websocket: true }, (socket) => socket.on("message", (m) => socket.send(String(m)))));
      fastify.listen({ port: process.env.PORT || 3000 }).catch((error) => { console.error(error); process.exit(1); });`,
    requests: ["GET /", "GET /nowhere", ["POST", "/echo", JSON_TYPE, '{"a":1}']],
    websocket: "/ws",
    ...STREAMS,
  },
  {
    name: "Hono on node-server",
    packages: ["hono@4.13.19", "@hono/node-server@2.1.9"],
    source: `
      const { serve } = require("@hono/node-server");
      const { Hono } = require("hono");
      const app = new Hono();
${WEB_LINES}
      app.get("/", (c) => c.text("Hello Node.js!"));
      app.get("/stream", () => new Response(lines()));
      app.post("/upload", async (c) => c.text(String((await c.req.arrayBuffer()).byteLength)));
      app.post("/echo", async (c) => c.json(await c.req.json()));
      serve({ fetch: app.fetch, port: Number(process.env.PORT || 3000) });`,
    requests: ["GET /", "GET /nowhere", ["POST", "/echo", JSON_TYPE, '{"a":1}']],
    ...STREAMS,
  },
  {
    name: "Hono on Bun",
    packages: ["hono@4.13.19"],
    runtime: "bun",
    needsBun: true,
    extension: "mjs",
    source: `
      import { Hono } from "hono";
      import { upgradeWebSocket, websocket } from "hono/bun";
      const app = new Hono();
${WEB_LINES}
      app.get("/", (c) => c.text("Hello Bun!"));
      app.get("/stream", () => new Response(lines()));
      app.post("/upload", async (c) => c.text(String((await c.req.arrayBuffer()).byteLength)));
      app.get("/ws", upgradeWebSocket(() => ({ onMessage(event, ws) { ws.send(String(event.data)); } })));
      export default { port: process.env.PORT || 3000, fetch: app.fetch, websocket };`,
    requests: ["GET /", "GET /nowhere"],
    websocket: "/ws",
    ...STREAMS,
  },
  {
    name: "Elysia",
    packages: ["elysia@1.4.30"],
    runtime: "bun",
    needsBun: true,
    extension: "mjs",
    source: `
      import { Elysia } from "elysia";${WEB_LINES}
      new Elysia()
        .get("/stream", () => new Response(lines()))
        .post("/upload", ({ body }) => String(body.byteLength))
        .get("/", () => "Hello Elysia")
        .post("/echo", ({ body }) => body)
        .ws("/ws", { message(ws, message) { ws.send(message); } })
        .listen(process.env.PORT || 3000);`,
    requests: ["GET /", "GET /nowhere", ["POST", "/echo", JSON_TYPE, '{"a":1}']],
    websocket: "/ws",
    ...STREAMS,
  },
  {
    name: "Bun.serve",
    packages: [],
    runtime: "bun",
    needsBun: true,
    extension: "mjs",
    source: `
${WEB_LINES}
      Bun.serve({
        port: process.env.PORT || 3000,
        routes: {
          "/stream": () => new Response(lines()),
          "/upload": async (req) => new Response(String((await req.arrayBuffer()).byteLength)),
          "/": new Response("Bun!"), "/users/:id": (req) => new Response("Hello " + req.params.id),
        },
        fetch: (req, server) => (server.upgrade(req) ? undefined : new Response("Not Found", { status: 404 })),
        websocket: { message(ws, message) { ws.send(message); } },
      });`,
    requests: ["GET /", "GET /users/7", "GET /nowhere"],
    // Bun itself serves "/", so those requests are not counted.
    page: "/users/7",
    websocket: "/ws",
    ...STREAMS,
  },
];
