"""A callable that does not read bodies."""


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "6")])
    return [b"hello\n"]
