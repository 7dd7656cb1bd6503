/** FastAPI in practice: round robin, streams, WebSockets, uploads, background tasks, client facts, reloads, and error messages. */
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { findPython } from "../packages/server/test/python.js";
import { runKept } from "./support/commands.js";
import { endExample, startExample } from "./support/example.js";
import { Project } from "./support/fleet.js";
import { pythonFleets } from "./support/python.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const python = findPython("fastapi", "uvicorn", "websockets");

const APP = `
import asyncio
import os
import time
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

app = FastAPI()
name = os.environ["PACELINE_INSTANCE"]

@app.on_event("shutdown")
def shutdown():
    with open("shutdowns.txt", "a") as file:
        file.write(name + "\\n")

@app.get("/who")
async def who(request: Request):
    return {"name": name, "client": request.client.host, "url": str(request.url)}

@app.get("/sync")
def sync():
    return name

@app.get("/events")
async def events():
    async def endless():
        while True:
            yield f"data: {name}\\n\\n"
            await asyncio.sleep(0.02)
    return StreamingResponse(endless(), media_type="text/event-stream")

@app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    while True:
        text = await socket.receive_text()
        await socket.send_text(f"{socket.url.scheme} {socket.client.host} {text}")

@app.post("/upload")
async def upload(request: Request):
    size = 0
    async for block in request.stream():
        size += len(block)
        assert block == block[:1] * len(block)
    return {"bytes": size}

async def until_go():
    while not os.path.exists("go"):
        await asyncio.sleep(0.02)
    with open("done.txt", "w") as file:
        file.write(str(os.path.exists("shutdowns.txt") and name in open("shutdowns.txt").read()))

@app.post("/task")
async def task(tasks: BackgroundTasks):
    tasks.add_task(until_go)
    return name

@app.get("/block")
async def block():
    if os.path.exists("blocked"):
        return
    open("blocked", "w").close()
    while True:
        time.sleep(0.02)

def make(mode):
    return app
`;

/** Imports nothing, because importing FastAPI takes a second. */
const PLAIN = `
async def app(scope, receive, send):
    pass

def make(mode):
    return app
`;

interface Reading {
  text: string;
  isWhole: boolean | undefined;
}

/** A stream that stays open; `isWhole` when it has ended. */
function reading(port: number, path: string): Reading {
  const state: Reading = { text: "", isWhole: undefined };
  const request = http.get({ host: "127.0.0.1", port, path, agent: false }, (response) => {
    response.setEncoding("utf8").on("data", (text) => {
      state.text += text;
    });
    response.on("error", () => undefined);
    response.on("close", () => {
      state.isWhole = response.complete;
    });
  });
  request.on("error", () => undefined);
  onTestFinished(() => void request.destroy());
  return state;
}

const fleet = pythonFleets({
  python,
  missing: "FastAPI, uvicorn and websockets are not installed for a Python here",
  pool: { asgi: "main:app", instances: 2 },
  files: { "main.py": APP },
});

