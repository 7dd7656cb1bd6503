"""Holds an answer back for a decorator, which may look at its head and change it before it hands it on."""

from ._body import Blocks, is_file, is_file_wrapper, is_whole, whole_blocks
from ._text import charset_of
from .base import Start_response


class Intercepted:
    """The answer of a callback, under FAPWS's start_response or any other."""

    def __init__(self, callback, environ, start_response):
        self._start_response = start_response
        self._write_on = None
        self.response = Start_response()
        self.response._commit = self._write
        result = callback(environ, self.response)
        #: Whether the head has left, as it has where a callback uses `write`.
        self.gone = self.response.sent
        charset = charset_of(self.response.response_headers.get("Content-Type"))
        if is_whole(result):
            #: Blocks of bytes as a list, a file, WSGI's wrapper of a file, or `Blocks`.
            self.result = whole_blocks(result, charset)
        elif is_file(result) or is_file_wrapper(result, environ):
            self.result = result
        else:
            # Only when it is asked for its first block does a generator call start_response.
            self.result = Blocks(result)
            self.result.charset = charset_of(self.response.response_headers.get("Content-Type"))

    def hand_on(self):
        """Gives the head to whom it belongs."""
        response = self.response
        if response.sent:
            return
        response.sent = True
        args = [response.status, response.header_list()]
        self._write_on = self._start_response(*args, *([response.exc_info] if response.exc_info else []))

    def _write(self, data):
        self.hand_on()
        self._write_on(data)
