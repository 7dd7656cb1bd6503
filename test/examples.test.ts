/** Runs each example as in examples/README.md, and its app also on Node, and uses it. */
import http from "node:http";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type RawData, WebSocket } from "ws";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { endExample, startExample } from "./support/example.js";
import { type Project, ROOT, startFleet } from "./support/fleet.js";
import { needs } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

/** Resolves when the received part of a response matches. */
function reads(port: number, path: string, pattern: RegExp): Promise<{ text: string; request: http.ClientRequest }> {
  return new Promise((resolve, reject) => {
    let text = "";
    const request = http.get({ host: "127.0.0.1", port, path, agent: false, timeout: 60_000 }, (response) => {
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
        if (pattern.test(text)) resolve({ text, request });
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

async function echoes(port: number, prefix = ""): Promise<void> {
  const client = new Client(port, `${prefix}/echo`);
  const large = "wide \u20ac".repeat(30_000);
  const bytes = Buffer.from(Array.from({ length: 300 }, (_, n) => n % 256));
  await client.says("hello", bytes, large);
  expect(await client.hears(3)).toEqual(["hello", bytes, large]);
  client.socket.close(1000);
  await waitFor("the WebSocket to close", () => client.closeCode !== undefined);
  expect(client.closeCode).toBe(1000);
}

/** A stream, events, an upload and a WebSocket. */
async function serves(port: number, title: string, prefix = ""): Promise<void> {
  expect((await get(port, `${prefix}/`)).body).toContain(`Hello from ${title}`);

  // The first word arrives before the last one is generated, unless this process is delayed.
  const stream = `${prefix}/stream`;
  await waitFor("the first word alone", async () => (await reads(port, stream, /one\n/)).text === "one\n");
  expect((await get(port, stream)).body).toBe("one\ntwo\nthree\n");

  const events = await reads(port, `${prefix}/events`, /^data: .+\n\ndata: .+\n\n/);
  events.request.destroy();

  const form = new FormData();
  form.append("file", new Blob(["a".repeat(300_000)]), "a.txt");
  const reply = await fetch(`http://127.0.0.1:${port}${prefix}/upload`, { method: "POST", body: form });
  expect(await reply.json()).toEqual({ name: "a.txt", bytes: 300_000 });

  await echoes(port, prefix);
}

/** A page and an echo. */
async function saysBack(port: number, prefix = ""): Promise<void> {
  expect((await get(port, `${prefix}/`)).body).toContain("new WebSocket");
  expect((await get(port, `${prefix}/echo`)).status).toBe(426);
  await echoes(port, prefix);
}

/** All listeners receive what one client sends. */
async function chats(project: Project, pool = "web", prefix = ""): Promise<void> {
  const { port } = project;
  expect((await get(port, `${prefix}/`)).body).toContain("EventSource");
  const listeners = ({ pools }: Status) => pools.find(({ name }) => name === pool)?.instances[0]?.inFlight;
  const heard = [1, 2, 3].map(() => reads(port, `${prefix}/events`, /data: "hello there"\n\n/));
  await project.statusWhere("all to listen", (status) => listeners(status) === 3);
  const said = await fetch(`http://127.0.0.1:${port}${prefix}/say`, { method: "POST", body: "hello there" });
  expect(said.status).toBe(204);
  for (const { request } of await Promise.all(heard)) request.destroy();
  await project.statusWhere("all to be gone", (status) => listeners(status) === 0);
}

const FRAMEWORKS = [
  ["express", "Express", "app.js"],
  ["koa", "Koa", "app.js"],
  ["fastify", "Fastify", "app.ts"],
  ["hono", "Hono", "app.ts"],
] as const;

describe("examples by their commands", () => {
  const runtime = "bun";

  test.each(FRAMEWORKS)("%s: a stream, events, an upload, a WebSocket", async (name, title) => {
    // One instance does the work of the default four.
    const project = await startExample(name, runtime, {}, ["--instances", "1"]);
    await serves(project.port, title);
    await endExample(project);
  });

  test("gunicorn: an API in Python, beside a page of ours", async (context) => {
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
    await saysBack(project.port);
    await endExample(project);
  });

  test("sse-chat: all who listen hear what one says", async () => {
    const project = await startExample("sse-chat", runtime);
    await chats(project);
    await endExample(project);
  });
});

test("the same apps on Node, in one fleet", async () => {
  const pool = (name: string, file: string) => ({
    ...{ app: join(ROOT, "examples", name, file), instances: 1 },
    ...{ routes: [`/${name}/`], stripPrefix: true },
  });
  const pools = {
    ...Object.fromEntries(FRAMEWORKS.map(([name, , file]) => [name, pool(name, file)])),
    echo: pool("websocket-echo", "app.ts"),
    chat: pool("sse-chat", "app.ts"),
  };
  const project = await startFleet({ runtime: "node", app: "", config: { pools } });
  for (const [name, title] of FRAMEWORKS) await serves(project.port, title, `/${name}`);
  await saysBack(project.port, "/websocket-echo");
  await chats(project, "chat", "/sse-chat");
  expect(await project.stop()).toMatchObject({ code: 0 });
  await project.nothingLeft();
});
