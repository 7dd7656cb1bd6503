"""`@log.Log()`: logs each request in Apache's combined format."""

import functools
import sys
import time

from .._body import file_length, is_file
from .._intercept import Intercepted


class Log:
    """`output`: an object with `write`. Default: stdout, which is the instance's log."""

    def __init__(self, output=None):
        self.output = output

    def __call__(self, callback):
        @functools.wraps(callback)
        def wrapped(environ, start_response):
            try:
                held = Intercepted(callback, environ, start_response)
            except Exception:
                self._line(environ, "500", None)
                raise
            held.hand_on()
            return self._logged(held, environ)

        return wrapped

    def _logged(self, held, environ):
        result, status = held.result, held.response.status_code
        if isinstance(result, list):
            self._line(environ, status, sum(map(len, result)))
            return result
        length = held.response.response_headers.get("Content-Length")
        if length is None and is_file(result):
            length = file_length(result)
        if length is not None:
            # A file is logged at once: if it were wrapped to count its bytes, the server would not recognise it as a file.
            self._line(environ, status, length)
            return result
        return _Counted(result, lambda sent: self._line(environ, status, sent))

    def _line(self, environ, status, size):
        request = f"{environ['REQUEST_METHOD']} {environ.get('fapws.uri', '')} {environ.get('SERVER_PROTOCOL', '')}"
        when = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
        agent, referer = environ.get("HTTP_USER_AGENT", "-"), environ.get("HTTP_REFERER", "-")
        output = self.output or sys.stdout
        output.write(
            f"{_printable(environ.get('REMOTE_ADDR') or '-')} - - [{when}] \"{_printable(request)}\" {_printable(status)} "
            f"{'-' if size is None else size} \"{_printable(referer)}\" \"{_printable(agent)}\"\n"
        )
        output.flush()


class _Counted:
    """Reports how much of a body was sent when the server closes it."""

    def __init__(self, result, done):
        self._result = result
        self._done = done
        self._sent = 0

    def __iter__(self):
        for block in self._result:
            yield block
            self._sent += len(block)

    def close(self):
        done, self._done = self._done, None
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                close()
        finally:
            if done is not None:
                done(self._sent)


def _printable(text):
    """Escapes quotes, control characters and non-ASCII text, so that a client cannot forge log lines."""
    return "".join(
        character if " " <= character <= "~" and character not in '"\\' else f"\\x{ord(character):02x}"
        for character in str(text)
    )
