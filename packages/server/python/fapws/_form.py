"""Queries and forms: what `fapws.params` is made of, and the `wsgi.input` that scripts ask for its value."""

import re
from io import BytesIO
from urllib.parse import parse_qs

from . import config


class Refused(Exception):
    """What the client sent is not taken: the status and one line for it."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status
        self.reason = reason


def parse_query(query):
    """
    A query or an urlencoded body (str or bytes) as a dictionary of lists. Text is UTF-8; bytes that are none become surrogates, which
    go out as the same bytes. Raises Refused beyond `config.max_form_fields`.
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
    """With each byte that is no ASCII percent-encoded, as a careful client would have sent it."""
    if isinstance(query, str):
        # WSGI's text stands for bytes; what cannot is text that the script made itself.
        query = query.encode("latin-1" if all(character <= "\xff" for character in query) else "utf-8")
    text = bytes(query).decode("latin-1")
    return text if text.isascii() else _NOT_ASCII.sub(lambda found: f"%{ord(found[0]):02X}", text)


class Input:
    """WSGI's input, with the `getvalue()` that FAPWS had: all that has not been read yet, and may be read again."""

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
        # More than asked for is how a body without a length shows itself to be too long.
        data = self._stream.read(limit + 1)
        if len(data) > limit:
            raise Refused(413, f"a body of more than {limit} bytes is not kept in memory")
        self._read_from(BytesIO(data), len(data))
        return data


def length_of(environ):
    """The Content-Length of a request; None when it has none."""
    text = environ.get("CONTENT_LENGTH")
    return int(text) if text not in (None, "") else None


def has_form(environ):
    """Whether the body is an urlencoded form."""
    if environ.get("REQUEST_METHOD") in ("GET", "HEAD"):
        return False
    return (environ.get("CONTENT_TYPE") or "").split(";")[0].strip().lower() == "application/x-www-form-urlencoded"