/** Once, as in wsgi.test.ts: the instances are Python. */
describe("FastAPI behind a balancer", () => {
  const runtime = "bun";

  test("has its exact turns, its clients, streams, a WebSocket, an upload; a reload waits for work after the response", async (context) => {
    const config = { balancer: { runtime, trustedProxies: ["127.0.0.1"] }, maxSurge: "100%", hangAfterMs: 0 };
    const project = await fleet(context, runtime, { policy: "exact" }, config);
    const { port } = project;
    const url = `http://127.0.0.1:${port}`;

    const turns: string[] = [];
    for (let n = 0; n < 6; n++) turns.push(JSON.parse((await get(port, "/who")).body).name);
    expect([...turns].slice(0, 2).sort()).toEqual(["web.1", "web.2"]);
    expect(turns).toEqual([...turns.slice(0, 2), ...turns.slice(0, 2), ...turns.slice(0, 2)]);

    const told = { "x-forwarded-for": "6.6.6.6, 198.51.100.7", "x-forwarded-proto": "https", host: "inner" };
    const headers = { ...told, "x-forwarded-host": "shop.example" };
    const seen = (await (await fetch(`${url}/who?a=b`, { headers })).json()) as Record<string, string>;
    expect(seen).toMatchObject({ client: "198.51.100.7", url: "https://shop.example/who?a=b" });

    const socket = new WebSocket(`ws://127.0.0.1:${port}/echo`, { headers: told });
    onTestFinished(() => socket.terminate());
    const heard: string[] = [];
    let closeCode: number | undefined;
    socket.on("message", (data) => heard.push(String(data)));
    socket.on("open", () => socket.send("hello"));
    socket.on("error", () => undefined);
    socket.on("close", (code) => {
      closeCode = code;
    });
    await waitFor("an echo", () => heard.length === 1);
    expect(heard).toEqual(["wss 198.51.100.7 hello"]);

    const events = reading(port, "/events");
    await waitFor("events", () => /^(data: web\.\d\n\n){3}/.test(events.text));

    const size = 5_000_000;
    const upload = await fetch(`${url}/upload`, { method: "POST", body: Buffer.alloc(size, "x") });
    expect(await upload.json()).toEqual({ bytes: size });
    expect((await get(port, "/sync")).body).toMatch(/^"web\.\d"$/);

    // The response arrives long before the task is done.
    expect((await fetch(`${url}/task`, { method: "POST" })).status).toBe(200);
    const reload = project.reload();
    await waitFor("the WebSocket to be closed", () => closeCode !== undefined);
    await waitFor("the events to end", () => events.isWhole !== undefined);
    expect([closeCode, events.isWhole]).toEqual([1012, true]);
    // The new instances serve while the task keeps an old one running.
    expect((await get(port, "/who")).status).toBe(200);
    expect(existsSync(join(project.folder, "done.txt"))).toBe(false);
    writeFileSync(join(project.folder, "go"), "");
    expect(await reload).toMatchObject({ code: 0 });
    const done = () =>
      existsSync(join(project.folder, "done.txt")) && readFileSync(join(project.folder, "done.txt"), "utf8");
    // The process's lifespan ends after the task.
    expect(await waitFor("the task", () => done() || undefined)).toBe("False");
    const { pools } = await project.statusWhere("all to be ready", ({ pools }) => pools[0]?.ready === 2);
    expect(pools).toMatchObject([{ kind: "asgi", ready: 2, generation: 2 }]);
    expect((await project.stop()).code).toBe(0);
  });

  test("one whose event loop is blocked is replaced, and the event names where it was; readyPath is asked", async (context) => {
    const pool = {
      instances: 1,
      readyPath: "/who",
      asgi: "./main.py:make('prod')",
      asgiOptions: { access_log: true },
    };
    const project = await fleet(context, runtime, pool, { hangAfterMs: 8000 });
    // It has waited for longer, and does not block.
    const events = reading(project.port, "/events");
    await waitFor("events", () => events.text.includes("data: "));
    // The balancer sends it once more. If that blocked the next process too, later requests might wait in vain for a third one.
    const blocked = reading(project.port, "/block");
    await waitFor("the event", async () =>
      (await project.events()).includes("it was running GET /block in block (main.py:"),
    );
    expect(await project.events()).toContain("web.1      hung: its event loop was blocked for ");
    await project.statusWhere(
      "it to be replaced",
      ({ pools }) => pools[0]?.ready === 1 && pools[0]?.instances[0]?.attempt === 2,
    );
    // The balancer learns of it a moment after the status.
    await waitFor("a response", async () => (await get(project.port, "/who")).status === 200);
    expect(blocked.text).not.toContain("data");
    const line = /"GET \/who HTTP\/1\.1" 200/;
    await waitFor("its access log", async () => line.test(await project.logs()));
    expect((await project.stop()).code).toBe(0);
  });

  test("is started from the command line; without a server the start says what to install", async (context) => {
    if (python === undefined) context.skip("FastAPI, uvicorn and websockets are not installed for a Python here");
    const project = await Project.make({ runtime, app: "", files: { "main.py": APP, "plain.py": PLAIN } });
    const place = ["--listen", `127.0.0.1:${project.port}`, "-i", "1"];
    const started = await project.startDetached(["--asgi", "main:app", "--python", python as string, ...place]);
    expect(started.output).toMatch(/1 instance of main:app on .*: all ready/);
    expect((await get(project.port, "/who")).status).toBe(200);
    expect((await project.stop()).code).toBe(0);

    // An interpreter without any packages.
    project.write("bare", `#!/bin/sh\nexec ${python} -S "$@"\n`);
    chmodSync(join(project.folder, "bare"), 0o755);
    const refused = await project.startDetached(["--asgi", "plain:app", "--python", "./bare", ...place]);
    expect(refused.code).toBe(1);
    expect(refused.output).toMatch(
      /^paceline: web\.1 .*neither uvicorn nor hypercorn is installed for \S+: install uvicorn/m,
    );

    for (const [args, message] of [
      [["--wsgi", "plain:app"], /plain:app is an ASGI app \(it is async\): name it with `asgi`/],
      [["--asgi", "plain:make"], /a factory is named with its arguments, such as plain:make\("prod"\)/],
    ] as const) {
      const failed = await project.startDetached([...args, "--python", python as string, ...place]);
      expect(failed.code).toBe(1);
      expect(failed.output).toMatch(message);
    }
    for (const [args, message] of [
      [["./main.py"], "is Python; run: paceline start --asgi ./main.py:app"],
      [["main:app"], "is a Python callable; run: paceline start --asgi main:app"],
      [["--python", "python3"], "--python needs --wsgi, --asgi or --fapws"],
      [["--wsgi", "a:b", "--asgi", "a:b"], "--wsgi cannot be combined with --asgi"],
      [["paceline.config.json", "more"], "too many arguments: more"],
    ] as const) {
      const failed = await runKept(["start", "--detach", ...args], project.folder, project.startEnvironment());
      expect(failed.code).toBe(2);
      expect(failed.output).toContain(message);
    }
    const served = await project.cli(["serve", "./main.py"]);
    expect(`${served.code} ${served.output}`).toMatch(/^2 .*is Python, which runs in a fleet: paceline start --wsgi/);
  });

  test("the example: events, a WebSocket, an upload, work after the response", async (context) => {
    if (python === undefined) context.skip("FastAPI, uvicorn and websockets are not installed for a Python here");
    const project = await startExample("fastapi", runtime, {}, ["--instances", "1"]);
    const { port } = project;
    expect((await get(port)).body).toContain("Hello from FastAPI");
    expect(JSON.parse((await get(port, "/client")).body)).toMatchObject({ address: "127.0.0.1" });
    const events = reading(port, "/events");
    await waitFor("events", () => /^data: 0 from web\.\d\n\ndata: 1/.test(events.text));
    const socket = new WebSocket(`ws://127.0.0.1:${port}/echo`);
    onTestFinished(() => socket.terminate());
    const heard: string[] = [];
    socket.on("message", (data) => heard.push(String(data)));
    socket.on("open", () => socket.send("hello"));
    socket.on("error", () => undefined);
    await waitFor("an echo", () => heard[0] === "hello");
    const url = `http://127.0.0.1:${port}`;
    const upload = await fetch(`${url}/upload`, { method: "POST", body: "a".repeat(300_000) });
    expect(await upload.json()).toEqual({ bytes: 300_000 });
    expect(await (await fetch(`${url}/mail?to=ada`, { method: "POST" })).json()).toEqual({ queued: "ada" });
    await waitFor("the mail", () => project.output.includes("sent mail to ada"));
    await endExample(project);
  });
});
