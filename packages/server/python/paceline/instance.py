"""A Python instance: serves its socket, reports over the control channel, and stops when asked to."""

import _thread
import os
import signal
import socket
import sys

from . import background, exits, forks, leftovers, loaded
from .channel import Channel
from .counts import Counts, SharedCounts
from .errors import InstanceError
from .output import log
from .stacks import place_of_thread

BACKLOG = 1024
# The first inherited descriptor.
FIRST_FD = 3

# The instance of this process, or the template that forks instances.
current = None


class Instance:
    """The one instance of this process."""

    def __init__(self, identity):
        self.identity = identity
        self.threads = identity.spec.get("threads", 1)
        self.counts = Counts() if self.threads == 1 else SharedCounts()
        # Whether the socket listens; the server's loop reads the other two flags.
        self.is_listening = False
        self.is_leaving = False
        self.is_released = False
        self._server = None
        # The thread that loads the app.
        self._thread = _thread.get_ident()
        self._channel = Channel(identity, self.counts, self)

    @staticmethod
    def make(identity):
        """Creates the instance and connects to the supervisor."""
        global current
        current = instance = Instance(identity)
        leftovers.begin()
        background.limits = identity.limits
        # Ctrl-C in a terminal also reaches the supervisor, which stops its children.
        signal.signal(signal.SIGINT, forks.ignore_signal)

        def on_leave(_signal, _frame):
            instance._channel.ask("leave")

        signal.signal(signal.SIGTERM, on_leave)
        forks.watch(on_leave, instance._close_sockets)
        exits.watch(lambda: instance.is_leaving)
        instance._channel.start()
        return instance

    def serve(self, application):
        """Reports ready, serves until drained, and returns. Raises InstanceError if the socket cannot be created."""
        if forks.is_child:
            raise InstanceError("a process that was forked from an instance cannot serve")
        hooks = sys.modules.get("paceline.hooks")
        if hooks is not None:
            hooks.run()
        self._server = server = self._make_server(application)
        background.serving(server.wake)
        self.listens()
        try:
            server.run()
        except BaseException as error:
            if forks.is_child:
                forks.end("between two requests", error)
            raise
        finally:
            server.close()
        self.finish()

    # For a server with its own event loop, instead of `serve`.

    def begin(self, server):
        """`server` has `wake()`, `cut()` and `close_sockets()`, which the control channel's thread calls."""
        self._server = server

    def turns_with(self, call_soon):
        """Requires that signs of life are sent from turns of an event loop. `call_soon` is its `call_soon_threadsafe`."""
        self._channel.turns_with(call_soon)

    def listens(self):
        loaded.settle()
        self.is_listening = True
        self._channel.ask("ready")

    def finish(self):
        """Sends the last report after the drain and waits for it."""
        self._channel.final_report("finish")

    def _make_server(self, application):
        listener = self._listen()
        shared = self._inherited()
        if self.threads == 1:
            from .server import Server

            return Server(listener, application, self, shared)
        from .threads import ThreadedServer

        return ThreadedServer(listener, application, self, self.threads, shared)

    def _inherited(self):
        """Returns the sockets that the pool's instances in direct mode share, listening."""
        sockets = []
        for at, _ in enumerate(self.identity.spec.get("direct", ())):
            try:
                inherited = socket.socket(fileno=FIRST_FD + at)
                inherited.set_inheritable(False)
                inherited.setblocking(False)
                inherited.listen(BACKLOG)
            except OSError as error:
                raise InstanceError(f"cannot listen on the inherited socket {FIRST_FD + at}: {error.strerror}") from error
            sockets.append(inherited)
        return sockets

    def bind(self):
        """Returns the instance's socket, bound but not listening. Raises InstanceError."""
        path = self.identity.socket
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        # Only the owner may connect, because the peer's statements about clients are trusted.
        before = os.umask(0o177)
        try:
            listener.bind(path)
        except OSError as error:
            raise InstanceError(f"cannot listen on unix:{path}: {error.strerror}") from error
        finally:
            os.umask(before)
        return listener

    def fault(self, message):
        """Reports to the supervisor why this process is about to exit."""
        if not forks.is_child:
            self._channel.fault(message)

    def is_alone(self):
        """Whether no supervisor knows this process."""
        return self._channel.is_alone

    def _listen(self):
        listener = self.bind()
        listener.listen(BACKLOG)
        return listener

    def _close_sockets(self):
        """Closes a forked child's copies of the sockets, because an exited instance would otherwise seem to run."""
        self._channel.close_socket()
        if self._server is not None:
            self._server.close_sockets()

    # Called by the control channel's thread:

    def on_leave(self, is_released):
        self.is_leaving = True
        if is_released:
            self.is_released = True
        background.leave()
        if self._server is not None:
            self._server.wake()

    def on_drain_follows(self):
        """Announces a drain, so that long requests can end. WSGI views have no way to do so."""
        drain_follows = getattr(self._server, "drain_follows", None)
        if drain_follows is not None:
            drain_follows()

    def cut(self):
        """Handles the drain's deadline. Returns whether the server gets a moment to finish by itself."""
        server_cut = getattr(self._server, "cut", None)
        return server_cut is not None and server_cut()

    def deferred_stats(self):
        return background.deferred_stats()

    def waits_for(self):
        """Describes what the start waits for."""
        describe = getattr(self._server, "waits_for", None)
        waits_for = None if describe is None else describe()
        if waits_for is not None:
            return waits_for
        place = place_of_thread(self._thread)
        return f"its app has not loaded{'' if place is None else f': it is in {place}'}"

    def connections(self):
        return () if self._server is None else self._server.connections()

    def describe_overdue(self, meant):
        """With one request at a time, faulthandler's output is enough."""
        describe = getattr(self._server, "describe_overdue", None)
        return None if describe is None else describe(meant)

    def lost_work(self):
        for line in background.lost_work():
            log(line)


def serve(application):
    """Serves a WSGI callable as this process's instance. Returns when it is drained.

    For programs that call their server themselves, such as FAPWS scripts. Raises InstanceError if no supervisor started this
    process."""
    if current is None:
        raise InstanceError("no supervisor started this process")
    current.serve(application)
