"""A request to a WSGI callable, without a server."""

import io
from wsgiref.util import FileWrapper


class Got:
    """The response."""

    def __init__(self, status, headers, body):
        self.status = status
        self.code = int(status[:3])
        self.headers = headers
        self.body = body

    def header(self, name):
        values = self.all(name)
        return values[0] if values else None

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]


def environ_of(target="/", method="GET", body=b"", **more):
    path, _, query = target.partition("?")
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8080",
        "REMOTE_ADDR": "192.0.2.1",
        "HTTP_HOST": "example.com",
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(body),
        "wsgi.file_wrapper": FileWrapper,
    }
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    environ.update(more)
    return environ


def ask(application, target="/", method="GET", body=b"", **more):
    """Calls it like a server and closes its result."""
    head, written = [], []

    def start_response(status, headers, exc_info=None):
        assert exc_info or not head, "start_response twice"
        assert isinstance(status, str) and all(isinstance(part, str) for pair in headers for part in pair)
        head[:] = [status, list(headers)]
        return written.append

    result = application(environ_of(target, method, body, **more), start_response)
    try:
        blocks = [*result]
    finally:
        if hasattr(result, "close"):
            result.close()
    assert all(isinstance(block, bytes) for block in blocks), blocks
    return Got(*head, b"".join(written + blocks))
