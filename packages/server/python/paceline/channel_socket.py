"""The connection to the supervisor: bounded lines in both directions, and the times of further attempts to connect."""

import os
import select
import socket
import stat
import sys
from time import monotonic, time_ns

from .output import log

CHANNEL_VERSION = 1
MAX_LINE_BYTES = 1 << 20
RETRY_S = 0.25
STDOUT = 1


def hello(identity, role, phase, **more):
    """The first message on each connection."""
    return {
        "type": "hello",
        "channelVersion": CHANNEL_VERSION,
        "token": identity.token,
        "role": role,
        "pool": identity.pool,
        "name": identity.name,
        "attempt": identity.attempt,
        "generation": identity.generation,
        "pid": os.getpid(),
        "runtime": "python %d.%d.%d" % sys.version_info[:3],
        "phase": phase,
        **({"version": identity.spec["version"]} if "version" in identity.spec else {}),
        **more,
    }


class ChannelSocket:
    """The base class of the control channel, which has `_say_hello` and `_hear(line)`. Its members belong to the channel's
    thread."""

    def __init__(self, identity):
        self._identity = identity
        self._socket = None
        self._received = b""
        self._waiting = bytearray()
        self._poller = select.poll()
        # Deadlines: for the welcome, for the next connection attempt, and for serving without a supervisor. None if not active.
        self._welcome_by = None
        self._retry_at = None
        self._orphan_at = None

    def _connect(self):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._received = b""
        self._waiting.clear()
        try:
            self._socket.connect(self._identity.channel)
        except OSError:
            # A unix socket connects at once or fails.
            self._lose(None)
            return
        self._say_hello()

    def _say(self, text):
        if self._socket is None:
            return False
        if len(self._waiting) > MAX_LINE_BYTES:
            self._lose("the supervisor does not read")
            return False
        self._waiting += text.encode("utf-8", "backslashreplace") + b"\n"
        self._write()
        return self._socket is not None

    def _write(self):
        try:
            while self._waiting:
                del self._waiting[: self._socket.send(self._waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self._lose("the control channel was closed")
            return
        wanted = select.POLLIN | select.POLLOUT if self._waiting else select.POLLIN
        self._poller.modify(self._socket, wanted)

    def _on_socket(self, events):
        if events & select.POLLOUT:
            self._write()
        if events & ~select.POLLOUT == 0 or self._socket is None:
            return
        try:
            received = self._socket.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._lose("the control channel was closed")
            return
        *lines, self._received = (self._received + received).split(b"\n")
        if len(self._received) > MAX_LINE_BYTES:
            self._lose("the supervisor wrote a line that is too long")
            return
        for line in lines:
            if self._socket is None:
                return
            self._hear(line)

    def _lose(self, why):
        if self._socket is None:
            return
        if why is not None:
            log(f"{why}; trying again")
        self._drop_socket()
        now = monotonic()
        if self._orphan_at is None:
            self._orphan_at = now + self._identity.spec["orphanGraceMs"] / 1000
        self._retry_at = now + RETRY_S
        _mark_alive()

    def _drop_socket(self):
        try:
            self._poller.unregister(self._socket)
        except (KeyError, ValueError):
            pass
        self._socket.close()
        self._socket = None
        self._welcome_by = None


def _mark_alive():
    """Like `markAlive` of packages/wire/src/control/protocol.ts."""
    try:
        found = os.fstat(STDOUT)
        if stat.S_ISREG(found.st_mode):
            os.utime(STDOUT, ns=(time_ns(), found.st_mtime_ns))
    except OSError:
        pass  # The next supervisor knows only an earlier time.
