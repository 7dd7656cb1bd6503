/** The clients of the chaos soak: some keep their connection, some open one for each request, one sends POST requests. */
import http from "node:http";
import { wait } from "../support.mjs";

const KEEPING = 4;
const CLOSING = 3;
const RESPONSE_TIMEOUT_MS = 30_000;
const PAUSE_MS = 5;
const AFTER_FAILURE_MS = 50;

/** Returns the number in letters: segments with a digit count as similar, and similar requests may crash at most two processes. */
function inLetters(number) {
  const letter = String.fromCharCode(97 + (number % 26));
  return number < 26 ? letter : inLetters(Math.floor(number / 26) - 1) + letter;
}

export function startClients(port, pools) {
  const lost = [];
  /** The bodies of POST requests with a response. */
  const acknowledged = new Set();
  let requests = 0;
  let isOver = false;
  const served = new Map();

  /** Resolves with undefined, or with what happened instead of a complete response. `onConnected` is called after the handshake. */
  function ask(agent, target, { pool, method = "GET", body, onConnected = () => {} }) {
    const startedAt = Date.now();
    let connectedAt = startedAt;
    requests++;
    return new Promise((resolve) => {
      const fail = (kind) => resolve({ kind, pool, method, connectedAt, startedAt, endedAt: Date.now() });
      const options = { port, host: "127.0.0.1", path: target, agent, method };
      const request = http.request(options, (response) => {
        let text = "";
        response.setEncoding("latin1").on("data", (piece) => {
          text += piece;
        });
        response.on("error", () => fail("lost"));
        response.on("end", () => {
          if (response.statusCode !== 200) fail(response.statusCode);
          else if (text !== `you asked for ${target}\n`) fail(`a wrong body: ${text.slice(0, 80)}`);
          else resolve(undefined);
        });
      });
      request.on("socket", (socket) => {
        socket.openedAt ??= startedAt;
        connectedAt = socket.openedAt;
        if (socket.connecting) socket.once("connect", onConnected);
        else onConnected();
      });
      request.setTimeout(RESPONSE_TIMEOUT_MS, () => {
        fail("timeout");
        request.destroy();
      });
      request.on("error", ({ code }) => {
        onConnected();
        fail(code === "ECONNREFUSED" ? "refused" : "lost");
      });
      request.end(body);
    });
  }

  async function client(number, { pool, prefix = "", keepAlive = true, posts = false }) {
    const agent = keepAlive ? new http.Agent({ keepAlive, maxSockets: 1 }) : new http.Agent();
    for (let n = 0; !isOver; n++) {
      // Each request has a separate path, so that none is mistaken for one that has killed a process before.
      const target = `${prefix}/${inLetters(number)}/${inLetters(n)}${n % 5 === 0 ? "?slow" : ""}`;
      const body = posts ? `post ${n}` : undefined;
      const failure = await ask(agent, target, { pool, ...(posts && { method: "POST", body }) });
      if (failure === undefined) {
        served.set(number, Date.now());
        if (posts) acknowledged.add(body);
      } else lost.push(failure);
      await wait(failure === undefined ? PAUSE_MS : AFTER_FAILURE_MS);
    }
    agent.destroy();
  }

  const kinds = [
    ...Array.from({ length: KEEPING }, () => ({ pool: "web" })),
    ...Array.from({ length: CLOSING }, () => ({ pool: "web", keepAlive: false })),
    { pool: "web", posts: true },
    ...(pools.api === undefined ? [] : [{ pool: "api", prefix: "/api" }]),
    ...(pools.py === undefined ? [] : [{ pool: "py", prefix: "/py", keepAlive: false }]),
  ];
  const running = kinds.map((kind, number) => client(number, kind));
  return {
    /** Opens new connections with one request each. Resolves when they are connected, with a promise for the responses. */
    async connect(count, group) {
      const responses = [];
      const connected = Array.from({ length: count }, (_, n) => {
        const target = `/waiting/${inLetters(requests + n)}`;
        return new Promise((onConnected) => {
          const agent = new http.Agent();
          responses.push(ask(agent, target, { pool: "web", onConnected }));
        });
      });
      await Promise.all(connected);
      const done = Promise.all(responses).then((failures) => {
        for (const failure of failures) if (failure !== undefined) lost.push({ ...failure, group });
      });
      return { done };
    },
    /** Waits until each client has had another response. */
    async haveAllServed(withinMs) {
      const since = Date.now();
      while (running.some((_, number) => (served.get(number) ?? 0) < since)) {
        if (Date.now() - since > withinMs) throw new Error("a client gets no response after all is ready");
        await wait(20);
      }
    },
    async end() {
      isOver = true;
      await Promise.all(running);
      return { lost, requests, acknowledged };
    },
  };
}
