// Hono 4 with a stream, server-sent events, an upload and a WebSocket. `c.env` has Paceline's facts about a request.

import { Hono } from "hono";
import { streamSSE, streamText } from "hono/streaming";
import type { RequestInfo } from "paceline/server";
import { acceptWebSocket } from "paceline/websocket";

const app = new Hono<{ Bindings: RequestInfo }>();

app.get("/", (c) => c.text(`Hello from Hono to ${c.env.clientAddress}, request ${c.env.requestId}\n`));

app.get("/stream", (c) =>
  streamText(c, async (stream) => {
    for (const word of ["one", "two", "three"]) {
      await stream.writeln(word);
      await stream.sleep(100);
    }
  }),
);

app.get("/events", (c) =>
  streamSSE(c, async (stream) => {
    while (!stream.aborted) {
      await stream.writeSSE({ data: new Date().toISOString() });
      await stream.sleep(200);
    }
  }),
);

app.post("/upload", async (c) => {
  const { file } = await c.req.parseBody();
  if (!(file instanceof File)) return c.text("send a form with a file\n", 400);
  return c.json({ name: file.name, bytes: file.size });
});

app.get("/echo", (c) => {
  const socket = acceptWebSocket(c.req.raw, c.env);
  if (socket === undefined) return c.text("this is a WebSocket\n", 426);
  void (async () => {
    for await (const message of socket) await socket.send(message);
  })();
  return socket.response;
});

export default app;
