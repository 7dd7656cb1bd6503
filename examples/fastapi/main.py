"""FastAPI behind Paceline: server-sent events, a WebSocket, an upload of any size, and work after the response."""

import asyncio
import os
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, StreamingResponse

INSTANCE = os.environ.get("PACELINE_INSTANCE", "alone")

PAGE = """<!doctype html><meta charset="utf-8"><title>FastAPI</title>
<h1>Hello from FastAPI</h1>
<p>Answered by %s. Events: <code id="event">none yet</code>, the WebSocket said <code id="echo">nothing yet</code>.
<script>
  new EventSource("events").onmessage = ({ data }) => (document.querySelector("#event").textContent = data);
  const socket = new WebSocket(new URL("echo", location.href.replace(/^http/, "ws")));
  socket.onopen = () => socket.send("hello");
  socket.onmessage = ({ data }) => (document.querySelector("#echo").textContent = data);
</script>
"""


@asynccontextmanager
async def lifespan(_app):
    print("connections to a database are opened here")
    yield
    print("and closed here, when the last request has ended")


app = FastAPI(lifespan=lifespan)


@app.get("/", response_class=HTMLResponse)
async def page():
    return PAGE % INSTANCE


@app.get("/client")
async def client(request: Request):
    """Who asks, and how: as the balancer and the proxies that it trusts tell it."""
    return {"address": request.client and request.client.host, "url": str(request.url), "instance": INSTANCE}


@app.get("/events")
async def events():
    async def counter():
        for n in range(1_000_000):
            yield f"data: {n} from {INSTANCE}\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(counter(), media_type="text/event-stream")


@app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                break
            if message.get("text") is not None:
                await socket.send_text(message["text"])
            else:
                await socket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        pass


@app.post("/upload")
async def upload(request: Request):
    """Block by block, so that a large file is not held in memory."""
    size = 0
    async for block in request.stream():
        size += len(block)
    return {"bytes": size}


@app.post("/mail")
async def mail(to: str, tasks: BackgroundTasks):
    """A reload waits for the task, up to drainTimeoutMs."""
    tasks.add_task(send_mail, to)
    return {"queued": to}


async def send_mail(to: str):
    await asyncio.sleep(1)
    print(f"sent mail to {to}")
