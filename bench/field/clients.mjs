/** The clients of `npm run field`: they record an app's responses for comparison, and run loads during an action. */
import { createHash } from "node:crypto";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { WebSocket } from "ws";

const TIMEOUT_MS = 20_000;
/** Fields that differ between responses, or that a proxy may set. */
const IGNORED = /^(?:date|connection|keep-alive|transfer-encoding|content-length|x-request-id|x-ratelimit-.*)$/;
/** Files that a page refers to, on the same host. */
const LINK = /\b(?:src|href)="(\/[^"/][^"]*)"/g;
const MAX_LINKS = 4;
const UPLOAD = Array.from({ length: 8 }, () => "0123456789abcdef".repeat(16 << 10));
const SOCKET_IO_CLIENTS = 10;
/** The clients of a load. */
export const CLIENTS = 4;

/** @param body text, or a list of parts that are sent in chunks. */
function ask(port, method, target, headers = {}, body = undefined) {
  return new Promise((resolve, reject) => {
    const request = http.request({
      host: "127.0.0.1",
      port,
      method,
      path: target,
      headers,
      agent: false,
      timeout: TIMEOUT_MS,
    });
    request.on("timeout", () => request.destroy(new Error("no response in time")));
    request.on("error", reject);
    request.on("response", (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts), parts }),
      );
    });
    if (!Array.isArray(body)) return request.end(body);
    for (const part of body) request.write(part);
    request.end();
  });
}

/** Returns the responses to an app's requests, as texts to compare. */
export async function outcomes(port, app) {
  const { requests, page = "/", headers = {}, upload, stream } = app;
  const seen = {};
  const fields = { ...headers, host: "app.example" };
  const record = async (name, asked, describe) => {
    seen[name] = await asked.then(describe, (error) => error.message);
  };
  for (const each of requests) {
    const [method, target, type, body] = Array.isArray(each) ? each : each.split(" ");
    const typed = type === undefined ? fields : { ...fields, "content-type": type };
    await record(`${method} ${target}`, ask(port, method, target, typed, body), describe);
  }
  const html = await ask(port, "GET", page, { ...fields, accept: "text/html" }).catch(() => undefined);
  const links = [...new Set([...`${html?.body}`.matchAll(LINK)].map(([, link]) => link))];
  for (const link of links.slice(0, MAX_LINKS)) await record(`GET ${link}`, ask(port, "GET", link, fields), describe);
  if (upload !== undefined) {
    const typed = { ...fields, "content-type": "application/octet-stream" };
    await record(`POST ${upload}, in chunks`, ask(port, "POST", upload, typed, UPLOAD), describe);
  }
  if (stream !== undefined) {
    const inParts = (response) => `${describe(response)}, ${response.parts.length > 1 ? "in parts" : "at once"}`;
    await record(`GET ${stream}`, ask(port, "GET", stream, fields), inParts);
  }
  if (app.websocket !== undefined) seen["a WebSocket's echo"] = await echo(port, app.websocket);
  return seen;
}

function describe({ status, headers, body }) {
  const fields = Object.entries(headers).filter(([name, value]) => !IGNORED.test(name) && !isOfSticky(name, value));
  const hash = createHash("sha256").update(JSON.stringify(fields)).update(body).digest("hex").slice(0, 12);
  return `${status} ${body.length} bytes ${hash} ${fields.map(([name]) => name).join(",")}`;
}

/** The cookie that the balancer adds for a new sticky client. */
function isOfSticky(name, value) {
  return (name === "set-cookie" && /^paceline_/.test(value[0])) || (name === "cache-control" && value === "private");
}

function echo(port, target) {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${target}`);
    const end = (outcome) => {
      clearTimeout(timer);
      socket.terminate();
      resolve(outcome);
    };
    const timer = setTimeout(() => end("no echo"), TIMEOUT_MS);
    socket.on("open", () => socket.send("hello"));
    socket.on("message", (data) => end(`${data}`));
    socket.on("error", ({ message }) => end(message));
  });
}

/** Clients of Socket.IO that use an echo; `problems` of an exchange is empty if all have got their messages back. */
export class SocketIoClients {
  /** @param folder where socket.io-client is installed */
  constructor(port, folder, options) {
    const { io } = createRequire(path.join(folder, "package.json"))("socket.io-client");
    const make = () => io(`http://127.0.0.1:${port}`, { forceNew: true, reconnectionDelay: 50, ...options });
    this.sockets = Array.from({ length: SOCKET_IO_CLIENTS }, make);
  }

  async problems(when) {
    const each = this.sockets.map(
      (socket, number) =>
        new Promise((resolve) => {
          const timer = setTimeout(() => resolve(false), TIMEOUT_MS);
          socket.on("message", (text) => {
            if (text !== `${when} ${number}`) return;
            clearTimeout(timer);
            resolve(true);
          });
          // A message is queued until the client is connected.
          socket.emit("message", `${when} ${number}`);
        }),
    );
    const echoed = (await Promise.all(each)).filter(Boolean).length;
    return echoed === SOCKET_IO_CLIENTS ? [] : [`${echoed} of ${SOCKET_IO_CLIENTS} Socket.IO clients echo ${when}`];
  }

  close() {
    for (const socket of this.sockets) socket.close();
  }
}

/** Sends requests one after another from a few clients during `action`, with a pause after each. */
export async function loadWhile(port, page, { headers, pauseMs }, action) {
  const counts = { ok: 0, failed: [] };
  let isOver = false;
  const client = async () => {
    while (!isOver) {
      const outcome = await ask(port, "GET", page, headers).then(
        ({ status }) => (status < 400 ? "ok" : `status ${status}`),
        (error) => error.message,
      );
      if (outcome === "ok") counts.ok++;
      else counts.failed.push(outcome);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };
  const clients = Array.from({ length: CLIENTS }, client);
  try {
    return { ...counts, result: await action(counts), counts };
  } finally {
    isOver = true;
    await Promise.all(clients);
  }
}
