/** The clients of the chaos soak: some keep their connection, some open one for each request. */
import http from "node:http";
import { wait } from "../support.mjs";

const KEEPING = 4;
const CLOSING = 3;
const RESPONSE_TIMEOUT_MS = 30_000;
const PAUSE_MS = 5;
const AFTER_FAILURE_MS = 50;

export function startClients(port) {
  const lost = [];
  let requests = 0;
  let isOver = false;
  let last = Date.now();
  const served = new Map();

  /** Resolves with undefined, or with what happened instead of a whole response. */
  function ask(agent, target) {
    const startedAt = Date.now();
    let connectedAt = startedAt;
    return new Promise((resolve) => {
      const fail = (kind) => resolve({ kind, connectedAt, startedAt, endedAt: Date.now() });
      const request = http.get({ port, host: "127.0.0.1", path: target, agent }, (response) => {
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
      });
      request.setTimeout(RESPONSE_TIMEOUT_MS, () => {
        fail("timeout");
        request.destroy();
      });
      request.on("error", ({ code }) => fail(code === "ECONNREFUSED" ? "refused" : "lost"));
    });
  }

  async function client(number, keepAlive) {
    const agent = keepAlive ? new http.Agent({ keepAlive, maxSockets: 1 }) : new http.Agent();
    for (let n = 0; !isOver; n++) {
      // A path of its own, so that no request passes for one that has killed a process before.
      const failure = await ask(agent, `/${number}/${n}${n % 5 === 0 ? "?slow" : ""}`);
      requests++;
      if (failure === undefined) {
        last = Date.now();
        served.set(number, last);
      } else lost.push(failure);
      await wait(failure === undefined ? PAUSE_MS : AFTER_FAILURE_MS);
    }
    agent.destroy();
  }

  const running = Array.from({ length: KEEPING + CLOSING }, (_, number) => client(number, number < KEEPING));
  return {
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
      return { lost, requests };
    },
  };
}
