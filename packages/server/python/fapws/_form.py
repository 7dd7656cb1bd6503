"""Parses queries and forms for `fapws.params`, and provides `wsgi.input` with `getvalue()`."""

import re
from io import BytesIO
from urllib.parse import parse_qs

from . import config


class Refused(Exception):
    """Raised when a request is refused; has the status and its one-line reason."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status
        self.reason = reason


def parse_query(query):
    """
    Parses a query or an urlencoded body (str or bytes) into a dictionary of lists. Text is decoded as UTF-8; invalid bytes
    become surrogates, which are sent as the same bytes. Raises Refused beyond `config.max_form_fields`.
    """
    if not query:
        return {}
    try:
        return parse_qs(
            _in_ascii(query),
            keep_blank_values=True,
            encoding="utf-8",
            errors="surrogateescape",
            max_num_fields=config.max_form_fields,
        )
    except ValueError as error:
        raise Refused(400, "too many fields") from error


_NOT_ASCII = re.compile("[\x80-\xff]")


def _in_ascii(query):
    """Percent-encodes each non-ASCII byte, as clients should."""
    if isinstance(query, str):
        # WSGI text represents bytes; text with other characters was made by the script.
        query = query.encode("latin-1" if all(character <= "\xff" for character in query) else "utf-8")
    text = bytes(query).decode("latin-1")
    return text if text.isascii() else _NOT_ASCII.sub(lambda found: f"%{ord(found[0]):02X}", text)


class Input:
    """Wraps WSGI's input and adds FAPWS's `getvalue()`: returns everything unread and leaves it readable."""

    def __init__(self, stream, length):
        self._read_from(stream, length)

    def _read_from(self, stream, length):
        self._stream = stream
        self._length = length
        self.read = stream.read
        self.readline = stream.readline
        self.readlines = stream.readlines

    def __iter__(self):
        return iter(self._stream)

    def getvalue(self):
        limit = config.max_form_bytes
        if self._length is not None and self._length > limit:
            raise Refused(413, f"a body of more than {limit} bytes is not kept in memory")
        # Reads one byte more than allowed, to detect a body without a length that is too long.
        data = self._stream.read(limit + 1)
        if len(data) > limit:
            raise Refused(413, f"a body of more than {limit} bytes is not kept in memory")
        self._read_from(BytesIO(data), len(data))
        return data


def length_of(environ):
    """Returns the Content-Length of a request; None without one."""
    text = environ.get("CONTENT_LENGTH")
    return int(text) if text not in (None, "") else None


def has_form(environ):
    """Whether the body is an urlencoded form."""
    if environ.get("REQUEST_METHOD") in ("GET", "HEAD"):
        return False
    return (environ.get("CONTENT_TYPE") or "").split(";")[0].strip().lower() == "application/x-www-form-urlencoded"
