"""The soak's app as a WSGI callable."""

import time
from urllib.parse import parse_qs

PIECE = b"x" * 65_536


def events(every):
    while True:
        yield b"data: tick\n\n"
        time.sleep(every)


def body(left):
    while left > 0:
        yield PIECE[:left]
        left -= len(PIECE)


def application(environ, start_response):
    path = environ["PATH_INFO"]
    query = parse_qs(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path.endswith("/events"):
        return events(int(query["everyMs"][0]) / 1000)
    if path.endswith("/body"):
        return body(int(query["bytes"][0]))
    if path.endswith("/upload"):
        return [b"%d bytes" % len(environ["wsgi.input"].read())]
    return [b"hello"]
