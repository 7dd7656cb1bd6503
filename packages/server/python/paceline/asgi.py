"""The ASGI app between the server and the user's app: sets the client's address, counts requests, and ends long requests for a drain."""

import asyncio
import sys
import traceback
from time import monotonic
from urllib.parse import unquote

from . import forks
from .stacks import asgi_request

# Service Restart, from the registry of WebSocket close codes (RFC 6455): the client may reconnect.
SERVICE_RESTART = 1012
MAX_PROBLEM_CHARACTERS = 1000
LOCAL = ("127.0.0.1", 0)
_SECURE = {"http": "https", "ws": "wss"}


class Gateway:
    """Sits between the server and the app; used only by the event loop's thread."""

    def __init__(self, app, counts, is_root_in_path):
        """`is_root_in_path`: whether this server's `path` begins with `root_path`, as in newer servers."""
        self._app = app
        self._counts = counts
        self._is_root_in_path = is_root_in_path
        self.is_leaving = False
        # The app's message for a failed lifespan startup, in one line.
        self.startup_problem = None
        # The app's lifespan, while its startup has not completed.
        self.starting = None
        # The last request that raised SystemExit, which ends the process unless the server catches it.
        self.exiting = None
        # Accepted WebSockets, and requests that wait until their client disconnects.
        self.sockets = set()
        self.waiting = set()

    async def __call__(self, scope, receive, send):
        kind = scope["type"]
        if kind == "http":
            exchange = Exchange(self, receive, send)
        elif kind == "websocket":
            exchange = Tunnel(self, receive, send)
        else:
            await (self._run_lifespan(scope, receive, send) if kind == "lifespan" else self._app(scope, receive, send))
            return
        counts = self._counts
        self._set_client(scope)
        counts.begin()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            # Errors that an app raises because its request was cut off are not reported.
            if not exchange.was_cut:
                if exchange.status < 500:
                    counts.errors += 1
                raise
        except SystemExit:
            self.exiting = asgi_request(scope)
            raise
        finally:
            self.sockets.discard(exchange)
            counts.end((exchange.ended_at or monotonic()) - exchange.began_at)
        if exchange.was_cut:
            await exchange.complete()

    def leave(self):
        """Prepares for a drain, when no new requests arrive: ends WebSockets and event streams, whose clients reconnect to
        another instance."""
        if self.is_leaving:
            return
        self.is_leaving = True
        for exchange in list(self.waiting):
            exchange.cut()
        for socket in list(self.sockets):
            asyncio.ensure_future(socket.close())

    def _set_client(self, scope):
        """Sets the client from the balancer's fields. They can be trusted, because only the balancer can connect to the socket."""
        host = named = None
        # The supervisor's health checks do not pass through the balancer.
        scope["client"] = LOCAL
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"x-forwarded-for":
                scope["client"] = (value.split(b",", 1)[0].strip().decode("latin-1"), 0)
            elif name == b"x-forwarded-proto":
                if value == b"https":
                    scope["scheme"] = _SECURE.get(scope["scheme"], scope["scheme"])
            elif name == b"x-forwarded-host":
                named = value.split(b",", 1)[0].strip()
            elif name == b"x-forwarded-prefix":
                self._put_root(scope, value)
        if named and host is not None and host != named:
            scope["headers"] = [(name, named if name == b"host" else value) for name, value in scope["headers"]]

    def _put_root(self, scope, value):
        prefix = value.split(b",", 1)[0].strip().rstrip(b"/")
        if prefix[:1] != b"/":
            return
        scope["root_path"] = unquote(prefix.decode("latin-1"))
        if self._is_root_in_path or _takes_root_off(scope["type"]):
            scope["path"] = scope["root_path"] + scope["path"]
            if scope.get("raw_path") is not None:
                scope["raw_path"] = prefix + scope["raw_path"]

    async def _run_lifespan(self, scope, receive, send):
        """Reports startup errors. Servers mistake them for an app without a lifespan until startup has completed."""

        async def watch_receive():
            message = await receive()
            self.starting = lifespan if message["type"] == "lifespan.startup" else None
            return message

        async def watch_send(message):
            self.starting = None
            if message["type"] == "lifespan.startup.failed":
                self.startup_problem = _one_line(str(message.get("message", ""))) or "its lifespan failed"
            await send(message)

        lifespan = self._app(scope, watch_receive, watch_send)
        try:
            await lifespan
        except (Exception, SystemExit):
            if self.starting is None:
                raise
            await watch_send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})


