"""Holds back a response for a decorator, which may inspect and change its head before passing it on."""

from ._body import Blocks, is_file, is_file_wrapper, is_whole, whole_blocks
from ._text import charset_of
from .base import Start_response


class Intercepted:
    """The response of a callback, under FAPWS's start_response or any other."""

    def __init__(self, callback, environ, start_response):
        self._start_response = start_response
        self._write_on = None
        self.response = Start_response()
        self.response._commit = self._write
        result = callback(environ, self.response)
        # : Whether the head has been sent, which happens if a callback uses `write`.
        self.gone = self.response.sent
        charset = charset_of(self.response.response_headers.get("Content-Type"))
        if is_whole(result):
            #: The body: a list of bytes, a file, WSGI's file wrapper, or `Blocks`.
            self.result = whole_blocks(result, charset)
        elif is_file(result) or is_file_wrapper(result, environ):
            self.result = result
        else:
            # A generator calls start_response only when its first block is requested.
            self.result = Blocks(result)
            self.result.charset = charset_of(self.response.response_headers.get("Content-Type"))

    def hand_on(self):
        """Passes the head to the original start_response."""
        response = self.response
        if response.sent:
            return
        response.sent = True
        args = [response.status, response.header_list()]
        self._write_on = self._start_response(*args, *([response.exc_info] if response.exc_info else []))

    def _write(self, data):
        self.hand_on()
        self._write_on(data)
