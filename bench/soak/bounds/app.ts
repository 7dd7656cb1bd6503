/** The app of the bounds soak: quick, late, large and endless responses, unread bodies, and a broken lane. */

import { acceptWebSocket } from "../../../packages/server/dist/api/websocket/index.js";
import { defer } from "../../../packages/server/dist/index.js";
import { takeLanes, wrong } from "./wrong-lane.js";

// Before the server listens.
takeLanes();

const LARGE_PIECE = new Uint8Array(64_000);
const LARGE_PIECES = 125;
const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Calls `say` for that time, with pauses in which others run. */
function everyNow(say: () => void, seconds: number): void {
  const timer = setInterval(say, 5);
  setTimeout(() => clearInterval(timer), seconds * 1000).unref();
}

/** Generated as it is read: the part that a client does not read must not wait in the instance either. */
async function* largeBody() {
  for (let i = 0; i < LARGE_PIECES; i++) yield LARGE_PIECE;
}

function nextJob(left: number): void {
  if (left > 0) defer(nextJob, left - 1);
}

const CHATTY: Record<string, (seconds: number) => void> = {
  lines: (seconds) => everyNow(() => console.log(`${"l".repeat(200)}\n`.repeat(500)), seconds),
  line: (seconds) => everyNow(() => process.stdout.write("l".repeat(100_000)), seconds),
  // As many jobs as a normal app may have, one after the other.
  "few jobs": () => defer(nextJob, 100_000),
  jobs: (seconds) =>
    everyNow(() => {
      try {
        // Each job takes a moment, so that the jobs fill the queue. Jobs that finish immediately would only create garbage as fast as the
        // app adds more, 40 MB per second.
        for (let i = 0; i < 5000; i++) defer(() => wait(1), i);
      } catch {}
    }, seconds),
};

export default {
  async fetch(request: Request, info: { upgrade?: never; signal: AbortSignal }): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const what = searchParams.get("what") ?? "";
    const seconds = Number(searchParams.get("seconds"));
    switch (pathname) {
      case "/later":
        await wait(100);
        break;
      case "/large":
        return new Response(largeBody() as never, {
          headers: { "content-length": String(LARGE_PIECES * LARGE_PIECE.length) },
        });
      case "/unread":
        await new Promise((resolve) => info.signal.addEventListener("abort", resolve));
        break;
      case "/read":
        for await (const _ of request.body ?? []);
        break;
      case "/pieces": {
        const piece = Buffer.from("x");
        async function* pieces() {
          for (let i = 0; i < 1e9; i++) yield piece;
        }
        return new Response(pieces() as never);
      }
      case "/head":
        return new Response("", {
          headers: Array.from({ length: 200 }, (_, i) => [`a${i}`, "b".repeat(250)]) as never,
        });
      case "/socket": {
        const socket = acceptWebSocket(request, info as never);
        if (socket === undefined) return new Response("no", { status: 400 });
        void (async () => {
          if (what === "flood")
            for (let i = 0; i < 5_000_000 && socket.closeCode === undefined; i++) {
              void socket.send("x");
              if (i % 1000 === 0) await wait(1);
            }
          for await (const message of socket) void socket.send(message);
        })();
        return socket.response;
      }
      case "/chatty":
        CHATTY[what]?.(seconds);
        break;
      case "/wrong":
        wrong(what, seconds);
        break;
    }
    return new Response("Hello World!\n");
  },
};
