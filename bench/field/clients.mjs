/** The clients of `npm run field`: record an app's responses for comparison, and run loads during an action. */
import { createHash } from "node:crypto";
import http from "node:http";
import { WebSocket } from "ws";

const TIMEOUT_MS = 10_000;
/** Fields that differ between responses, or that a proxy may set. */
const IGNORED = new Set(["date", "connection", "keep-alive", "transfer-encoding", "content-length", "x-request-id"]);

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
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }),
      );
    });
    request.end(body);
  });
}

/** Returns the responses to an app's requests, as a text to compare. */
export async function outcomes(port, { requests, headers = {} }) {
  const seen = {};
  for (const each of requests) {
    const [method, target, type, body] = Array.isArray(each) ? each : each.split(" ");
    const fields = { ...headers, host: "app.example", ...(type === undefined ? {} : { "content-type": type }) };
    const outcome = await ask(port, method, target, fields, body).then(describe, (error) => error.message);
    seen[`${method} ${target}`] = outcome;
  }
  return seen;
}

function describe({ status, headers, body }) {
  const fields = Object.entries(headers).filter(([name]) => !IGNORED.has(name));
  const hash = createHash("sha256").update(JSON.stringify(fields)).update(body).digest("hex").slice(0, 12);
  return `${status} ${body.length} bytes ${hash} ${fields.map(([name]) => name).join(",")}`;
}

/** Returns the problem of a WebSocket's echo; empty if there is none. */
export function echoes(port, target) {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${target}`);
    const end = (problems) => {
      clearTimeout(timer);
      socket.terminate();
      resolve(problems);
    };
    const timer = setTimeout(() => end(["WebSocket: no echo"]), TIMEOUT_MS);
    socket.on("open", () => socket.send("hello"));
    socket.on("message", (data) => end(String(data) === "hello" ? [] : [`WebSocket: ${data}`]));
    socket.on("error", ({ message }) => end([`WebSocket: ${message}`]));
  });
}

/** Sends requests one after another from a few clients during `action`. */
export async function loadWhile(port, page, headers, action) {
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
    }
  };
  const clients = Array.from({ length: 4 }, client);
  const result = await action();
  isOver = true;
  await Promise.all(clients);
  return { ...counts, result };
}
