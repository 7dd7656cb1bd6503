"""The loop of an instance: serves one request at a time, and does other work in between."""

import os
import select
import socket
import sys
from collections import deque
from time import monotonic

from . import background, forks
from .connection import Connection
from .file_wrapper import FileWrapper

# A drained instance exits after this many turns without events, when its sockets are empty.
QUIET_TURNS_AT_END = 2
# In direct mode, a connection may be idle between two requests for this time, and in a drain for the second one.
KEEP_ALIVE_S = 75
IDLE_DRAIN_S = 2
# At the end, a connection that has sent nothing yet is kept for this time.
FRESH_S = 0.1
# After a `close` response, input is discarded for this time. Otherwise the client might lose the response.
LINGER_S = 2


class Server:
    """Serves one listening socket until the instance is released and idle.

    In direct mode it also serves the sockets that the instances of the pool share, to which any client can connect."""

    def __init__(self, listener, application, instance, shared=()):
        limits = instance.identity.limits
        self.application = application
        self.instance = instance
        self.counts = instance.counts
        self.max_head_bytes = limits["maxHeadBytes"]
        self.max_body_bytes = limits["maxBodyBytes"]
        self.head_timeout_s = limits["headTimeoutMs"] / 1000
        self.body_timeout_s = limits["bodyTimeoutMs"] / 1000
        self._max_connections = limits["maxConnections"]
        self.base_environ = {
            "SCRIPT_NAME": "",
            "REMOTE_ADDR": "",
            "SERVER_SOFTWARE": "paceline",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
        }
        self._listener = listener
        self._connections = {}
        # When a connection must have sent its head, or a closed one is dropped.
        self.deadlines = {}
        # Connections that have already received their next request.
        self.buffered = deque()
        self._quiet_turns = 0
        self._refuses = False
        self._fresh_until = 0.0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._poller = select.poll()
        self._listeners = {each.fileno(): each for each in (listener, *shared)}
        for fd in self._listeners:
            self._poller.register(fd, select.POLLIN)
        # Connections of direct clients that wait for a request, the oldest first, with the start of the wait.
        self.idle = {}
        self._idle_s = KEEP_ALIVE_S
        self._poller.register(self._wake_read, select.POLLIN)

    def serve(self, connection, head):
        """Serves a request whose head has arrived."""
        connection.serve(head)
        if connection.has_next:
            self.buffered.append(connection)

    def rests(self, connection):
        """A direct client may send its next request."""
        self.idle.pop(connection, None)
        self.idle[connection] = monotonic()

    def linger(self, connection):
        """Schedules the close of a connection without further requests."""
        self.deadlines[connection] = monotonic() + LINGER_S

    def wake(self):
        """Wakes the loop; any thread may call this."""
        try:
            os.write(self._wake_write, b"w")
        except (BlockingIOError, OSError):
            pass  # The loop is awake, or has ended.

    def run(self):
        """Runs the loop until the instance is done."""
        poll = self._poller.poll
        connections = self._connections
        deadlines = self.deadlines
        buffered = self.buffered
        instance = self.instance
        timeout = None
        while True:
            events = poll(timeout)
            for fd, _ in events:
                connection = connections.get(fd)
                if connection is not None:
                    connection.on_readable()
                elif fd == self._wake_read:
                    self._take_wakes()
                else:
                    self._accept(self._listeners.get(fd))
            if not (deadlines or buffered or instance.is_leaving or self.idle or background.timers or background.deferred):
                timeout = None
                continue
            timeout = self._attend(bool(events))
            if timeout is None and instance.is_released and self._is_done():
                if self._refuses:
                    return
                self._refuse_more()
                timeout = 0

    def _attend(self, had_events):
        """Does other work than new requests. Returns the maximum wait of the next turn in milliseconds."""
        if self.instance.is_leaving and len(self._listeners) > 1:
            self._leave_shared()
        for _ in range(len(self.buffered)):
            self.buffered.popleft().go_on()
        now = monotonic()
        wait_s = None
        if self.deadlines:
            for connection in [each for each, deadline in self.deadlines.items() if deadline <= now]:
                del self.deadlines[connection]
                connection.on_deadline()
            if self.deadlines:
                wait_s = min(self.deadlines.values()) - now
        if self.idle:
            idle_s = self._close_idle(now)
            if idle_s is not None:
                wait_s = idle_s if wait_s is None else min(wait_s, idle_s)
        if background.timers is not None or background.deferred is not None:
            work_s = background.work(now, self.counts.started)
            if forks.is_child:
                forks.end("a timer or a deferred job")
            if work_s is not None:
                wait_s = work_s if wait_s is None else min(wait_s, work_s)
        if self.buffered:
            wait_s = 0
        if self.instance.is_released:
            self._quiet_turns = 0 if had_events or self.buffered else self._quiet_turns + 1
            if not self._is_done():
                return 0 if self._quiet_turns < QUIET_TURNS_AT_END else _milliseconds(wait_s, 10)
            return None
        return None if wait_s is None else _milliseconds(wait_s, None)

    def _close_idle(self, now):
        """Closes connections that have been idle for too long. Returns how long the next one has been idle; None if there is
        none."""
        while self.idle:
            connection, since = next(iter(self.idle.items()))
            left_s = since + self._idle_s - now
            if left_s > 0:
                return left_s
            connection.close()
        return None

    def _leave_shared(self):
        """Starts a drain: the shared sockets are left to other processes, and idle connections end soon."""
        for fd, listener in list(self._listeners.items()):
            if listener is not self._listener:
                del self._listeners[fd]
                self._poller.unregister(fd)
                listener.close()
        self._idle_s = IDLE_DRAIN_S
        now = monotonic()
        for connection in self.idle:
            self.idle[connection] = now

    def _refuse_more(self):
        """Refuses further connections and serves those that wait, because closing the socket would reset them."""
        self._refuses = True
        self._fresh_until = monotonic() + FRESH_S
        self._quiet_turns = 0
        self._poller.unregister(self._listener)
        try:
            self._listener.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # Not Linux.
        self._accept(self._listener)

    def _is_done(self):
        return not self.idle and self._quiet_turns >= QUIET_TURNS_AT_END and background.unfinished() == 0 and not self._expects_request()

    def _expects_request(self):
        if any(not connection.is_lingering for connection in self.deadlines):
            return True
        return monotonic() < self._fresh_until and any(each.is_fresh for each in self._connections.values())

    def _take_wakes(self):
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass

    def _accept(self, listener):
        if listener is None:
            return
        is_own = listener is self._listener
        while True:
            try:
                accepted, address = listener.accept()
            except BlockingIOError:
                return
            except OSError:
                # For example, there are no free descriptors: the connection waits in the kernel's queue.
                return
            if self._count() >= self._max_connections:
                accepted.close()
                continue
            accepted.setblocking(False)
            connection = Connection(self, accepted, None if is_own else address[0])
            if not is_own:
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.rests(connection)
            self._attach(connection)
            # A request usually arrives together with its connection.
            connection.on_readable()

    def _count(self):
        return len(self._connections)

    def _attach(self, connection):
        fd = connection.fileno()
        self._connections[fd] = connection
        self._poller.register(fd, select.POLLIN)

    def _detach(self, connection):
        fd = connection.fileno()
        if self._connections.pop(fd, None) is not None:
            self._poller.unregister(fd)

    def forget(self, connection):
        """Removes a connection that is about to be closed."""
        self._detach(connection)
        self.deadlines.pop(connection, None)
        self.idle.pop(connection, None)

    def connections(self):
        """Returns all connections; any thread may call this."""
        return list(self._connections.values())

    def close_sockets(self):
        """Closes a forked child's copies of the sockets."""
        for listener in self._listeners.values():
            listener.close()
        for connection in self._connections.values():
            connection.close_socket()

    def close(self):
        for listener in self._listeners.values():
            listener.close()
        try:
            os.unlink(self.instance.identity.socket)
        except OSError:
            pass
        for connection in list(self._connections.values()):
            connection.close()


def _milliseconds(seconds, most):
    """Converts seconds to whole milliseconds for a poll, at most `most`, which also replaces None."""
    if seconds is None:
        return most
    milliseconds = max(0, seconds * 1000)
    # Rounded up: ending just before a deadline would cause many polls without a wait.
    milliseconds = int(milliseconds) + (milliseconds > 0)
    return milliseconds if most is None else min(most, milliseconds)
