"""Clients that read each a response at so many bytes a second, by reads of the kernel: slow_readers.py PORT TARGET READERS RATE SECONDS [tls].

Prints a line of JSON: how many were cut, when the first one was, and what the slowest of the others has read.
"""
import json
import socket
import ssl
import sys
import time

port, target, readers, rate, seconds = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
context = None
if sys.argv[6:] == ["tls"]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE


class Reader:
    def __init__(self):
        self.read, self.started, self.cut_after = 0, time.monotonic(), None
        self.socket = socket.create_connection(("127.0.0.1", int(port)), 30)
        if context is not None:
            self.socket = context.wrap_socket(self.socket)
        self.socket.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        self.socket.setblocking(False)

    def take(self):
        """Reads what is due by now."""
        owed = rate * (time.monotonic() - self.started) - self.read
        while owed >= 1 and self.cut_after is None:
            try:
                piece = self.socket.recv(int(owed))
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            except OSError:
                piece = b""
            if not piece:
                self.cut_after = time.monotonic() - self.started
            self.read += len(piece)
            owed -= len(piece)


clients = []
end = time.monotonic() + seconds
while time.monotonic() < end:
    # Some more each time: they would all begin in one turn of the balancer's event loop otherwise.
    for _ in range(min(10, readers - len(clients))):
        clients.append(Reader())
    for client in clients:
        client.take()
    time.sleep(0.2)
cut = [client.cut_after for client in clients if client.cut_after is not None]
slowest = min((c.read / (time.monotonic() - c.started) for c in clients if c.cut_after is None), default=0)
print(json.dumps({"cut": len(cut), "firstAfter": min(cut, default=None), "slowest": slowest}))
