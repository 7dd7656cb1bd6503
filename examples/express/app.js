// Express 5 as in its documentation, with a stream, server-sent events, an upload and a WebSocket.
import { createServer } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import express from "express";
import multer from "multer";
import { WebSocketServer } from "ws";

const app = express();

app.get("/", (_req, res) => {
  res.type("text").send(`Hello from Express in ${process.env.PACELINE_INSTANCE ?? "a process of its own"}\n`);
});

app.get("/stream", async (_req, res) => {
  res.type("text");
  for (const word of ["one", "two", "three"]) {
    res.write(`${word}\n`);
    await pause(100);
  }
  res.end();
});

app.get("/events", (_req, res) => {
  res.set({ "content-type": "text/event-stream", "cache-control": "no-cache" });
  const timer = setInterval(() => res.write(`data: ${new Date().toISOString()}\n\n`), 200);
  res.on("close", () => clearInterval(timer));
});

const upload = multer({ limits: { fileSize: 10 << 20 } });
app.post("/upload", upload.single("file"), ({ file }, res) => {
  if (file === undefined) res.status(400).type("text").send("send a form with a file\n");
  else res.json({ name: file.originalname, bytes: file.size });
});

// A WebSocket is handled by the server and not by the app, so the server is exported. Paceline does the listening.
const server = createServer(app);
new WebSocketServer({ server, path: "/echo" }).on("connection", (socket) => {
  socket.on("message", (message, isBinary) => socket.send(message, { binary: isBinary }));
});

export default server;
