"""A non-blocking socket to a client: sends completely, and limits the time of waits by the amount of data transferred."""

import select
import socket
from time import monotonic

from .errors import ClientGone

READ_BYTES = 65_536
# All waits of a request together are limited to this time per byte, that is at least 1,000 bytes/s, in addition to the timeout
# of each wait.
SLOWEST_S_PER_BYTE = 0.001
# How many sent bytes the socket may hold that the peer has not read.
SOCKET_BYTES = 262_144

_POLLRDHUP = getattr(select, "POLLRDHUP", 0)


class Stream:
    """The socket of a connection, whose `on_too_slow` is called when a wait takes too long."""

    __slots__ = ("_fd", "_moved", "_socket", "_timeout_s", "_waited", "is_waiting")

    def __init__(self, accepted, timeout_s):
        """`timeout_s`: the longest wait for the client."""
        self._socket = accepted
        self._fd = accepted.fileno()
        self._timeout_s = timeout_s
        # Whether a request waits until its client sends or reads.
        self.is_waiting = False
        # Seconds spent waiting for the client during this request, and bytes transferred.
        self._waited = 0.0
        self._moved = 0

    def fileno(self):
        return self._fd

    @property
    def is_open(self):
        return self._socket is not None

    def close_socket(self):
        """Closes this process's copy of the socket, in a forked child."""
        if self._socket is not None:
            self._socket.close()

    def has_left(self):
        """Whether the client has disconnected; a FIN during a request counts."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except (OSError, AttributeError):
            return True

    # Sending. After `close` there is no socket, which raises AttributeError.

    def send(self, data):
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except (OSError, AttributeError) as error:
            raise ClientGone("the client left") from error
        self._moved += sent
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def send_pieces(self, *pieces):
        """Sends several large pieces without copying them into one."""
        try:
            sent = self._socket.sendmsg(pieces)
        except BlockingIOError:
            sent = 0
        except (OSError, AttributeError) as error:
            raise ClientGone("the client left") from error
        self._moved += sent
        for piece in pieces:
            if sent >= len(piece):
                sent -= len(piece)
                continue
            self._send_rest(memoryview(piece)[sent:])
            sent = 0

    def _send_rest(self, rest):
        while rest:
            self.wait_to_send()
            try:
                sent = self._socket.send(rest)
            except BlockingIOError:
                continue
            except OSError as error:
                raise ClientGone("the client left") from error
            self._moved += sent
            rest = rest[sent:]

    def moved(self, count):
        """Counts bytes that were transferred without this object."""
        self._moved += count

    def wait_to_send(self):
        self._wait(select.POLLOUT | _POLLRDHUP)

    def send_continue(self):
        self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Receiving the body of a request:

    def receive_body(self, most):
        """Returns at least one byte. Raises ClientGone at the end, or if the client is too slow."""
        while True:
            try:
                received = self._socket.recv(min(most, READ_BYTES))
            except BlockingIOError:
                self._wait(select.POLLIN)
                continue
            except (OSError, AttributeError) as error:
                raise ClientGone("the client left") from error
            if not received:
                raise ClientGone("the client left before its request was whole")
            self._moved += len(received)
            return received

    def _wait(self, events):
        """Waits until the socket is ready. Limits each wait, and all waits of a request by the bytes transferred."""
        timeout = self._timeout_s
        left = timeout + self._moved * SLOWEST_S_PER_BYTE - self._waited
        # The balancer judges slow clients. It may take many bytes at once and then nothing for a long time.
        if events & select.POLLOUT:
            left = timeout + max(0, self._moved - SOCKET_BYTES) * SLOWEST_S_PER_BYTE - self._waited
            timeout = left
        poller = select.poll()
        poller.register(self._fd, events)
        before = monotonic()
        self.is_waiting = True
        happened = poller.poll(max(0.0, min(timeout, left)) * 1000)
        self.is_waiting = False
        self._waited += monotonic() - before
        if not happened:
            self.on_too_slow()
            raise ClientGone("the client was too slow")
        if happened[0][1] & _POLLRDHUP and events & select.POLLOUT:
            raise ClientGone("the client left")
