"""Clients that read each a response at so many bytes a second: slow_readers.py PORT TARGET READERS RATE SECONDS NEWCOMERS
plain|tls|h2|unix ATTACKERS. With unix, PORT is the path of a socket.

Over HTTP/1.1 they limit their reads; over HTTP/2 they read everything within their windows immediately, and open the windows by
halves as they use it. Once all of them read, NEWCOMERS clients per second send the same request and read nothing. ATTACKERS clients do so
five seconds before the readers begin, and connect again when they are disconnected. Prints a line of JSON: how many readers were disconnected,
when the first one was, how much the slowest of the others has read, how many read nothing, and how often attackers were disconnected.
"""
import json
import resource
import select
import socket
import ssl
import sys
import time

port, target, readers, rate, seconds, newcomers = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:7])
over, attackers = sys.argv[7], int(sys.argv[8])
ATTACK_FIRST_S = 5
SMALL_BUFFER = 4096
context = None
if over in ("tls", "h2"):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if over == "h2":
        context.set_alpn_protocols(["h2"])

WINDOW = 65_535


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def window_update(stream, size):
    return frame(8, 0, stream, size.to_bytes(4, "big"))


def request():
    if over != "h2":
        return f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    # GET and https from the static table; a path and an authority without compression.
    path = target.encode()
    head = b"\x82\x87\x04" + bytes([len(path)]) + path + b"\x01\x01a"
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 5, 1, head)


def connect(receive_bytes=None):
    client = socket.socket(socket.AF_UNIX if over == "unix" else socket.AF_INET)
    client.settimeout(30)
    if receive_bytes is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.connect(port if over == "unix" else ("127.0.0.1", int(port)))
    if context is not None:
        client = context.wrap_socket(client)
    client.sendall(request())
    client.setblocking(False)
    return client


class Reader:
    def __init__(self):
        self.read, self.started, self.cut_after = 0, time.monotonic(), None
        self.socket = connect()

    def receive(self, most):
        """Returns None if no data is available."""
        try:
            piece = self.socket.recv(most)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except OSError:
            piece = b""
        if not piece:
            self.cut()
        return piece

    def cut(self):
        if self.cut_after is None:
            self.cut_after = time.monotonic() - self.started

    @property
    def owed(self):
        return rate * (time.monotonic() - self.started) - self.read

    def take(self):
        """Reads as much as is due by now."""
        while self.owed >= 1 and self.cut_after is None:
            piece = self.receive(int(self.owed))
            if piece is None:
                return
            self.read += len(piece)

    def look(self):
        """A program detects a reset only after it has read the data before it."""
        poll = select.poll()
        poll.register(self.socket, select.POLLRDHUP)
        if poll.poll(0):
            self.cut()


class Http2Reader(Reader):
    def __init__(self):
        self.input, self.output, self.there, self.used = b"", b"", 0, 0
        super().__init__()

    def take(self):
        while self.cut_after is None:
            piece = self.receive(WINDOW)
            if not piece:
                break
            self.input += piece
        while len(self.input) >= 9 and len(self.input) >= 9 + int.from_bytes(self.input[:3], "big"):
            end = 9 + int.from_bytes(self.input[:3], "big")
            kind, flags, payload = self.input[3], self.input[4], self.input[9:end]
            self.input = self.input[end:]
            if kind == 0:
                self.there += len(payload)
            elif kind == 4 and flags == 0:
                self.send(frame(4, 1, 0))
            elif kind == 6 and flags == 0:
                self.send(frame(6, 1, 0, payload))
            elif kind in (3, 7):
                self.cut()
        due = min(int(self.owed), self.there)
        self.read += due
        self.there -= due
        self.used += due
        if self.used >= WINDOW // 2:
            self.send(window_update(0, self.used) + window_update(1, self.used))
            self.used = 0

    def send(self, frames):
        self.output += frames
        try:
            self.output = self.output[self.socket.send(self.output) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.cut()


class Attackers:
    """Clients that read nothing, every second one with a small buffer, and connect again when they are disconnected."""

    def __init__(self, count):
        self.missing, self.resets, self.sockets = count, 0, {}
        self.poll = select.poll()

    def keep(self):
        for number, _ in self.poll.poll(0):
            self.poll.unregister(number)
            self.sockets.pop(number).close()
            self.missing, self.resets = self.missing + 1, self.resets + 1
        for n in range(min(self.missing, 20)):
            try:
                client = connect(SMALL_BUFFER if n % 2 else None)
            except OSError:
                continue
            self.missing -= 1
            self.sockets[client.fileno()] = client
            self.poll.register(client, select.POLLRDHUP)


resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
clients, silent = [], []
attack = Attackers(attackers)
attack_until = time.monotonic() + (ATTACK_FIRST_S if attackers else 0)
while time.monotonic() < attack_until:
    attack.keep()
    time.sleep(0.05)
begin = all_began = time.monotonic()
while time.monotonic() < begin + seconds:
    # Starts some more each time; otherwise all would begin in one turn of the balancer's event loop.
    for _ in range(min(10, readers - len(clients))):
        clients.append(Http2Reader() if over == "h2" else Reader())
    if len(clients) < readers or not all(client.read for client in clients):
        all_began = time.monotonic()
    due = int(newcomers * (time.monotonic() - all_began)) - len(silent)
    # Not all that are due: readers have their turn even if connecting takes long.
    for _ in range(min(due, newcomers)):
        for client in clients:
            client.take()
        try:
            silent.append(connect())
        except OSError:
            silent.append(None)
    for client in clients:
        client.take()
    attack.keep()
    time.sleep(0.2)
for client in clients:
    client.look()
cut = [client.cut_after for client in clients if client.cut_after is not None]
slowest = min((c.read / (time.monotonic() - c.started) for c in clients if c.cut_after is None), default=0)
began = sum(client is not None for client in silent)
print(json.dumps({"cut": len(cut), "firstAfter": min(cut, default=None), "slowest": slowest, "silent": began, "resets": attack.resets}))
