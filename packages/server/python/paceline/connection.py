"""One connection of a balancer: reads a request, calls the app, and is reused if the framing allows it."""

import socket
import struct
import sys
from io import BytesIO
from time import monotonic, perf_counter

from . import exits, forks
from .response import Response
from .errors import REASONS, BadRequest, ClientGone
from .head import parse_head
from .output import log, log_error
from .request_body import ChunkedReader, SocketBody, Spool
from .stacks import request_text
from .stream import READ_BYTES, Stream

# Reports that the app is done with a request after its response. It is an interim response, which any client ignores.
DONE = b"HTTP/1.1 100 Continue\r\n\r\n"

# `struct linger` (socket(7)): whether `close` sends a reset instead of FIN.
_LINGER = {False: struct.pack("ii", 0, 0), True: struct.pack("ii", 1, 0)}


class Connection(Stream):
    """Belongs to the server's loop, which calls `on_readable`, `go_on` and `on_deadline`. `serve` may run on another thread."""

    __slots__ = (
        "_respond_now",
        "_began",
        "_body",
        "_buffer",
        "_environ",
        "_resets",
        "_server",
        "client",
        "is_fresh",
        "is_lingering",
    )

    def __init__(self, server, accepted, client=None):
        super().__init__(accepted, server.body_timeout_s)
        # The address of a direct client; None for the balancer, which states its client in fields.
        self.client = client
        self._server = server
        # Unused bytes: part of a head, or the next request.
        self._buffer = b""
        # Nothing was received yet.
        self.is_fresh = True
        self.is_lingering = False
        # The current request, and the part of its body that the app reads from the socket.
        self._environ = None
        self._body = None
        self._began = 0.0
        self._respond_now = None
        self._resets = False

    # Called by the loop:

    def on_readable(self):
        try:
            received = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        self.is_fresh = False
        if self.client is not None:
            self._server.idle.pop(self, None)
        if not received:
            self.close()
        elif not self.is_lingering:
            self._buffer = self._buffer + received if self._buffer else received
            self.go_on()

    def go_on(self):
        """Serves the request at the beginning of the buffer if its head is complete."""
        buffer = self._buffer
        server = self._server
        if self._socket is None:
            return
        # Skips an empty line before a request (RFC 9112 §2.2).
        start = 2 if buffer[:2] == b"\r\n" else 0
        end = buffer.find(b"\r\n\r\n", start)
        if end < 0 or end - start > server.max_head_bytes:
            if len(buffer) - start > server.max_head_bytes:
                self._refuse(431)
            else:
                server.deadlines.setdefault(self, monotonic() + server.head_timeout_s)
            return
        if server.deadlines:
            server.deadlines.pop(self, None)
        self._buffer = buffer[end + 4 :]
        server.serve(self, buffer[start:end])

    def serve(self, head):
        """Serves the request with this head."""
        server = self._server
        try:
            environ, request = parse_head(head, server.base_environ, self.client)
            self._waited = 0.0
            self._moved = 0
            self._take_body(environ, request)
        except BadRequest as bad:
            self._refuse(bad.status)
            return
        except ClientGone:
            self.close()
            return
        self._respond(environ, request)

    @property
    def has_next(self):
        """Whether bytes of another request have arrived."""
        return bool(self._buffer) and self._socket is not None and not self.is_lingering

    def on_deadline(self):
        if self.is_lingering:
            self.close()
        else:
            self._refuse(408)

    def close(self):
        if self._socket is None:
            return
        self._server.forget(self)
        self._socket.close()
        self._socket = None

    # One request:

    def _take_body(self, environ, request):
        """Reads the body, or prepares reading it, and puts it into the environ."""
        server = self._server
        self._environ = environ
        self._body = None
        if request.is_chunked:
            if request.expects_continue:
                self.send_continue()
            file, length, self._buffer = ChunkedReader(self, self._buffer, server.max_body_bytes).read()
            environ["wsgi.input"] = file
            environ["CONTENT_LENGTH"] = str(length)
            return
        length = request.length
        if length == 0:
            environ["wsgi.input"] = BytesIO()
            return
        if length > server.max_body_bytes:
            raise BadRequest(413)
        received = self._buffer
        if len(received) >= length:
            environ["wsgi.input"] = BytesIO(received[:length])
            self._buffer = received[length:]
            return
        self._buffer = b""
        if request.expects_continue:
            # The client waits for 100 Continue, which is sent when the app reads the body.
            self._body = SocketBody(self, received, length - len(received), not received)
            environ["wsgi.input"] = self._body
            return
        spool = Spool()
        spool.add(received)
        while spool.length < length:
            spool.add(self.receive_body(length - spool.length))
        environ["wsgi.input"] = spool.file()

    def _respond(self, environ, request):
        server = self._server
        counts = server.counts
        counts.begin()
        self._began = began = perf_counter()
        self._respond_now = response = Response(self, request, environ["REQUEST_METHOD"] == "HEAD")
        fatal = None
        try:
            result = server.application(environ, response.start_response)
            try:
                response.send_result(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except ClientGone:
            response.keep_alive = False
        except BaseException as error:
            if forks.is_child:
                forks.end(self.asked(), error)
            self._fail(response)
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                # The app ends its process; the client gets its response first.
                exits.say_raised(self.asked(), error)
                # Otherwise Python would print a second traceback and die of SIGINT, as if somebody had sent it.
                fatal = error if isinstance(error, SystemExit) else SystemExit(exits.INTERRUPTED)
        if forks.is_child:
            # The child's copy of the socket was closed, so no part of its response was sent.
            forks.end(self.asked())
        if response.status >= 500:
            counts.fail()
        counts.end(perf_counter() - began)
        self._respond_now = None
        if not response.keep_alive:
            self._end()
        elif response.says_when_done:
            self._say_done()
        elif self.client is not None and self._socket is not None:
            server.rests(self)
        if fatal is not None:
            raise fatal

    def _say_done(self):
        """Tells the balancer that this instance is free. The balancer waits for this message, or has already sent the next
        request."""
        if self._buffer or self._has_received_next():
            return
        try:
            self.send(DONE)
        except ClientGone:
            self.close()

    def _has_received_next(self):
        """Receives the bytes of the next request that have arrived. If the peer has closed, the loop closes the connection
        later."""
        try:
            received = self._socket.recv(READ_BYTES)
        except (OSError, AttributeError):
            return False
        self._buffer = received
        return bool(received)

    def _fail(self, response):
        """Handles an error of the app: responds with 500, or closes the connection if part of the response was sent."""
        self.complain("the app failed:")
        log_error(*sys.exc_info())
        if response.head_sent:
            response.keep_alive = False
            if response.status < 500:
                self._server.counts.fail()
            self.close()
            return
        try:
            response.send_error()
        except ClientGone:
            response.keep_alive = False

    def _refuse(self, status):
        reason = REASONS[status]
        body = f"{reason}\n"
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        try:
            self.send(f"{head}\r\n{body}".encode("ascii"))
        except ClientGone:
            pass
        self._end()

    def _end(self):
        """Ends the connection. Further input is discarded for a while, so that the client receives its response."""
        if self._socket is None:
            return
        self._buffer = b""
        if self._resets:
            self.close()
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.is_lingering = True
        self._server.linger(self)

    # Called by the response:

    def reset_at_close(self, resets):
        """While a direct client receives a body that only the end of the connection ends, the kernel resets the connection if it is
        closed or this process ends: with FIN, a part would look whole."""
        if self.client is None or self._resets == resets or self._socket is None:
            return
        self._resets = resets
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER[resets])
        except OSError:
            pass  # The client has left.

    def may_keep(self):
        """Whether the connection can be reused after this request."""
        body = self._body
        return not self._server.instance.is_leaving and (body is None or body.unread == 0)

    def complain(self, what):
        log(f"{self.asked()}: {what}")

    def on_too_slow(self):
        self.complain("the client was too slow")
        self.close()

    def describe(self):
        """Returns the current request, its duration in seconds, and whether it was abandoned."""
        response = self._respond_now
        is_complete = response is not None and response.is_whole
        return self.asked(), perf_counter() - self._began, is_complete or self.has_left()

    def progress(self):
        """Returns a value that changes whenever the request sends or receives data; None while no view runs, or it waits for its
        client.

        Any thread may call this."""
        if self._respond_now is None or self.is_waiting:
            return None
        return self._began, self._moved

    def asked(self):
        """Returns method and path of the current request."""
        environ = self._environ or {}
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        return request_text(environ.get("REQUEST_METHOD", "a request"), path)
