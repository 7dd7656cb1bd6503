"""The same as an ASGI app."""
import ctypes
import os
from urllib.parse import parse_qs

ledger = os.open(os.environ["POISON_LEDGER"], os.O_WRONLY | os.O_APPEND)


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"].endswith("/crash"):
        os.write(ledger, (parse_qs(scope["query_string"].decode())["id"][0] + "\n").encode())
        ctypes.string_at(0)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"fine"})
