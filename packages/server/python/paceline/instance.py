"""One Python instance: on its socket, reporting over the control channel, leaving when it is told to."""

import os
import signal
import socket
import sys

from . import background, forks, leftovers
from .channel import Channel
from .counts import Counts, SharedCounts
from .errors import InstanceError
from .output import log

BACKLOG = 1024

# The instance of this process, or the template that forks them.
current = None


class Instance:
    """The one instance of this process."""

    def __init__(self, identity):
        self.identity = identity
        self.threads = identity.spec.get("threads", 1)
        self.counts = Counts() if self.threads == 1 else SharedCounts()
        # Whether the socket listens; the server's loop reads the other two.
        self.is_listening = False
        self.is_leaving = False
        self.is_released = False
        self._server = None
        self._channel = Channel(identity, self.counts, self)

    @staticmethod
    def make(identity):
        """Begins to speak with the supervisor."""
        global current
        current = instance = Instance(identity)
        leftovers.begin()
        background.limits = identity.limits
        # Ctrl-C in a terminal goes to the supervisor, which tells its children.
        signal.signal(signal.SIGINT, forks.ignore_signal)

        def on_leave(_signal, _frame):
            instance._channel.ask("leave")

        signal.signal(signal.SIGTERM, on_leave)
        forks.watch(on_leave, instance._close_sockets)
        instance._channel.start()
        return instance

    def serve(self, application):
        """Says ready, serves until all is drained, and returns then. Raises InstanceError when the socket cannot be had."""
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

    # For a server of another kind, with an event loop, which serves in the place of `serve`.

    def begin(self, server):
        """It has `wake()`, `cut()` and `close_sockets()`, for the control channel's thread."""
        self._server = server

    def turns_with(self, call_soon):
        """Signs of life come from the event loop whose `call_soon_threadsafe` this is."""
        self._channel.turns_with(call_soon)

    def listens(self):
        self.is_listening = True
        self._channel.ask("ready")

    def finish(self):
        """All is drained: the last report is waited for."""
        self._channel.last_words("finish")

    def _make_server(self, application):
        listener = self._listen()
        if self.threads == 1:
            from .server import Server

            return Server(listener, application, self)
        from .threads import ThreadedServer

        return ThreadedServer(listener, application, self, self.threads)

    def bind(self):
        """The instance's socket, on which nobody listens yet. Raises InstanceError."""
        path = self.identity.socket
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        # Only the owner may connect: who can is believed in what it says of clients.
        before = os.umask(0o177)
        try:
            listener.bind(path)
        except OSError as error:
            raise InstanceError(f"cannot listen on unix:{path}: {error.strerror}") from error
        finally:
            os.umask(before)
        return listener

    def fault(self, message):
        """Tells the supervisor why this process is about to exit."""
        if not forks.is_child:
            self._channel.fault(message)

    def is_alone(self):
        """Whether no supervisor knows of this process."""
        return self._channel.is_alone

    def _listen(self):
        listener = self.bind()
        listener.listen(BACKLOG)
        return listener

    def _close_sockets(self):
        """In a forked child: with its copies open, others would take an instance that has ended for one that lives."""
        self._channel.close_socket()
        if self._server is not None:
            self._server.close_sockets()

    # For the control channel's thread.

    def on_leave(self, is_released):
        self.is_leaving = True
        if is_released:
            self.is_released = True
        background.leave()
        if self._server is not None:
            self._server.wake()

    def on_drain_follows(self):
        """The fleet stops, and what would hold that up may end. A view has no way to."""
        drain_follows = getattr(self._server, "drain_follows", None)
        if drain_follows is not None:
            drain_follows()

    def cut(self):
        """The drain's deadline has passed. Whether the server has a moment more to end by itself."""
        server_cut = getattr(self._server, "cut", None)
        return server_cut is not None and server_cut()

    def deferred_stats(self):
        return background.deferred_stats()

    def describe_overdue(self):
        """Of one request at a time faulthandler tells enough."""
        return None if self._server is None or self.threads == 1 else self._server.describe_overdue()

    def lost_work(self):
        for line in background.lost_work():
            log(line)


def serve(application):
    """Serves a WSGI callable as the instance that this process was started as; returns when it is drained.

    For programs that call their server themselves, as a FAPWS script does. Raises InstanceError when no supervisor
    started this process.
    """
    if current is None:
        raise InstanceError("no supervisor started this process")
    current.serve(application)
