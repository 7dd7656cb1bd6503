// Fastify 5 with a stream, server-sent events, an upload and a WebSocket. Its app is exported, and never listens itself.
import { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import multipart from "@fastify/multipart";
import websocket from "@fastify/websocket";
import Fastify from "fastify";

const app = Fastify();
await app.register(multipart, { limits: { fileSize: 10 << 20 } });
await app.register(websocket);

async function* words() {
  for (const word of ["one", "two", "three"]) {
    yield `${word}\n`;
    await pause(100);
  }
}

async function* events() {
  while (true) {
    yield `data: ${new Date().toISOString()}\n\n`;
    await pause(200);
  }
}

app.get("/", async () => `Hello from Fastify in ${process.env.PACELINE_INSTANCE ?? "a process of its own"}\n`);

app.get("/stream", (_request, reply) => reply.type("text/plain").send(Readable.from(words())));

app.get("/events", (_request, reply) =>
  reply.type("text/event-stream").header("cache-control", "no-cache").send(Readable.from(events())),
);

app.post("/upload", async (request, reply) => {
  const file = await request.file();
  if (file === undefined) return reply.code(400).send("send a form with a file\n");
  let bytes = 0;
  for await (const piece of file.file) bytes += piece.length;
  return { name: file.filename, bytes };
});

app.get("/echo", { websocket: true }, (socket) => {
  socket.on("message", (message, isBinary) => socket.send(message, { binary: isBinary }));
});

export default app;