def _one_line(text):
    """Returns a message in one line; for a traceback, only the error."""
    lines = text.splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    if frames:
        lines = lines[frames[-1] + 1 :]
        while lines and lines[0].startswith("    "):
            del lines[0]
    return " ".join(" ".join(lines).split())[:MAX_PROBLEM_CHARACTERS]


def _takes_root_off(kind):
    """Whether the app strips `root_path` itself: Quart does, Django if the path begins with it, Starlette < 0.33 never."""
    if "starlette.routing" in sys.modules:
        return False
    return "quart.app" in sys.modules or (kind == "http" and "django.core.handlers.asgi" in sys.modules)


class Exchange:
    """One request and its response."""

    __slots__ = ("_cut", "_gateway", "_is_body_over", "_is_complete", "_is_events", "_receive", "_send", "began_at", "ended_at", "status", "was_cut")

    def __init__(self, gateway, receive, send):
        self._gateway = gateway
        self._receive = receive
        self._send = send
        self._is_body_over = False
        self._is_events = False
        self._is_complete = False
        # Resolves when the app should see a disconnected client; created when the app waits for that.
        self._cut = None
        self.was_cut = False
        self.status = 0
        self.began_at = monotonic()
        self.ended_at = None

    async def receive(self):
        if self._is_body_over:
            return await self._client_gone()
        message = await self._receive()
        if not message.get("more_body", False):
            self._is_body_over = True
        return message

    async def send(self, message):
        if forks.is_child:
            forks.end("in a request")
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status >= 500:
                self._gateway._counts.errors += 1
            for name, value in message.get("headers", ()):
                if len(name) == 12 and name.lower() == b"content-type":
                    self._is_events = value.startswith(b"text/event-stream")
            await self._send(message)
            if self._is_events and self._gateway.is_leaving:
                self.cut()
            return
        await self._send(message)
        if not message.get("more_body", False):
            self._is_complete = True
            self.ended_at = monotonic()

    def cut(self):
        """Ends an event stream by reporting a disconnected client to the app. Such streams never end by themselves, and their
        clients reconnect."""
        if self._is_events and self._cut is not None and not self._cut.done():
            self._cut.set_result(None)

    async def complete(self):
        """Completes the response if the app did not."""
        if not self._is_complete:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _client_gone(self):
        gateway = self._gateway
        loop = asyncio.get_running_loop()
        gone = loop.create_task(self._receive())
        self._cut = loop.create_future()
        gateway.waiting.add(self)
        if gateway.is_leaving:
            self.cut()
        try:
            await asyncio.wait((gone, self._cut), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return gone.result()
            self.was_cut = True
            return {"type": "http.disconnect"}
        finally:
            gateway.waiting.discard(self)
            gone.cancel()
            self._cut.cancel()


class Tunnel:
    """One WebSocket."""

    __slots__ = ("_gateway", "_send", "began_at", "ended_at", "receive", "status", "was_cut")

    def __init__(self, gateway, receive, send):
        self._gateway = gateway
        self._send = send
        self.receive = receive
        self.was_cut = False
        self.status = 0
        self.began_at = monotonic()
        self.ended_at = None

    async def send(self, message):
        # The app's further messages have no receiver.
        if self.was_cut:
            return
        await self._send(message)
        if self.ended_at is None:
            # Counts the time of the handshake. How long the WebSocket stays open shows nothing about the app.
            self.ended_at = monotonic()
            if message["type"] == "websocket.accept":
                self._gateway.sockets.add(self)
                if self._gateway.is_leaving:
                    await self.close()

    async def close(self):
        if self.was_cut:
            return
        self.was_cut = True
        try:
            await self._send({"type": "websocket.close", "code": SERVICE_RESTART})
        except Exception:
            pass  # The WebSocket was closed meanwhile.

    async def complete(self):
        pass
