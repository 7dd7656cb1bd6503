"""The servers for ASGI apps: the user's own uvicorn or hypercorn, which listens on the instance's socket and is stopped as the
supervisor requires."""

import asyncio
import contextlib
import logging
import socket
import sys
from importlib.util import find_spec

from .errors import AppError, InstanceError

NAMES = ("uvicorn", "hypercorn")
# Longer than balancers keep idle connections: a server that closes one may do so while a request is on its way.
KEEP_ALIVE_S = 3600
TICK_S = 1
LOOK_EVERY_S = 0.01


def find_server(wanted):
    """Returns the name of the installed server. Raises InstanceError."""
    for name in NAMES if wanted is None else (wanted,):
        if find_spec(name) is not None:
            return name
    missing = "neither uvicorn nor hypercorn is" if wanted is None else f"{wanted} is not"
    raise InstanceError(
        f"{missing} installed for {sys.executable}: install uvicorn and websockets with its pip, or python3-uvicorn and python3-websockets with apt"
    )


def make_server(name, gateway_of, options, hooks):
    """Creates the server. `gateway_of(is_root_in_path)` returns the app. Raises AppError for options that the server does not have."""
    return (Uvicorn if name == "uvicorn" else Hypercorn)(gateway_of, options, hooks)


class Uvicorn:
    """uvicorn ≥ 0.15."""

    def __init__(self, gateway_of, options, hooks):
        import uvicorn

        known = _parameters(uvicorn.Config.__init__)
        _check(options, known, f"uvicorn {uvicorn.__version__}")
        self.gateway = gateway_of(_version(uvicorn) >= (0, 26))
        own = {"proxy_headers": False, "timeout_keep_alive": KEEP_ALIVE_S}
        # uvicorn writes its access log at the level "info".
        defaults = {"access_log": False, "log_level": "info" if options.get("access_log") else "warning"}
        config = uvicorn.Config(self.gateway, **{**defaults, **options, **own})
        self._server = _make_uvicorn_server(uvicorn.Server)(config, hooks)
        self._hooks = hooks

    def run(self, listener):
        self._server.run(sockets=[listener])

    def finish(self):
        self._server.finish()

    def cut(self):
        self._server.cut()


def _make_uvicorn_server(base):
    class Server(base):
        """The instance handles signals and decides when the server stops."""

        def __init__(self, config, hooks):
            super().__init__(config)
            self._hooks = hooks
            self._finishing = None

        def install_signal_handlers(self):
            pass

        @contextlib.contextmanager
        def capture_signals(self):
            yield

        async def startup(self, sockets=None):
            self._finishing = asyncio.Event()
            self._hooks.on_loop(asyncio.get_running_loop())
            await super().startup(sockets=sockets)
            if self.started and not self.should_exit:
                # Called before the first request, because this call creates the fields.
                await self.on_tick(0)
                self._hooks.on_listening()

        async def main_loop(self):
            # The base class polls ten times a second, which many idle instances cannot afford.
            while not await self.on_tick(0):
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._finishing.wait(), TICK_S)

        async def shutdown(self, sockets=None):
            await super().shutdown(sockets=sockets)
            if self.force_exit:
                # uvicorn skips this if it does not wait for requests.
                await self.lifespan.shutdown()
                # Otherwise uvicorn would log a traceback for each request that ends with the loop.
                logging.getLogger("uvicorn.error").disabled = True

        def finish(self):
            self.should_exit = True
            self._finishing.set()

        def cut(self):
            self.force_exit = True
            for connection in list(self.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
            self.finish()

    return Server


class Hypercorn:
    """hypercorn ≥ 0.11, on asyncio."""

    def __init__(self, gateway_of, options, hooks):
        from hypercorn.config import Config

        config = Config()
        _check(options, {name for name in dir(config) if not name.startswith("_")}, "hypercorn")
        config.loglevel = "INFO" if options.get("accesslog") else "WARNING"
        for name, value in options.items():
            setattr(config, name, value)
        config.keep_alive_timeout = KEEP_ALIVE_S
        config.graceful_timeout = hooks.drain_timeout_s
        self.gateway = gateway_of(False)
        self._config = config
        self._hooks = hooks
        self._finishing = None

    def run(self, listener):
        asyncio.run(self._serve(listener))

    async def _serve(self, listener):
        from hypercorn.asyncio import serve

        self._finishing = asyncio.Event()
        self._hooks.on_loop(asyncio.get_running_loop())
        self._config.bind = [f"fd://{listener.fileno()}"]
        # Reading the property creates the logger now. Otherwise an option that the logger refuses would end an instance that is
        # already ready.
        _ = self._config.log
        look = asyncio.ensure_future(self._until_listening(listener))
        try:
            await serve(self.gateway, self._config, shutdown_trigger=self._finishing.wait)
        finally:
            look.cancel()
            # The server has closed its descriptor.
            with contextlib.suppress(OSError):
                listener.detach()

    async def _until_listening(self, listener):
        """Waits until hypercorn listens, which it does not report. It listens after the app's startup."""
        path = listener.getsockname()
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.setblocking(False)
                if probe.connect_ex(path) == 0:
                    break
            await asyncio.sleep(LOOK_EVERY_S)
        # hypercorn makes the socket inheritable, so programs that the app starts would inherit it.
        listener.set_inheritable(False)
        self._hooks.on_listening()

    def finish(self):
        self._finishing.set()

    def cut(self):
        self._config.graceful_timeout = 0
        self._finishing.set()


def _parameters(function):
    code = function.__code__
    return set(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])


def _check(options, known, server):
    for name in options:
        if name not in known:
            raise AppError(f"asgiOptions: {server} has no option {name!r}")


def _version(package):
    parts = package.__version__.split(".")[:2]
    return tuple(int(part) if part.isdigit() else 0 for part in parts)
