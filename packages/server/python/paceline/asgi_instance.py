"""An instance that serves an ASGI app: runs the server's event loop and handles the supervisor's requests."""

import sys
import threading

from . import exits, forks
from .asgi import Gateway
from .asgi_servers import find_server, make_server
from .errors import AppError, InstanceError
from .load import load_app
from .stacks import place_of_awaited, place_of_thread, request_of, stack_text

# An event loop that does not turn for this long is running code that awaits nothing. The supervisor waits longer than this for
# the description.
BLOCKED_S = 0.1


def run_asgi(spec, instance):
    """Serves until drained, then returns. Raises InstanceError."""
    name = find_server(spec.get("server"))
    app = load_app(spec["app"], "asgi")
    AsgiInstance(spec, instance, name, app).run()


def load_asgi(spec):
    """Checks the app and the server without serving. Raises InstanceError."""
    find_server(spec.get("server"))
    load_app(spec["app"], "asgi")


class AsgiInstance:
    """Represents the server to the control channel, and the instance to the server."""

    def __init__(self, spec, instance, name, app):
        self._name = spec["app"]
        self._instance = instance
        self._loop = None
        self._listener = None
        self.drain_timeout_s = instance.identity.spec["drainTimeoutMs"] / 1000

        def gateway_of(is_root_in_path):
            return Gateway(app, instance.counts, is_root_in_path)

        self._options = spec.get("options", {})
        try:
            self._server = make_server(name, gateway_of, self._options, self)
        except InstanceError:
            raise
        except Exception as error:
            raise AppError(f"asgiOptions: {self._describe(error)}") from error

    def run(self):
        instance = self._instance
        self._listener = instance.bind()
        instance.begin(self)
        try:
            self._server.run(self._listener)
        except (Exception, SystemExit) as error:
            if forks.is_child:
                forks.end("in a task", error)
            if instance.is_listening:
                if isinstance(error, SystemExit):
                    exits.say_raised(self._server.gateway.exiting, error)
                raise
            raise AppError(self._startup_problem(error)) from error
        finally:
            self._loop = None
        if forks.is_child:
            forks.end("in a task")
        if not instance.is_listening:
            raise AppError(self._startup_problem(None))
        instance.finish()

    def _startup_problem(self, error):
        problem = self._server.gateway.startup_problem
        if problem is None and error is not None:
            problem = self._describe(error)
        return f"{self._name} failed to start: {problem or 'the server ended'}"

    def _describe(self, error):
        """Returns the error, with the options whose values it mentions."""
        problem = f"{type(error).__name__}: {error}"
        named = [name for name, value in self._options.items() if str(value).lower() in problem.lower()]
        return f"{problem} (asgiOptions: {', '.join(named)})" if named else problem

    # Called by the server:

    def on_loop(self, loop):
        self._loop = loop
        self._instance.turns_with(loop.call_soon_threadsafe)

    def on_listening(self):
        self._instance.listens()

    # Called by the control channel's thread through the instance:

    def wake(self):
        self._soon(self._look)

    def drain_follows(self):
        self._soon(self._server.gateway.leave)

    def cut(self):
        """Ends the server after the drain's deadline. Returns whether the app gets a moment to finish."""
        return self._soon(self._server.cut)

    def waits_for(self):
        """Returns what the start waits for; None if it does not wait for the app's lifespan."""
        lifespan = self._server.gateway.starting
        if lifespan is None:
            return None
        place = place_of_thread(threading.main_thread().ident) or place_of_awaited(lifespan)
        return f"the startup of its lifespan has not completed{'' if place is None else f': it waits in {place}'}"

    def describe_overdue(self, _meant):
        """Describes what blocks the event loop, which need not be the request that has waited longest; None if it turns."""
        has_turned = threading.Event()
        if not self._soon(has_turned.set) or has_turned.wait(BLOCKED_S):
            return None
        ident = threading.main_thread().ident
        request = request_of(sys._current_frames().get(ident))
        return None if request is None else stack_text(f"{request} blocks the event loop", ident)

    def close_sockets(self):
        if self._listener is not None:
            self._listener.close()

    def _soon(self, call):
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(call)
        except RuntimeError:
            return False  # The event loop has closed meanwhile.
        return True

    def _look(self):
        instance = self._instance
        if instance.is_leaving:
            self._server.gateway.leave()
        if instance.is_released:
            self._server.finish()
