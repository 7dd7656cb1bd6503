/** Runs each example as in examples/README.md, on both runtimes, and uses it. */
import http from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { type RawData, WebSocket } from "ws";
import { endExample, startExample } from "./support/example.js";
import { RUNTIMES } from "./support/fleet.js";
import { needs } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

/** Resolves when the received part of a response matches. */
function reads(
  port: number,
  path: string,
  pattern: RegExp,
): Promise<{ text: string; pieces: number; request: http.ClientRequest }> {
  return new Promise((resolve, reject) => {
    let text = "";
    let pieces = 0;
    const request = http.get({ host: "127.0.0.1", port, path, agent: false, timeout: 60_000 }, (response) => {
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
        pieces++;
        if (pattern.test(text)) resolve({ text, pieces, request });
      });
      response.on("end", () => reject(new Error(`ended with ${text}`)));
      response.on("error", reject);
    });
    request.on("timeout", () => reject(new Error(`no ${pattern} in ${text}`)));
    request.on("error", reject);
    onTestFinished(() => void request.destroy());
  });
}

class Client {
  readonly heard: (string | Buffer)[] = [];
  closeCode: number | undefined;
  readonly socket: WebSocket;

  constructor(port: number, path: string) {
    this.socket = new WebSocket(`ws://127.0.0.1:${port}${path}`);
    this.socket.on("message", (data: RawData, isBinary) => this.heard.push(isBinary ? (data as Buffer) : String(data)));
    this.socket.on("close", (code) => {
      this.closeCode = code;
    });
    this.socket.on("error", () => undefined);
    onTestFinished(() => this.socket.terminate());
  }

  async says(...messages: (string | Buffer)[]): Promise<void> {
    await waitFor("the WebSocket to open", () => this.socket.readyState === WebSocket.OPEN);
    for (const message of messages) this.socket.send(message);
  }

  async hears(count: number): Promise<(string | Buffer)[]> {
    await waitFor(`${count} messages`, () => this.heard.length >= count);
    return this.heard;
  }
}

async function echoes(port: number): Promise<void> {
  const client = new Client(port, "/echo");
  const large = "wide \u20ac".repeat(30_000);
  const bytes = Buffer.from(Array.from({ length: 300 }, (_, n) => n % 256));
  await client.says("hello", bytes, large);
  expect(await client.hears(3)).toEqual(["hello", bytes, large]);
  client.socket.close(1000);
  await waitFor("the WebSocket to close", () => client.closeCode !== undefined);
  expect(client.closeCode).toBe(1000);
}

const FRAMEWORKS = [
  ["express", "Express"],
  ["koa", "Koa"],
  ["fastify", "Fastify"],
  ["hono", "Hono"],
] as const;

describe.each(RUNTIMES)("examples on %s", (runtime) => {
  const once = testOnce(runtime);

  test.each(FRAMEWORKS)("%s: a stream, events, an upload, a WebSocket", async (name, title) => {
    // One does the work of the default four.
    const project = await startExample(name, runtime, {}, ["--instances", "1"]);
    const { port } = project;
    expect((await get(port)).body).toContain(`Hello from ${title}`);

    // The first word arrives before the last one is generated.
    expect((await reads(port, "/stream", /one\n/)).text).toBe("one\n");
    expect((await get(port, "/stream")).body).toBe("one\ntwo\nthree\n");

    const events = await reads(port, "/events", /^data: .+\n\ndata: .+\n\n/);
    expect(events.pieces).toBeGreaterThan(1);
    events.request.destroy();

    const form = new FormData();
    form.append("file", new Blob(["a".repeat(300_000)]), "a.txt");
    const reply = await fetch(`http://127.0.0.1:${port}/upload`, { method: "POST", body: form });
    expect(await reply.json()).toEqual({ name: "a.txt", bytes: 300_000 });

    await echoes(port);
    await endExample(project);
  });

  once("gunicorn: an API in Python, beside a page of ours", async (context) => {
    needs(context, "gunicorn");
    const project = await startExample("gunicorn", runtime);
    expect((await get(project.port)).body).toContain("the API");
    const responses = await Promise.all([1, 2].map(() => get(project.port, "/api/x")));
    const seen = responses.map(({ body }) => JSON.parse(body));
    expect(seen.map(({ instance }) => instance).sort()).toEqual(["api.1", "api.2"]);
    expect(seen[0].path).toBe("/api/x");
    await endExample(project);
  });

  test("websocket-echo: says back what it hears, and has a page for it", async () => {
    const project = await startExample("websocket-echo", runtime, {}, ["--instances", "1"]);
    expect((await get(project.port)).body).toContain("new WebSocket");
    expect((await get(project.port, "/echo")).status).toBe(426);
    await echoes(project.port);
    await endExample(project);
  });

  test("sse-chat: all who listen hear what one says", async () => {
    const project = await startExample("sse-chat", runtime);
    const { port } = project;
    expect((await get(port)).body).toContain("EventSource");
    const heard = [1, 2, 3].map(() => reads(port, "/events", /data: "hello there"\n\n/));
    await project.statusWhere("all to listen", ({ pools }) => pools[0]?.instances[0]?.inFlight === 3);
    const said = await fetch(`http://127.0.0.1:${port}/say`, { method: "POST", body: "hello there" });
    expect(said.status).toBe(204);
    for (const { request } of await Promise.all(heard)) request.destroy();
    await project.statusWhere("all to be gone", ({ pools }) => pools[0]?.instances[0]?.inFlight === 0);
    await endExample(project);
  });
});
