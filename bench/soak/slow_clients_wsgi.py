"""The app for slow clients: uploads with their digest as the response, and downloads."""

from hashlib import md5

PIECE = b"x" * 65_536


def body(left):
    while left > 0:
        yield PIECE[:left]
        left -= len(PIECE)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["REQUEST_METHOD"] == "POST":
        return [md5(environ["wsgi.input"].read()).hexdigest().encode()]
    if environ["PATH_INFO"] == "/large":
        return body(int(environ["QUERY_STRING"]))
    return [b"Hello World!\n"]
