// Koa 3 with a stream, server-sent events, an upload and a WebSocket. An app without WebSockets can be exported directly.
import { createServer } from "node:http";
import { PassThrough, Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import multer from "@koa/multer";
import Koa from "koa";
import { WebSocketServer } from "ws";

async function* words() {
  for (const word of ["one", "two", "three"]) {
    yield `${word}\n`;
    await pause(100);
  }
}

function events() {
  const body = new PassThrough();
  const timer = setInterval(() => body.write(`data: ${new Date().toISOString()}\n\n`), 200);
  body.on("close", () => clearInterval(timer));
  return body;
}

const upload = multer({ limits: { fileSize: 10 << 20 } }).single("file");

const app = new Koa();
app.use(async (ctx) => {
  switch (`${ctx.method} ${ctx.path}`) {
    case "GET /":
      ctx.body = `Hello from Koa in ${process.env.PACELINE_INSTANCE ?? "a process of its own"}\n`;
      return;
    case "GET /stream":
      ctx.type = "text";
      ctx.body = Readable.from(words());
      return;
    case "GET /events":
      ctx.set("cache-control", "no-cache");
      ctx.type = "text/event-stream";
      ctx.body = events();
      return;
    case "POST /upload":
      await upload(ctx, async () => {
        if (ctx.file === undefined) ctx.throw(400, "send a form with a file");
        ctx.body = { name: ctx.file.originalname, bytes: ctx.file.size };
      });
  }
});

const server = createServer(app.callback());
new WebSocketServer({ server, path: "/echo" }).on("connection", (socket) => {
  socket.on("message", (message, isBinary) => socket.send(message, { binary: isBinary }));
});

export default server;
