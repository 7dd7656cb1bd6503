/** The clients of the data path's chaos test: their requests follow from the seed, and every request ends with one recorded outcome. */
import http from "node:http";
import { WebSocket } from "ws";
import { wait } from "../support.mjs";
import { patternOf } from "./pattern.mjs";

/** Longer than every deadline of the balancer that applies here: a request that takes longer has been forgotten. */
const PATIENCE_MS = 45_000;
const PAUSE_MS = 8;
const AFTER_FAILURE_MS = 60;
const UPLOAD_PIECE = 32_768;

/** How many clients of each kind each pool has. */
const KINDS = {
  quick: 4,
  closing: 2,
  post: 2,
  upload: 2,
  slowReader: 2,
  aborting: 2,
  webSocket: 3,
};

/** A name without digits: segments with a digit are similar to each other, and similar requests may crash two processes at most. */
export const inLetters = (number) => [...String(number)].map((digit) => "abcdefghij"[digit]).join("");

const between = (random, least, most) => Math.floor(least + random() * (most - least));
const oneOf = (random, values) => values[Math.floor(random() * values.length)];

/** The next request of a client of each kind. */
const PLANS = {
  quick: (random) =>
    oneOf(random, [
      { what: "small" },
      { what: "wait", ms: between(random, 1, 40) },
      { what: "burn", ms: between(random, 1, 9) },
    ]),
  closing: (random) => PLANS.quick(random),
  post: (random) => ({
    what: "post",
    method: "POST",
    ms: between(random, 0, 20),
    uploadBytes: between(random, 0, 2000),
  }),
  upload: (random) => ({
    what: "upload",
    method: oneOf(random, ["POST", "PUT"]),
    uploadBytes: oneOf(random, [between(random, 1, 60_000), between(random, 60_000, 2_000_000)]),
    pieceMs: oneOf(random, [0, 0, 3]),
    isChunked: random() < 0.5,
  }),
  slowReader: (random) => ({
    what: "big",
    bytes: between(random, 100_000, 6_000_000),
    pieceMs: oneOf(random, [0, 5, 30]),
  }),
  aborting: (random) => ({
    ...oneOf(random, [PLANS.quick, PLANS.slowReader, PLANS.upload, PLANS.post])(random),
    abortMs: oneOf(random, [0, between(random, 0, 10), between(random, 0, 300)]),
  }),
  webSocket: (random) => ({ what: "socket", messages: between(random, 1, 60), everyMs: between(random, 5, 100) }),
};

/**
 * Starts all clients.
 * @param randomOf returns the random number generator for a client, by its number
 */
export function startClients({ port, pools, randomOf, books }) {
  let isOver = false;
  const kinds = pools.flatMap((pool) =>
    Object.entries(KINDS).flatMap(([kind, count]) =>
      pool === "node" && kind === "webSocket" ? [] : Array.from({ length: count }, () => ({ pool, kind })),
    ),
  );
  async function client({ pool, kind }, number) {
    const random = randomOf(number + 1);
    const agent = new http.Agent({ keepAlive: kind !== "closing", maxSockets: 1 });
    while (!isOver) {
      const request = books.begin({ pool, kind, method: "GET", ...PLANS[kind](random) });
      const outcome = await (kind === "webSocket" ? converse(port, request, () => isOver) : ask(port, agent, request));
      books.end(request, outcome);
      await wait(outcome === "ok" ? PAUSE_MS : AFTER_FAILURE_MS);
    }
    agent.destroy();
  }
  const running = kinds.map(client);
  return {
    /** Sends one request, for an action. */
    async ask(request) {
      const begun = books.begin({ kind: "action", method: "GET", ...request });
      books.end(begun, await ask(port, new http.Agent(), begun));
    },
    async end() {
      isOver = true;
      await Promise.all(running);
    },
  };
}

