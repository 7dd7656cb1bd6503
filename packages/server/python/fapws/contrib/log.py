"""`@log.Log()`: a line for each request in the format that Apache calls combined."""

import functools
import sys
import time

from .._body import file_length, is_file
from .._intercept import Intercepted


class Log:
    """`output`: what lines are written to, an object with `write`. Default: stdout, which is the instance's log."""

    def __init__(self, output=None):
        self.output = output

    def __call__(self, callback):
        @functools.wraps(callback)
        def wrapped(environ, start_response):
            try:
                answer = Intercepted(callback, environ, start_response)
            except Exception:
                self._line(environ, "500", None)
                raise
            answer.hand_on()
            return self._logged(answer, environ)

        return wrapped

    def _logged(self, answer, environ):
        result, status = answer.result, answer.response.status_code
        if isinstance(result, list):
            self._line(environ, status, sum(map(len, result)))
            return result
        length = answer.response.response_headers.get("Content-Length")
        if length is None and is_file(result):
            length = file_length(result)
        if length is not None:
            # At once: under a wrapper the server would not know a file for one.
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
    """Tells, when the server is done with a body, how much of it was taken."""

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
    """As one field of one line: quotes, control characters and what is no ASCII are escaped, so no client writes a line of its own."""
    return "".join(
        character if " " <= character <= "~" and character not in '"\\' else f"\\x{ord(character):02x}"
        for character in str(text)
    )
