"""The same as a WSGI callable, which dies of a segmentation fault."""
import ctypes
import os
from urllib.parse import parse_qs

ledger = os.open(os.environ["POISON_LEDGER"], os.O_WRONLY | os.O_APPEND)


def application(environ, start_response):
    if environ["PATH_INFO"].endswith("/crash"):
        os.write(ledger, (parse_qs(environ["QUERY_STRING"])["id"][0] + "\n").encode())
        ctypes.string_at(0)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"fine"]
