/** Larger frameworks, APIs, WebSocket servers and programs; see apps.mjs for the format. */
import { JSON_TYPE, STREAMS, WEB_LINES } from "./sources.mjs";

const SOCKET_IO = {
  packages: ["socket.io@4.8.4", "socket.io-client@4.8.4"],
  requests: ["GET /", "GET /socket.io/socket.io.js"],
  // After this time, the connections of the old processes are closed, and the clients reconnect.
  config: { drainTimeoutMs: 1000 },
};

const chat = (options) => `
      const { createServer } = require("http");
      const { Server } = require("socket.io");
      const httpServer = createServer((req, res) => res.end("chat"));
      const io = new Server(httpServer, ${options || "{}"});
      io.on("connection", (socket) => socket.on("message", (text) => socket.emit("message", text)));
      httpServer.listen(process.env.PORT || 3000);`;

export const PROGRAMS = [
  {
    name: "NestJS",
    packages: [
      "@nestjs/core@12.5.1",
      "@nestjs/common@12.5.1",
      "@nestjs/platform-express@12.5.1",
      "reflect-metadata@0.2.2",
      "rxjs@7.8.2",
    ],
    source: `
      require("reflect-metadata");
      const { NestFactory } = require("@nestjs/core");
      const { Module, Controller, Get } = require("@nestjs/common");
      class AppController { hello() { return "Hello World!"; } }
      Controller()(AppController);
      Get()(AppController.prototype, "hello", Object.getOwnPropertyDescriptor(AppController.prototype, "hello"));
      class AppModule {}
      Module({ controllers: [AppController] })(AppModule);
      (async () => {
        const app = await NestFactory.create(AppModule, { logger: ["error"] });
        app.enableShutdownHooks();
        await app.listen(process.env.PORT ?? 3000);
      })();`,
    requests: ["GET /", "GET /nowhere"],
  },
  {
    name: "Apollo Server",
    packages: ["@apollo/server@5.5.1", "graphql@16.15.0"],
    extension: "mjs",
    source: `
      import { ApolloServer } from "@apollo/server";
      import { startStandaloneServer } from "@apollo/server/standalone";
      const server = new ApolloServer({ typeDefs: "type Query { hello: String }", resolvers: { Query: { hello: () => "world" } } });
      await startStandaloneServer(server, { listen: { port: Number(process.env.PORT || 4000) } });`,
    requests: [
      ["POST", "/", JSON_TYPE, '{"query":"{ hello }"}'],
      ["POST", "/", JSON_TYPE, "{"],
    ],
    // Its response to a plain GET is a page for browsers.
    page: "/?query=%7Bhello%7D",
    headers: { "apollo-require-preflight": "1" },
  },
  {
    name: "GraphQL Yoga",
    packages: ["graphql-yoga@5.24.1", "graphql@16.15.0"],
    source: `
      const { createServer } = require("node:http");
      const { createSchema, createYoga } = require("graphql-yoga");
      const schema = createSchema({ typeDefs: "type Query { hello: String }", resolvers: { Query: { hello: () => "world" } } });
      createServer(createYoga({ schema })).listen(process.env.PORT || 4000);`,
    requests: [["POST", "/graphql", JSON_TYPE, '{"query":"{ hello }"}'], "GET /nowhere"],
    page: "/graphql?query=%7Bhello%7D",
  },
  {
    name: "tRPC standalone",
    packages: ["@trpc/server@11.25.2"],
    extension: "mjs",
    source: `
      import { initTRPC } from "@trpc/server";
      import { createHTTPServer } from "@trpc/server/adapters/standalone";
      const t = initTRPC.create();
      const router = t.router({ hello: t.procedure.query(() => "world") });
      createHTTPServer({ router }).listen(process.env.PORT || 3000);`,
    requests: ["GET /hello", "GET /nowhere"],
    page: "/hello",
  },
  {
    name: "h3 1",
    packages: ["h3@1.15.11"],
    extension: "mjs",
    source: `
      import { createServer } from "node:http";
      import { createApp, eventHandler, toNodeListener } from "h3";
      const app = createApp();
      app.use("/", eventHandler(() => "Hello world!"));
      createServer(toNodeListener(app)).listen(process.env.PORT || 3000);`,
    requests: ["GET /"],
  },
  {
    name: "h3 2",
    packages: ["h3@2.0.8"],
    extension: "mjs",
    source: `
      import { H3, serve } from "h3";${WEB_LINES}
      const app = new H3()
        .get("/", () => "Hello h3!")
        .get("/stream", () => lines())
        .post("/upload", async (event) => String((await event.req.arrayBuffer()).byteLength));
      serve(app, { port: process.env.PORT || 3000 });`,
    requests: ["GET /", "GET /nowhere"],
    ...STREAMS,
  },
  {
    name: "Polka",
    packages: ["polka@0.5.2"],
    source: `
      require("polka")()
        .get("/users/:id", (req, res) => res.end("User: " + req.params.id))
        .get("/", (req, res) => res.end("polka"))
        .listen(process.env.PORT || 3000, () => console.log("> Running"));`,
    requests: ["GET /", "GET /users/7", "GET /nowhere"],
  },
  {
    name: "Connect",
    packages: ["connect@3.7.0", "serve-static@2.2.1", "finalhandler@2.1.1"],
    source: `
      const connect = require("connect");
      const app = connect();
      app.use(require("serve-static")(__dirname));
      app.use("/", (req, res) => res.end("Hello from Connect!\\n"));
      require("http").createServer(app).listen(process.env.PORT || 3000);`,
    requests: ["GET /", "GET /package.json"],
  },
  {
    name: "Restify",
    packages: ["restify@11.1.0"],
    // It needs an internal module of Node that Bun does not have.
    runtime: "node",
    setting: "`--runtime node`",
    source: `
      const server = require("restify").createServer();
      server.get("/hello/:name", (req, res, next) => { res.send("hello " + req.params.name); next(); });
      server.listen(process.env.PORT || 8080);`,
    requests: ["GET /hello/mark", "GET /nowhere"],
    page: "/hello/mark",
  },
  {
    name: "Socket.IO",
    ...SOCKET_IO,
    source: chat(""),
    socketIo: { withCredentials: true },
    config: { ...SOCKET_IO.config, sticky: "cookie" },
    setting: '`sticky: "cookie"`',
  },
  {
    name: "Socket.IO, WebSocket alone",
    ...SOCKET_IO,
    source: chat('{ transports: ["websocket"] }'),
    socketIo: { transports: ["websocket"] },
    setting: '`transports: ["websocket"]` at both ends',
  },
  {
    name: "ws",
    packages: ["ws@8.23.0"],
    source: `
      const { createServer } = require("http");
      const { WebSocketServer } = require("ws");
      const server = createServer((req, res) => res.end("ws"));
      new WebSocketServer({ server }).on("connection", (ws) => ws.on("message", (data) => ws.send(String(data))));
      server.listen(process.env.PORT || 8080);`,
    requests: ["GET /"],
    websocket: "/",
  },
  {
    name: "json-server 0.17",
    packages: ["json-server@0.17.4"],
    source: `
      const jsonServer = require("json-server");
      const server = jsonServer.create();
      server.use(jsonServer.defaults({ logger: false }));
      server.use(jsonServer.router({ posts: [{ id: 1, title: "a title" }] }));
      server.listen(process.env.PORT || 3000, () => console.log("JSON Server is running"));`,
    requests: ["GET /posts", "GET /posts/1", "GET /posts/9"],
    page: "/posts",
  },
  {
    name: "http-server",
    packages: ["http-server@14.1.1"],
    source: `
      require("http-server").createServer({ root: __dirname }).listen(process.env.PORT || 8080);`,
    requests: ["GET /package.json", "GET /nowhere"],
    page: "/package.json",
  },
];
