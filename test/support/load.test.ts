/** The load clients detect every kind of failure; scenarios depend on that. */
import net from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { Load } from "./load.js";
import { freePort } from "./ports.js";

const GOOD = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const WRONG = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";

/** A server that runs `response` for the third request, and responds correctly to all others. */
async function serve(response: (socket: net.Socket) => void): Promise<number> {
  let seen = 0;
  const server = net.createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (head) => {
      if (++seen === 3) response(socket);
      else if (head.toString().includes("Connection: close")) socket.end(GOOD);
      else socket.write(GOOD);
    });
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen({ host: "127.0.0.1", port }, resolve));
  onTestFinished(() => void server.close());
  return port;
}

const FAILURES: [string, (socket: net.Socket) => void][] = [
  ["resets", (socket) => socket.resetAndDestroy()],
  ["resets", (socket) => socket.end()],
  ["truncated", (socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")],
  ["truncated", (socket) => socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")],
  ["malformed", (socket) => socket.end(GOOD + GOOD)],
  ["malformed", (socket) => socket.end(WRONG)],
  ["malformed", (socket) => socket.end("what?\r\n\r\n")],
  ["non2xx", (socket) => socket.end("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")],
  ["timeouts", () => undefined],
];

describe.each(["keep-alive", "connect-anew"] as const)("a %s client", (mode) => {
  test.each(FAILURES)("counts one of %s", async (kind, response) => {
    const port = await serve(response);
    const load = new Load({ port, mode, clients: 1, expectBody: "ok", responseTimeoutMs: 500 });
    onTestFinished(() => load.kill());
    await load.until("answers after the bad one", ({ ok }) => ok >= 10);
    const { ok, connections, statuses, byInstance, notes, ...rest } = await load.stop();
    expect(rest).toEqual({
      ...{ non2xx: 0, resets: 0, refused: 0, truncated: 0, malformed: 0, timeouts: 0, clientErrors: 0 },
      [kind]: 1,
    });
  });

  test("counts refusals", async () => {
    const load = new Load({ port: await freePort(), mode, clients: 1 });
    onTestFinished(() => load.kill());
    await load.until("a refusal", ({ refused }) => refused > 0);
    expect((await load.stop()).ok).toBe(0);
  });
});
