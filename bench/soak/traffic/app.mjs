/**
 * The app of the data path's chaos test: a fetch app, or with TRAFFIC_STYLE=node a Node handler. A path is `/what/name?ms=…&bytes=…`; each
 * response repeats the request's id. A POST is written to two ledgers: when its handler is called, and when it is done.
 */
import { openSync, writeSync } from "node:fs";
import { acceptWebSocket } from "paceline/websocket";
import { patternOf } from "./pattern.mjs";

const { TRAFFIC_STYLE, TRAFFIC_ENTERED = "", TRAFFIC_DONE = "" } = process.env;
const BLOCK_BYTES = 32_768;

const entered = openSync(TRAFFIC_ENTERED, "a");
const done = openSync(TRAFFIC_DONE, "a");
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function burn(milliseconds) {
  for (const end = performance.now() + milliseconds; performance.now() < end; );
}

async function* blocks(bytes) {
  for (let at = 0; at < bytes; at += BLOCK_BYTES) yield patternOf(at, Math.min(bytes, at + BLOCK_BYTES));
}

/** Returns the text of the response, or its blocks. @param body the request's body, as something to iterate */
async function handle(target, id, body) {
  const { pathname, searchParams } = new URL(target, "http://a");
  const what = pathname.replace(/^\/node/, "").split("/")[1];
  const number = (name) => Number(searchParams.get(name) ?? 0);
  switch (what) {
    case "burn":
    case "block":
      burn(number("ms"));
      return `${id}\n`;
    case "wait":
      await wait(number("ms"));
      return `${id}\n`;
    case "post":
      writeSync(entered, `${id}\n`);
      await wait(number("ms"));
      writeSync(done, `${id}\n`);
      return `${id}\n`;
    case "upload": {
      let bytes = 0;
      for await (const piece of body ?? []) {
        if (patternOf(bytes, bytes + piece.length).compare(piece) !== 0) return `${id} other bytes at ${bytes}\n`;
        bytes += piece.length;
      }
      return `${id} ${bytes}\n`;
    }
    case "big":
      return blocks(number("bytes"));
    default:
      return `${id}\n`;
  }
}

async function echo(socket) {
  for await (const message of socket) await socket.send(message);
}

const fetchApp = {
  async fetch(request, info) {
    const socket = acceptWebSocket(request, info);
    if (socket !== undefined) {
      void echo(socket).catch(() => {});
      return socket.response;
    }
    return new Response(await handle(request.url, request.headers.get("x-request-id"), request.body));
  },
};

async function nodeHandler(request, response) {
  const result = await handle(request.url, request.headers["x-request-id"], request);
  if (typeof result === "string") return void response.end(result);
  for await (const block of result) {
    if (response.destroyed) return;
    if (response.write(block)) continue;
    await new Promise((resolve) => {
      response.once("drain", resolve);
      response.once("close", resolve);
    });
  }
  response.end();
}

export default TRAFFIC_STYLE === "node"
  ? (request, response) => void nodeHandler(request, response).catch(() => response.destroy())
  : fetchApp;
