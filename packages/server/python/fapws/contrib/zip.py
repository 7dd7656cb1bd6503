"""`@zip.Gzip()`: compresses a callback's response for clients that accept gzip."""

import functools
import zlib

from .._body import Blocks, file_blocks, is_file
from .._intercept import Intercepted
from .._negotiation import takes_gzip

_GZIP = 16 + zlib.MAX_WBITS
#: Shorter bodies hardly shrink.
_MIN_BYTES = 200


class Gzip:
    """`level`: from 1 (fast) to 9 (small)."""

    def __init__(self, level=6):
        self.level = level

    def __call__(self, callback):
        @functools.wraps(callback)
        def wrapped(environ, start_response):
            return self._respond(Intercepted(callback, environ, start_response), environ)

        return wrapped

    def _respond(self, held, environ):
        result = held.result
        # A callback that uses `write` wants its blocks sent at once, so its response is not compressed.
        if held.gone:
            return result
        encode = False
        if _can_be_encoded(held.response):
            held.response.response_headers.add("Vary", "Accept-Encoding")
            long_enough = not isinstance(result, list) or sum(map(len, result)) >= _MIN_BYTES
            wanted = takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")) and environ["REQUEST_METHOD"] != "HEAD"
            encode = long_enough and wanted
        if encode:
            _say_encoded(held.response.response_headers)
        held.hand_on()
        if not encode:
            return result
        if isinstance(result, list):
            return [self._compress(b"".join(result))]
        pause = isinstance(result, Blocks)
        return _Compressed(file_blocks(result) if is_file(result) else result, self.level, pause)

    def _compress(self, data):
        compressor = zlib.compressobj(self.level, wbits=_GZIP)
        return compressor.compress(data) + compressor.flush()


class _Compressed:
    """Compresses block by block. With `at_once`, each block is sent before the next is requested."""

    def __init__(self, blocks, level, at_once):
        self._blocks = blocks
        self._level = level
        self._at_once = at_once

    def __iter__(self):
        compressor = zlib.compressobj(self._level, wbits=_GZIP)
        for block in self._blocks:
            data = compressor.compress(block)
            if self._at_once:
                data += compressor.flush(zlib.Z_SYNC_FLUSH)
            if data:
                yield data
        yield compressor.flush()

    def close(self):
        close = getattr(self._blocks, "close", None)
        if close is not None:
            close()


def _can_be_encoded(response):
    headers = response.response_headers
    return (
        str(response.status_code) not in ("204", "206", "304")
        and "Content-Encoding" not in headers
        and "no-transform" not in headers.get("Cache-Control", "").lower()
    )


def _say_encoded(headers):
    headers["Content-Encoding"] = "gzip"
    headers.pop("Content-Length", None)
    headers.pop("Accept-Ranges", None)
    tag = headers.get("ETag")
    if tag and not tag.startswith("W/"):
        headers["ETag"] = f"W/{tag}"
