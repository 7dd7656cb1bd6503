"""Responses without a body."""

from html import escape
from urllib.parse import quote

from .._text import header_text, to_text
from ..base import status_reasons


def redirect(start_response, location, permanent=False):
    """Redirects the client to `location` with status 302, or 301 if `permanent`. Return its result from the callback."""
    # Encodes line breaks and other unsafe bytes; existing escapes stay.
    target = quote(_as_bytes(location), safe="/:?#[]@!$&'()*+,;=%~-._")
    status = 301 if permanent else 302
    start_response(get_status(status), [("Location", target), ("Content-Type", "text/html; charset=utf-8")])
    return [f'<a href="{escape(target)}">{escape(target)}</a>\n'.encode("ascii")]


def get_status(code):
    """Returns a status line such as `404 Not Found`."""
    return f"{code} {header_text(status_reasons.get(int(code), 'Status'), 'a status')}"


def _as_bytes(location):
    if isinstance(location, bytes):
        return location
    return to_text(location).encode("utf-8", "surrogateescape")
