"""One response: `start_response` and `write` of PEP 3333, and sending the body."""

import os
from collections.abc import Iterable, Mapping

from .response_fields import (
    HOP,
    LENGTH,
    ORDINARY,
    check_status,
    check_value,
    date_line,
    known_names,
    known_statuses,
    learn_name,
    plain_text,
    reported_hops,
)
from .errors import ClientGone
from .file_wrapper import FileWrapper, regular_file

# Up to this size, head and body are sent as one piece, which is cheaper than two.
JOINED_BYTES = 65_536
SENDFILE_BYTES = 1 << 20


class Response:
    """Belongs to one request, whose framing determines what its client accepts."""

    __slots__ = (
        "_body_bytes",
        "_connection",
        "_content_length",
        "_fields",
        "_is_bodiless",
        "_is_chunked",
        "_is_ended",
        "_is_head",
        "_is_over",
        "_request",
        "_status_line",
        "head_sent",
        "keep_alive",
        "says_when_done",
        "status",
    )

    def __init__(self, connection, request, is_head):
        self._connection = connection
        self._request = request
        self._is_head = is_head
        self._status_line = None
        self._fields = None
        self._content_length = None
        self._is_chunked = False
        self._is_bodiless = False
        # The app returned more than it had announced; the rest is dropped.
        self._is_over = False
        self._is_ended = False
        self._body_bytes = 0
        self.status = 0
        self.head_sent = False
        # Set together with the head.
        self.keep_alive = request.keep_alive
        self.says_when_done = False

    # Called by the app:

    def start_response(self, status, response_headers, exc_info=None):
        if exc_info is not None:
            try:
                if self.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._status_line is not None:
            raise AssertionError("start_response was called twice without exc_info")
        line = known_statuses.get(status) if type(status) is str else None
        if line is None:
            line = check_status(status)
        if type(response_headers) is not list and (
            isinstance(response_headers, (str, bytes, Mapping)) or not isinstance(response_headers, Iterable)
        ):
            raise AssertionError(f"response_headers is a sequence of pairs, not {type(response_headers).__name__}")
        length = None
        has_date = False
        fields = ""
        for name, value in response_headers:
            if type(name) is not str:
                name = plain_text(name, "a field's name")
            kind = known_names.get(name)
            if kind is None:
                kind = learn_name(name)
            if type(value) is not str:
                value = plain_text(value, f"the value of {name}")
            if not value.isprintable():
                check_value(name, value)
            if kind is not ORDINARY:
                if kind is HOP:
                    self._leave_out(name)
                    continue
                if kind is LENGTH:
                    value = value.strip(" \t")
                    if length is not None or not (value.isascii() and value.isdigit()):
                        raise AssertionError(f"Content-Length is one whole number, not {value!r}")
                    length = int(value)
                    continue
                has_date = True
            fields += f"{name}: {value}\r\n"
        if not has_date:
            fields += date_line()
        if not fields.isascii():
            try:
                fields.encode("latin-1")
            except UnicodeEncodeError as error:
                raise AssertionError(f"a field has characters outside ISO-8859-1: {error}") from None
        self._status_line = line
        self.status = int(status[:3])
        self._fields = fields
        self._content_length = length
        self._is_bodiless = self._is_head or self.status == 204 or self.status == 304
        return self.write

    def write(self, block):
        """Sends a block of the body. The first non-empty block is sent with the head."""
        if not block:
            if not isinstance(block, bytes):
                raise AssertionError(f"a body is made of bytes, not {type(block).__name__}")
            return
        if not isinstance(block, bytes):
            raise AssertionError(f"a body is made of bytes, not {type(block).__name__}")
        if not self.head_sent:
            self._send(self._head(None), self._admit(block))
        else:
            if self._connection.has_left():
                raise ClientGone("the client left")
            self._send(b"", self._admit(block))

    def _leave_out(self, name):
        known = name.lower()
        if known not in reported_hops:
            reported_hops.add(known)
            self._connection.complain(f"{name} belongs to the server (PEP 3333): it is dropped, here and from now on")

    # Called by the server:

    def send_result(self, result):
        """Sends the app's complete result."""
        kind = type(result)
        if (kind is list or kind is tuple) and not self.head_sent:
            body = result[0] if len(result) == 1 else b"".join(result)
            if not isinstance(body, bytes):
                raise AssertionError(f"a body is made of bytes, not {type(body).__name__}")
            self._send_whole(body)
            return
        if kind is FileWrapper and not self.head_sent and self._send_file(result):
            return
        for block in result:
            self.write(block)
            # The rest is not needed: the HEAD response or the announced length is complete.
            if self._is_over or (self._is_bodiless and self.head_sent):
                break
        self._end()

    @property
    def is_whole(self):
        """Whether the complete response was sent."""
        if not self.head_sent:
            return False
        length = self._content_length
        return self._is_ended or self._is_bodiless or (length is not None and self._body_bytes >= length)

    def send_error(self):
        """Sends an error in place of a response of which no part was sent."""
        body = b"Internal Server Error\n"
        self._status_line = None
        self.start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        self._send_whole(body)

    def _send_whole(self, body):
        head = self._head(len(body), False)
        self.head_sent = True
        self._send(head, self._admit(body) if body else b"")
        self._check_length()

    def _end(self):
        if not self.head_sent:
            self._send(self._head(0), b"")
        elif self._is_chunked:
            self._connection.send(b"0\r\n\r\n")
        self._is_ended = True
        self._connection.reset_at_close(False)
        self._check_length()

    def _check_length(self):
        """Closes the connection if the body is too short, so that it does not look complete."""
        announced = self._content_length
        if announced is not None and not self._is_bodiless and self._body_bytes < announced:
            self.keep_alive = False
            self._connection.complain(f"the app gave {self._body_bytes} of the {announced} bytes of its Content-Length")

    def _head(self, body_length, may_work_on=True):
        """Returns the head's bytes, with the framing that the known properties of the body allow.

        `may_work_on`: whether the app may continue to work on the request after the end of its response."""
        line = self._status_line
        if line is None:
            raise AssertionError("the app returned a body before it called start_response")
        request = self._request
        length = self._content_length
        framing = ""
        if self.status == 204:
            length = None
        elif length is None and self.status != 304:
            if body_length is not None and (body_length or not self._is_head):
                self._content_length = length = body_length
            elif self._is_head:
                pass
            elif request.is_http_11:
                self._is_chunked = True
                framing = "Transfer-Encoding: chunked\r\n"
            else:
                self.keep_alive = False
                self._connection.reset_at_close(True)
        if length is not None:
            framing = f"Content-Length: {length}\r\n"
        if not self._connection.may_keep():
            self.keep_alive = False
        if not self.keep_alive:
            framing += "Connection: close\r\n"
        elif not request.is_http_11:
            framing += "Connection: keep-alive\r\n"
        elif may_work_on and self._connection.client is None:
            self.says_when_done = True
            framing += "Connection: paceline-working\r\n"
        return f"{line}{self._fields}{framing}\r\n".encode("latin-1")

    def _admit(self, block):
        """Returns the part of a block that may be sent."""
        if self._is_bodiless:
            return b""
        announced = self._content_length
        if announced is not None and self._body_bytes + len(block) > announced:
            block = block[: announced - self._body_bytes]
            self._is_over = True
            self._connection.complain(f"the app gave more than the {announced} bytes of its Content-Length; they are cut")
        self._body_bytes += len(block)
        return block

    def _send(self, head, block):
        self.head_sent = True
        if self._is_chunked and block:
            head += b"%x\r\n" % len(block)
            if len(block) <= JOINED_BYTES:
                self._connection.send(head + block + b"\r\n")
            else:
                self._connection.send_pieces(head, block, b"\r\n")
        elif len(block) <= JOINED_BYTES:
            self._connection.send(head + block)
        else:
            self._connection.send_pieces(head, block)

    def _send_file(self, wrapper):
        """Sends the file with sendfile. Returns False, before sending anything, if the file must be read instead."""
        file = regular_file(wrapper)
        if file is None:
            return False
        fd, position, size = file
        left = max(0, size - position)
        head = self._head(left)
        if self._content_length is not None:
            left = min(left, self._content_length)
        self._connection.send(head)
        self.head_sent = True
        if self._is_bodiless:
            return True
        connection = self._connection
        while left > 0:
            if connection.has_left():
                raise ClientGone("the client left")
            try:
                sent = os.sendfile(connection.fileno(), fd, position, min(left, SENDFILE_BYTES))
            except BlockingIOError:
                connection.wait_to_send()
                continue
            except (ConnectionError, TimeoutError) as error:
                raise ClientGone("the client left") from error
            except OSError:
                # The file system or socket type does not support sendfile.
                os.lseek(fd, position, os.SEEK_SET)
                block = os.read(fd, min(left, JOINED_BYTES))
                sent = len(block)
                connection.send(block)
            if sent == 0:
                break  # The file was truncated meanwhile.
            position += sent
            left -= sent
            self._body_bytes += sent
            connection.moved(sent)
        self._check_length()
        return True