function deferred() {
  let resolve;
  const promise = new Promise((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

const pathOf = ({ pool, what, name, ms, bytes }) =>
  `${pool === "node" ? "/node" : ""}/${what}/${name}?ms=${ms ?? 0}&bytes=${bytes ?? 0}`;

/**
 * Resolves with the outcome of a request: "ok", "aborted" by this client, the status, "lost" without a byte of a response, "cut" during the
 * response, "refused", "late", or what is wrong with the response.
 */
function ask(port, agent, request) {
  const { id, method, what, bytes = 0, uploadBytes, isChunked, pieceMs = 0, abortMs } = request;
  const { promise, resolve } = deferred();
  const hasLength = uploadBytes !== undefined && !isChunked;
  const headers = { "x-request-id": id, ...(hasLength && { "content-length": uploadBytes }) };
  const sent = http.request({ port, host: "127.0.0.1", path: pathOf(request), method, agent, headers });
  const timers = [
    setTimeout(() => end("late"), PATIENCE_MS),
    ...(abortMs === undefined ? [] : [setTimeout(() => end("aborted"), abortMs)]),
  ];
  function end(outcome) {
    for (const timer of timers) clearTimeout(timer);
    resolve(outcome);
    // A connection with an unfinished request is of no further use.
    if ((outcome !== "ok" && !/^\d+$/.test(outcome)) || !sent.writableFinished) sent.destroy();
  }
  sent.on("socket", (socket) => {
    socket.openedAt ??= Date.now();
    request.connectedAt = socket.openedAt;
    request.isReused = sent.reusedSocket;
  });
  sent.on("error", ({ code }) =>
    end(code === "ECONNREFUSED" ? "refused" : request.respondedAt === undefined ? "lost" : "cut"),
  );
  sent.on("response", (response) => {
    request.respondedAt = Date.now();
    const { statusCode } = response;
    let got = 0;
    let text = "";
    response.on("data", (piece) => {
      if (statusCode !== 200) return;
      if (what !== "big") text += piece.toString("latin1");
      else if (patternOf(got, got + piece.length).compare(piece) !== 0) end(`other bytes after ${got}`);
      got += piece.length;
      if (pieceMs === 0) return;
      response.pause();
      setTimeout(() => response.resume(), pieceMs);
    });
    response.on("error", () => end("cut"));
    response.on("end", () => {
      const expected = what === "upload" ? `${id} ${uploadBytes}\n` : `${id}\n`;
      if (!response.complete) end("cut");
      else if (statusCode !== 200) end(String(statusCode));
      else if (what === "big" ? got === bytes : text === expected) end("ok");
      else end(`another response: ${what === "big" ? `${got} of ${bytes} bytes` : JSON.stringify(text.slice(0, 60))}`);
    });
  });
  if (uploadBytes === undefined) sent.end();
  else void upload(sent, uploadBytes, pieceMs);
  return promise;
}

async function upload(sent, bytes, pieceMs) {
  for (let at = 0; at < bytes && !sent.destroyed; at += UPLOAD_PIECE) {
    sent.write(patternOf(at, Math.min(bytes, at + UPLOAD_PIECE)));
    if (pieceMs > 0) await wait(pieceMs);
    while (sent.writableNeedDrain && !sent.destroyed) await wait(2);
  }
  if (!sent.destroyed) sent.end();
}

/** Sends words to a WebSocket and expects each of them back. Resolves like `ask`, or with `closed` and the code of the close frame. */
function converse(port, request, isOver) {
  const { promise, resolve } = deferred();
  const { id, messages, everyMs } = request;
  const options = { headers: { "x-request-id": id }, perMessageDeflate: false };
  const socket = new WebSocket(`ws://127.0.0.1:${port}${pathOf(request)}`, options);
  const timer = setTimeout(() => end("late"), PATIENCE_MS);
  let said = 0;
  let isRight = true;
  let isClosing = false;
  function end(outcome) {
    clearTimeout(timer);
    resolve(outcome);
    socket.terminate();
  }
  function say() {
    if (socket.readyState !== WebSocket.OPEN) return;
    if (said === messages || isOver()) {
      isClosing = true;
      return socket.close(1000);
    }
    socket.send(`${id}:${++said}`);
  }
  socket.on("open", () => {
    request.respondedAt = Date.now();
    say();
  });
  socket.on("message", (bytes) => {
    isRight &&= `${bytes}` === `${id}:${said}`;
    setTimeout(say, everyMs);
  });
  socket.on("unexpected-response", (_, response) => end(String(response.statusCode)));
  socket.on("error", ({ code }) => {
    if (request.respondedAt === undefined) end(code === "ECONNREFUSED" ? "refused" : "lost");
  });
  socket.on("close", (code) => {
    if (!isRight) end("another message");
    else if (isClosing && code === 1000) end("ok");
    else end(code === 1006 ? "cut" : `closed ${code}`);
  });
  return promise;
}
