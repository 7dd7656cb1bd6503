"""A callable that ignores request bodies, and has a response larger than the sockets' buffers."""

LARGE = b"x" * 3_500_000


def app(environ, start_response):
    body = LARGE if environ["PATH_INFO"].endswith("large") else b"hello\n"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
