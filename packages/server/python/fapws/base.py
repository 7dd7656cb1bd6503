"""The default module for `_evwsgi.set_base_module`: provides Environ and Start_response."""

import datetime
import sys
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie

from paceline.response_fields import HOP_BY_HOP

from . import config
from ._dates import rfc1123_date
from ._headers import Headers
from ._text import header_text, to_text

#: The methods for which callbacks are called; others get 501. OPTIONS is handled here, unless a script appends it.
supported_HTTP_command = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

#: Reason phrases by status.
status_reasons = {status.value: status.phrase for status in HTTPStatus}


class Environ(dict):
    """A request: WSGI's keys and those of FAPWS."""

    def __missing__(self, key):
        # Created on demand: few scripts use it, and it costs more than the rest of the dictionary.
        if key == "fapws.raw_header":
            self[key] = _raw_header(self)
            return self[key]
        raise KeyError(key)

    def get(self, key, default=None):
        try:
            return self[key]
        except KeyError:
            return default

    # Hooks for a script's own base module.

    def update_headers(self, data):
        self.update(data)

    def update_uri(self, data):
        self.update(data)

    def update_method(self, data):
        self.update(data)

    def update_from_request(self, data):
        self.update(data)


def _raw_header(environ):
    lines = [f"{environ['REQUEST_METHOD']} {environ['fapws.uri']} {environ['SERVER_PROTOCOL']}"]
    for key, value in environ.items():
        if key.startswith("HTTP_") and key not in ("HTTP_PROTOCOL", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
            lines.append(f"{key[5:].replace('_', '-').title()}: {value}")
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key) not in (None, ""):
            lines.append(f"{key.replace('_', '-').title()}: {environ[key]}")
    return "\r\n".join(lines) + "\r\n\r\n"


class Start_response:
    """WSGI's start_response as an object: its arguments can be read and changed until the head is sent."""

    def __init__(self):
        self.status_code = "200"
        self.status_reasons = "OK"
        self._headers = Headers()
        self.cookies = None
        self.exc_info = None
        #: True once the head has been sent.
        self.sent = False
        # Set by the server: sends the head and accepts blocks from `write`.
        self._commit = None

    def __call__(self, status, headers=(), exc_info=None):
        if self.sent:
            if exc_info:
                raise exc_info[1].with_traceback(exc_info[2])
            raise AssertionError("start_response was called again after the head had left")
        code, _, reason = to_text(status).partition(" ")
        self.status_code, self.status_reasons = code, reason
        self._headers = Headers(headers)
        self.exc_info = exc_info
        return self.write

    def write(self, data):
        """Sends a block at once, before the callback's result. WSGI provides it for old frameworks."""
        if self._commit is None:
            raise RuntimeError("write() works only under a server")
        self._commit(data)

    def add_header(self, key, val):
        """Adds a field. It replaces one of the same name, unless that may occur several times, as Set-Cookie may."""
        self.response_headers.add(key, val)

    def set_cookie(
        self,
        key,
        value="",
        max_age=None,
        expires=None,
        path="/",
        domain=None,
        secure=None,
        httponly=False,
        samesite=None,
    ):
        """Sets a response cookie. `max_age` is in seconds; `expires` is a datetime (naive: local time) or text."""
        if self.cookies is None:
            self.cookies = SimpleCookie()
        key = to_text(key)
        self.cookies[key] = to_text(value)
        morsel = self.cookies[key]
        if max_age is not None:
            morsel["max-age"] = int(max_age)
        if isinstance(expires, datetime.datetime):
            morsel["expires"] = rfc1123_date(expires.timestamp())
        elif isinstance(expires, (str, bytes)):
            morsel["expires"] = to_text(expires)
        elif expires is not None:
            raise CookieError("expires must be a datetime or text")
        for name, attribute in (("path", path), ("domain", domain), ("samesite", samesite)):
            if attribute is not None:
                morsel[name] = to_text(attribute)
        if secure:
            morsel["secure"] = True
        if httponly:
            morsel["httponly"] = True

    def delete_cookie(self, key, path="/", domain=None):
        """Makes the client delete a cookie that was set with the same path and domain."""
        self.set_cookie(key, max_age=0, expires="Thu, 01 Jan 1970 00:00:00 GMT", path=path, domain=domain)

    @property
    def response_headers(self):
        """The response's fields without its cookies, as a mapping."""
        return self._headers

    @response_headers.setter
    def response_headers(self, fields):
        self._headers = fields if isinstance(fields, Headers) else Headers(dict(fields).items())

    @property
    def status(self):
        """The status line without the protocol. Raises ValueError for an invalid one."""
        if self.status_code == "200" and self.status_reasons == "OK":
            return "200 OK"
        code = to_text(self.status_code)
        if len(code) != 3 or not code.isascii() or not code.isdigit() or code[0] not in "2345":
            raise ValueError(f"a status is 200 to 599, not {code!r}")
        reason = header_text(self.status_reasons, "a status") or status_reasons.get(int(code), "Status")
        return f"{code} {reason}"

    def header_list(self):
        """Returns the fields and cookies for WSGI, without fields that only the server may set."""
        pairs = [pair for pair in self._headers.pairs() if pair[0].lower() not in HOP_BY_HOP]
        for morsel in (self.cookies or {}).values():
            pairs.append(("Set-Cookie", header_text(morsel.OutputString(), "a cookie")))
        return pairs


def parse_cookies(environ):
    """Returns the request's cookies as a SimpleCookie; None without cookies. Malformed cookies are skipped."""
    text = environ.get("HTTP_COOKIE")
    if not text:
        return None
    cookies = SimpleCookie()
    # Parsed one by one, because SimpleCookie drops all cookies if one is malformed.
    for part in to_text(text).split(";")[:_MAX_COOKIES]:
        try:
            cookies.load(part.strip())
        except CookieError:
            continue
    return cookies


_MAX_COOKIES = 200


def split_len(seq, length):
    """Splits `seq` into pieces of `length`, for a body that is sent in blocks."""
    return [seq[start : start + length] for start in range(0, len(seq), length)]


def redirectStdErr():
    """Writes printed text to the log without delay. FAPWS collected stderr; Paceline keeps it for each instance."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)


__all__ = [
    "Environ",
    "Start_response",
    "config",
    "parse_cookies",
    "redirectStdErr",
    "split_len",
    "status_reasons",
    "supported_HTTP_command",
]
