"""`wsgi.input`: a body read completely before the app is called, or on demand for Expect: 100-continue."""

import io
import os

from .errors import BadRequest

# A body is kept in memory up to this size, then in an unnamed file.
SPOOL_BYTES = 512 << 10
# The balancer's limits for the line of a chunk. Legitimate clients send no extensions.
MAX_SIZE_DIGITS = 13
MAX_CHUNK_EXTENSION_BYTES = 256
MAX_CHUNK_LINE_BYTES = MAX_SIZE_DIGITS + 1 + MAX_CHUNK_EXTENSION_BYTES
# The limit for the extensions of a body, in addition to an allowance for its data and for each chunk.
MAX_EXTENSION_BYTES = 16_384
EXCUSED_PER_CHUNK = 16
MAX_TRAILER_BYTES = 8192


class Spool:
    """Collects a body as it arrives, so that no view starts with an incomplete one."""

    def __init__(self):
        self._file = io.BytesIO()
        self.length = 0

    def add(self, data):
        self.length += len(data)
        if self.length > SPOOL_BYTES and isinstance(self._file, io.BytesIO):
            memory = self._file
            self._file = nameless_file()
            self._file.write(memory.getbuffer())
        self._file.write(data)

    def file(self):
        """Returns the body as a file, positioned at its beginning."""
        self._file.seek(0)
        return self._file


class SocketBody(io.RawIOBase):
    """The rest of a body of known length, read when the app asks for it."""

    def __init__(self, connection, received, remaining, expects_continue):
        """`remaining` bytes follow those `received`."""
        self._connection = connection
        self._received = received
        self._remaining = remaining
        self._expects_continue = expects_continue

    @property
    def unread(self):
        return len(self._received) + self._remaining

    def readable(self):
        return True

    def readinto(self, buffer):
        received = self._received
        if not received:
            if self._remaining == 0:
                return 0
            received = self._receive(min(self._remaining, 65_536))
        count = min(len(buffer), len(received))
        buffer[:count] = received[:count]
        self._received = received[count:]
        return count

    def _receive(self, most):
        if self._expects_continue:
            self._expects_continue = False
            self._connection.send_continue()
        received = self._connection.receive_body(most)
        self._remaining -= len(received)
        return received

    def read(self, size=-1):
        if size is None or size < 0:
            size = self.unread
        # Joined incrementally, because many small pieces would take more memory than their content.
        joined = b""
        while size > 0 and self.unread:
            received = self._received or self._receive(min(self._remaining, 65_536))
            self._received = received[size:]
            taken = received[:size]
            size -= len(taken)
            joined = _joined(joined, taken)
        return bytes(joined)

    def readline(self, size=-1):
        if size is None or size < 0:
            size = self.unread
        joined = b""
        while size > 0 and self.unread:
            received = self._received or self._receive(min(self._remaining, 65_536))
            end = received.find(b"\n", 0, size) + 1
            taken = received[: end or size]
            self._received = received[len(taken) :]
            joined = _joined(joined, taken)
            size -= len(taken)
            if end:
                break
        return bytes(joined)

    def readall(self):
        return self.read()

    def close(self):
        """Apps must not close it (PEP 3333)."""


def _joined(first, second):
    if not first:
        return second
    joined = first if isinstance(first, bytearray) else bytearray(first)
    joined += second
    return joined


class ChunkedReader:
    """Reads a chunked body to its end. Raises ClientGone, and BadRequest if it is malformed or too large."""

    def __init__(self, connection, received, max_bytes):
        self._connection = connection
        self._received = received
        self._max_bytes = max_bytes
        self._spool = Spool()
        self._extensions = 0

    def read(self):
        """Returns the body as a file at its beginning, its length, and the bytes after it."""
        while True:
            size = self._chunk_size()
            if size == 0:
                break
            if self._spool.length + size > self._max_bytes:
                raise BadRequest(413)
            self._take(size)
            if self._exactly(2) != b"\r\n":
                raise BadRequest(400)
        self._skip_trailers()
        return self._spool.file(), self._spool.length, self._received

    def _chunk_size(self):
        line = self._line(MAX_CHUNK_LINE_BYTES)
        digits, semicolon, extension = line.partition(b";")
        if semicolon:
            # RFC 9112 §7.1.1 allows whitespace only before an extension.
            digits = digits.rstrip(b" \t")
        if not digits or len(digits) > MAX_SIZE_DIGITS or digits.translate(None, b"0123456789abcdefABCDEF"):
            raise BadRequest(400)
        if any(byte < 32 and byte != 9 or byte == 127 for byte in extension):
            raise BadRequest(400)
        size = int(digits, 16)
        if semicolon:
            excused = size + EXCUSED_PER_CHUNK
            self._extensions = max(0, self._extensions + len(line) - len(digits) - excused)
            if self._extensions > MAX_EXTENSION_BYTES:
                raise BadRequest(400)
        return size

    def _skip_trailers(self):
        total = 0
        while True:
            line = self._line(MAX_TRAILER_BYTES)
            if not line:
                return
            total += len(line)
            if total > MAX_TRAILER_BYTES or b":" not in line:
                raise BadRequest(400)

    def _line(self, most):
        while True:
            end = self._received.find(b"\r\n")
            if end >= 0:
                break
            if len(self._received) > most:
                raise BadRequest(400)
            self._received += self._connection.receive_body(65_536)
        line = self._received[:end]
        if len(line) > most or b"\n" in line or b"\r" in line:
            raise BadRequest(400)
        self._received = self._received[end + 2 :]
        return line

    def _exactly(self, count):
        while len(self._received) < count:
            self._received += self._connection.receive_body(65_536)
        taken = self._received[:count]
        self._received = self._received[count:]
        return taken

    def _take(self, size):
        while size > 0:
            received = self._received or self._connection.receive_body(65_536)
            self._spool.add(received[:size])
            self._received = received[size:]
            size -= min(size, len(received))


def nameless_file():
    """Returns a temporary file that disappears when closed."""
    folder = os.environ.get("TMPDIR") or "/tmp"
    try:
        return open(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "w+b")
    except (AttributeError, OSError):
        # Not Linux, or the file system does not support it.
        import tempfile

        return tempfile.TemporaryFile()


