"""The WSGI application for a start script's callbacks: routes requests to them and completes their responses."""

import re
import sys
import traceback
from html import escape
from urllib.parse import quote

from paceline.errors import BadRequest, ClientGone
from paceline.output import log, log_error

from . import base, config
from ._body import BLOCK_BYTES, Blocks, file_blocks, file_length, is_file, is_file_wrapper, is_whole, whole_blocks
from ._form import Input, Refused, has_form, length_of, parse_query
from ._text import charset_of, to_text


class Application:
    def __init__(self):
        self._callbacks = []
        self._generic = None
        self._base = base

    def add(self, prefix, callback):
        """Routes paths that begin with `prefix` to `callback`. If several prefixes match, the first one added is used."""
        if not callable(callback):
            raise TypeError(f"wsgi_cb takes a pair of an address and a callback, not {callback!r}")
        # PATH_INFO contains UTF-8 bytes as Latin-1 text.
        if isinstance(prefix, str):
            prefix = prefix.encode("utf-8", "surrogateescape")
        self._callbacks.append((to_text(prefix), callback))

    def set_generic(self, callback):
        """Routes all other paths to `callback`."""
        if not callable(callback):
            raise TypeError(f"wsgi_gen_cb takes a callback, not {callback!r}")
        self._generic = callback

    def set_base(self, module):
        for name in ("Environ", "Start_response"):
            if not hasattr(module, name):
                raise TypeError(f"set_base_module takes a module such as fapws.base; {module!r} has no {name}")
        self._base = module

    def find(self, path):
        """Returns the callback for a path and the matching prefix; (None, "") if there is none."""
        for prefix, callback in self._callbacks:
            if path.startswith(prefix):
                return callback, prefix
        return self._generic, ""

    def __call__(self, wsgi, start_response):
        method = wsgi["REQUEST_METHOD"]
        supported = getattr(self._base, "supported_HTTP_command", base.supported_HTTP_command)
        if method not in supported and method not in (supported := [to_text(name) for name in supported]):
            return self._other_method(method, supported, start_response)
        callback, prefix = self.find(wsgi.get("PATH_INFO", ""))
        if callback is None:
            return plain(start_response, 404, "Page not found")
        try:
            environ = self._environ(wsgi, prefix)
            response = self._base.Start_response()
            completion = Completion(response, start_response)
            return completion.finish(callback(environ, response), environ)
        except Refused as error:
            return plain(start_response, error.status, error.reason)
        except (ClientGone, BadRequest):
            # The server handles these errors; the callback is not at fault.
            raise
        except Exception:
            log(f"{method} {wsgi.get('PATH_INFO', '')}: the callback failed")
            return failed(start_response, sys.exc_info())

    @staticmethod
    def _other_method(method, supported, start_response):
        if method == "OPTIONS":
            start_response("200 OK", [("Allow", ", ".join([*supported, "OPTIONS"])), ("Content-Length", "0")])
            return []
        return plain(start_response, 501, "Not Implemented")

    def _environ(self, wsgi, prefix):
        environ = self._base.Environ()
        script, path, query = wsgi.get("SCRIPT_NAME", ""), wsgi.get("PATH_INFO", ""), wsgi.get("QUERY_STRING", "")
        # A client that mistakes the server for a proxy sends an absolute URL.
        origin = wsgi.pop("paceline.origin", "")
        environ.update_headers(wsgi)
        uri = wsgi.get("REQUEST_URI") or wsgi.get("RAW_URI")
        if not uri:
            uri = _encoded(script + path) + (f"?{query}" if query else "")
        environ.update_uri(
            {
                "SCRIPT_NAME": script + prefix,
                "PATH_INFO": path[len(prefix) :],
                "QUERY_STRING": query,
                "fapws.uri": origin + uri,
                "fapws.params": parse_query(query),
            }
        )
        protocol = wsgi.get("SERVER_PROTOCOL", "HTTP/1.1")
        request = {
            "wsgi.multiprocess": True,
            "fapws.major_minor": protocol.rpartition("/")[2],
            "fapws.remote_addr": wsgi.get("REMOTE_ADDR", ""),
            "fapws.remote_port": int(wsgi.get("REMOTE_PORT") or 0),
            "HTTP_PROTOCOL": protocol,
            "REQUEST_PROTOCOL": protocol,
            "wsgi.input": Input(wsgi["wsgi.input"], length_of(wsgi)),
        }
        for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if wsgi.get(key) not in (None, ""):
                request[f"HTTP_{key}"] = wsgi[key]
        if has_form(wsgi):
            request["fapws.params"] = parse_query(request["wsgi.input"].getvalue())
        environ.update_method({"REQUEST_METHOD": wsgi["REQUEST_METHOD"]})
        environ.update_from_request(request)
        return environ


def _encoded(path):
    """Percent-encodes a path as a client would have sent it."""
    if _PLAIN.fullmatch(path):
        return path
    return quote(path, encoding="latin-1", safe="/:@!$&'()*+,;=~")


_PLAIN = re.compile("[A-Za-z0-9/._~-]*")


class Completion:
    """Completes one response: sends the head once the callback can no longer change it."""

    def __init__(self, response, start_response):
        self._response = response
        self._start_response = start_response
        self._write = None
        response._commit = self.write

    def write(self, data):
        if self._write is None:
            self._send_head()
        block = data if isinstance(data, bytes) else whole_blocks(data, self._charset())
        self._write(block if isinstance(block, bytes) else b"".join(block))

    def finish(self, result, environ):
        """Returns what the server sends for the callback's result."""
        response = self._response
        if isinstance(result, bool):
            raise TypeError("the callback returned a bool; later responses (write_response) are not supported")
        if is_whole(result):
            blocks = whole_blocks(result, self._charset())
            self._send_head(sum(map(len, blocks)))
            return blocks
        if is_file(result):
            self._send_head(file_length(result))
            wrapper = environ.get("wsgi.file_wrapper")
            return wrapper(result, BLOCK_BYTES) if wrapper else file_blocks(result)
        if is_file_wrapper(result, environ):
            # Not wrapped, so that the server can recognise the file.
            self._send_head()
            return result
        blocks = Blocks(result)
        try:
            self._send_head()
        except Exception:
            blocks.close()
            raise
        blocks.charset = self._charset()
        return blocks

    def _send_head(self, length=None):
        response = self._response
        if response.sent:
            return
        status, headers = response.status, response.header_list()
        if length is not None and "Content-Length" not in response.response_headers and status[:3] not in ("204", "304"):
            headers.append(("Content-Length", str(length)))
        response.sent = True
        if response.exc_info:
            self._write = self._start_response(status, headers, response.exc_info)
        else:
            self._write = self._start_response(status, headers)

    def _charset(self):
        return charset_of(self._response.response_headers.get("Content-Type"))


def plain(start_response, status, text):
    """Sends a response that the server generates itself."""
    body = f"{text}\n".encode()
    head = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(f"{status} {base.status_reasons[status]}", head)
    return [body]


def failed(start_response, exc_info):
    """Logs the traceback and sends the response for a callback that raised. Raises the error again if the head has been sent."""
    log_error(*exc_info)
    if config.send_traceback_to_browser:
        trace = "".join(traceback.format_exception(*exc_info))
        text = f"<h1>Error</h1><pre>{escape(trace)}</pre>"
    else:
        text = config.send_traceback_short
    body = text.encode("utf-8", "surrogateescape")
    head = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("500 Internal Server Error", head, exc_info)
    return [body]
