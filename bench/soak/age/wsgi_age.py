"""What the soak of ages asks for, as a WSGI callable."""

import time
from urllib.parse import parse_qs

BODY_BYTES = 30_000_000
PIECE = b"x" * 65_536


def events(every):
    while True:
        yield b"data: tick\n\n"
        time.sleep(every)


def body():
    left = BODY_BYTES
    while left > 0:
        yield PIECE[:left]
        left -= len(PIECE)


def application(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path.endswith("/events"):
        return events(int(parse_qs(environ["QUERY_STRING"])["everyMs"][0]) / 1000)
    if path.endswith("/body"):
        return body()
    if path.endswith("/upload"):
        return [b"%d bytes" % len(environ["wsgi.input"].read())]
    return [b"hello"]
