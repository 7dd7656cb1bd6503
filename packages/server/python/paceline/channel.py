"""The instance's end of the control channel to its supervisor (packages/wire/src/control): a daemon thread, since a view would block it."""

import _thread
import faulthandler
import json
import os
import select
import socket
import sys
from collections import deque
from time import monotonic

from . import leftovers
from .output import log

CHANNEL_VERSION = 1
MAX_LINE_BYTES = 1 << 20
# Reports are left out while more than this waits to be written: the next one tells the same totals.
MAX_WAITING_BEFORE_STATS_BYTES = 256 << 10
WELCOME_TIMEOUT_S = 10
RETRY_S = 0.25
LOOK_EVERY_MS = 1000
# A process to which nothing happens looks only so often.
ASLEEP_LOOK_EVERY_S = 60
LAST_WORDS_TIMEOUT_S = 2
# So long a server that can end early has for it when the drain's deadline has passed.
CUT_TIMEOUT_S = 2


def hello(identity, role, phase, **more):
    """The first message on each connection."""
    return {
        "type": "hello",
        "channelVersion": CHANNEL_VERSION,
        "token": identity.token,
        "role": role,
        "pool": identity.pool,
        "name": identity.name,
        "attempt": identity.attempt,
        "generation": identity.generation,
        "pid": os.getpid(),
        "runtime": "python %d.%d.%d" % sys.version_info[:3],
        "phase": phase,
        **more,
    }


class Channel:
    """Says hello, hears the supervisor, reports, and comes back when the supervisor does. Only its own thread touches what is private."""

    def __init__(self, identity, counts, owner):
        """`owner` is asked and told: `is_listening`, `on_drain_follows`, `on_leave`, `cut`, `deferred_stats`, `lost_work`, `describe_overdue`."""
        self._identity = identity
        self._counts = counts
        self._owner = owner
        # "starting", "ready" or "draining".
        self._phase = "starting"
        self._socket = None
        self._received = b""
        self._waiting = bytearray()
        # Until when the welcome must have come, the next try be made, an orphan has leave to serve; None while it does not matter.
        self._welcome_by = None
        self._retry_at = None
        self._orphan_at = None
        self._drain_by = None
        self._is_closed = False
        self._is_cut = False
        # Of an event loop, which is to turn before signs of life are given; its delay at the last one, and what waits for that.
        self._call_soon = None
        self._lag_ms = 0
        self._turning = set()
        # What other threads ask for: texts to be said, and "leave", "ready", "finish" to be done.
        self._asked = deque()
        self._flushed = _thread.allocate_lock()
        self._flushed.acquire()
        self._is_flush_wanted = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._poller = select.poll()
        self._poller.register(self._wake_read, select.POLLIN)
        # Reports.
        self._look_every_s = identity.spec.get("reportEveryMs", LOOK_EVERY_MS) / 1000
        self._look_at = None
        self._since = monotonic()
        self._last_activity = -1
        self._told_news = True
        self._last_deferred = None
        counts.wake = self._wake

    # For other threads.

    def start(self):
        self._orphan_at = monotonic() + self._identity.spec["orphanGraceMs"] / 1000
        self._retry_at = monotonic()
        _thread.start_new_thread(self._run, ())

    def ask(self, what):
        """Has the thread do `ready` (the instance listens), `leave` (as SIGTERM), or `finish` (the last report)."""
        self._asked.append(what)
        self._wake()

    def last_words(self, what):
        """As `ask`, and waits until all is said, though not for long."""
        self._is_flush_wanted = True
        self.ask(what)
        self._flushed.acquire(True, LAST_WORDS_TIMEOUT_S)

    def fault(self, message):
        """Tells why this process is about to exit with a failure."""
        self.last_words(json.dumps({"type": "fault", "message": message}))

    def turns_with(self, call_soon):
        self._call_soon = call_soon

    @property
    def is_alone(self):
        return self._is_closed or self._orphan_at is not None

    def close_socket(self):
        """In a forked child, which has no such thread."""
        if self._socket is not None:
            self._socket.close()

    def _wake(self):
        try:
            os.write(self._wake_write, b"w")
        except BlockingIOError:
            pass  # It has enough to wake up for.

    # The thread.

    def _run(self):
        try:
            while True:
                self._step()
        except BaseException:
            # Without the control channel the supervisor could not end this process but by force, and would learn nothing of it.
            sys.__excepthook__(*sys.exc_info())
            leftovers.end_if_alone()
            os._exit(1)

    def _step(self):
        deadlines = [self._welcome_by, self._retry_at, self._orphan_at, self._drain_by, self._look_at]
        pending = [deadline for deadline in deadlines if deadline is not None]
        timeout = max(0.0, min(pending) - monotonic()) * 1000 + 1 if pending else None
        if timeout is not None and timeout > 3_600_000:
            timeout = 3_600_000
        for fd, events in self._poller.poll(timeout):
            if fd == self._wake_read:
                self._on_wake()
            elif self._socket is not None and fd == self._socket.fileno():
                self._on_socket(events)
        self._on_deadlines(monotonic())
        if self._is_flush_wanted and not self._asked and self._is_flushed():
            self._is_flush_wanted = False
            self._flushed.release()

    def _on_wake(self):
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass
        for _ in range(len(self._asked)):
            what = self._asked[0]
            if what == "leave":
                self._leave(self._identity.spec["drainTimeoutMs"], False)
            elif what == "ready":
                self._say_ready()
            elif what == "finish":
                self._report(monotonic())
            elif what in ("pong", "look"):
                self._turning.discard(what)
                self._do(what)
            elif self._socket is None:
                if not self._is_closed:
                    # Said once there is a connection.
                    break
            else:
                self._say(what)
            self._asked.popleft()
        if self._look_at is not None and not self._counts.is_read_asleep:
            self._look_at = min(self._look_at, monotonic() + self._look_every_s)

    def _on_deadlines(self, now):
        if self._drain_by is not None and now >= self._drain_by:
            self._cut()
        if self._orphan_at is not None and now >= self._orphan_at:
            self._on_orphaned()
        if self._welcome_by is not None and now >= self._welcome_by:
            self._lose("the supervisor sent no welcome")
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            self._connect()
        if self._look_at is not None and now >= self._look_at:
            self._look_at = now + self._look_every_s
            self._when_turned("look")

    def _when_turned(self, what):
        """Has `what` be done: with an event loop when that has turned, since what comes from beside it would pass for a sign of its life."""
        if self._call_soon is not None and what not in self._turning:
            try:
                self._call_soon(self._turned, what, monotonic())
                self._turning.add(what)
                return
            except RuntimeError:
                self._call_soon = None  # It has closed: the process ends.
        if self._call_soon is None:
            self._do(what)

    def _do(self, what):
        if what == "look":
            self._look(monotonic())
        else:
            self._say('{"type":"pong"}')

    def _turned(self, what, asked_at):
        """On the event loop's thread."""
        self._lag_ms = round((monotonic() - asked_at) * 1000)
        self.ask(what)

    # The connection.

    def _connect(self):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._received = b""
        self._waiting.clear()
        try:
            self._socket.connect(self._identity.channel)
        except OSError:
            # A unix socket connects at once or not at all.
            self._lose(None)
            return
        self._say_hello()

    def _say_hello(self):
        identity = self._identity
        self._welcome_by = monotonic() + WELCOME_TIMEOUT_S
        self._poller.register(self._socket, select.POLLIN)
        self._say(json.dumps(hello(identity, "instance", self._phase, socket=identity.socket, protocol="http1")))
        if self._asked:
            self._wake()

    def _say(self, text):
        if self._socket is None:
            return False
        if len(self._waiting) > MAX_LINE_BYTES:
            self._lose("the supervisor does not read")
            return False
        self._waiting += text.encode("utf-8", "backslashreplace") + b"\n"
        self._write()
        return self._socket is not None

    def _write(self):
        try:
            while self._waiting:
                del self._waiting[: self._socket.send(self._waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self._lose("the control channel was closed")
            return
        wanted = select.POLLIN | select.POLLOUT if self._waiting else select.POLLIN
        self._poller.modify(self._socket, wanted)

    def _is_flushed(self):
        return self._is_closed or (self._socket is not None and not self._waiting)

    def _on_socket(self, events):
        if events & select.POLLOUT:
            self._write()
        if events & ~select.POLLOUT == 0 or self._socket is None:
            return
        try:
            received = self._socket.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._lose("the control channel was closed")
            return
        *lines, self._received = (self._received + received).split(b"\n")
        if len(self._received) > MAX_LINE_BYTES:
            self._lose("the supervisor wrote a line that is too long")
            return
        for line in lines:
            if self._socket is None:
                return
            self._hear(line)

    def _hear(self, line):
        try:
            message = json.loads(line)
            kind = message["type"]
            if kind == "welcome":
                self._welcome_by = self._orphan_at = None
                self._say_ready()
            elif kind == "drain":
                self._leave(max(0, float(message["deadlineMs"])), True)
            elif kind == "released":
                self._owner.on_leave(True)
            elif kind == "probe":
                # Asked of instances on the lane alone; this one is asked on its socket.
                self._say(json.dumps({"type": "probed", "id": message["id"], "problem": "is not on the lane"}))
            elif kind == "draining":
                self._owner.on_drain_follows()
            elif kind == "describeOverdue":
                self._describe_overdue()
            elif kind == "ping":
                self._when_turned("pong")
            elif kind == "refused":
                self._close()
                log(f"the supervisor refused this process: {message['reason']}")
                self._leave(self._identity.spec["drainTimeoutMs"], False)
            else:
                raise ValueError(f"unknown type {kind!r}")
        except (ValueError, TypeError, KeyError) as error:
            self._lose(f"the supervisor sent an invalid message: {error}")

    def _describe_overdue(self):
        """This process is killed a moment later, with SIGABRT first, of which faulthandler writes what all threads are at."""
        told = self._owner.describe_overdue()
        if told is not None:
            log(told)
            # More would only hide it.
            faulthandler.disable()

    def _say_ready(self):
        # The phase changes only when that was said, so that a hello never takes its place.
        if not self._owner.is_listening or self._phase != "starting" or self._welcome_by is not None:
            return
        if self._say('{"type":"ready","protocol":"http1"}'):
            self._phase = "ready"
            self._since = monotonic()
            self._look_at = self._since + self._look_every_s

    def _lose(self, why):
        if self._socket is None:
            return
        if why is not None:
            log(f"{why}; trying again")
        self._drop_socket()
        now = monotonic()
        if self._orphan_at is None:
            self._orphan_at = now + self._identity.spec["orphanGraceMs"] / 1000
        self._retry_at = now + RETRY_S

    def _drop_socket(self):
        try:
            self._poller.unregister(self._socket)
        except (KeyError, ValueError):
            pass
        self._socket.close()
        self._socket = None
        self._welcome_by = None

    def _close(self):
        """For good."""
        if self._socket is not None:
            self._drop_socket()
        self._is_closed = True
        self._orphan_at = self._retry_at = None

    def _on_orphaned(self):
        self._close()
        for path in self._identity.spec.get("supervisorSockets", ()):
            _remove_if_dead(path)
        log("no supervisor came back; exiting")
        self._leave(self._identity.spec["drainTimeoutMs"], False)

    # The end.

    def _leave(self, deadline_ms, until_released):
        drain_by = monotonic() + deadline_ms / 1000
        if self._drain_by is None or not until_released:
            self._drain_by = drain_by if self._drain_by is None else min(self._drain_by, drain_by)
        self._phase = "draining"
        if not self._owner.is_listening:
            # Never ready, so no balancer ever knew it.
            leftovers.end_if_alone()
            os._exit(0)
        self._owner.on_leave(not until_released)

    def _cut(self):
        """The drain's deadline has passed."""
        if not self._is_cut:
            self._is_cut = True
            cut = self._counts.begun - self._counts.ended
            if cut > 0:
                log(f"stopped at the deadline with {cut} requests in flight")
            if self._owner.cut():
                self._drain_by = monotonic() + CUT_TIMEOUT_S
                return
        self._owner.lost_work()
        self._report(monotonic())
        if self._socket is not None:
            self._socket.settimeout(LAST_WORDS_TIMEOUT_S)
            try:
                self._socket.sendall(self._waiting)
            except OSError:
                pass
        leftovers.end_if_alone()
        os._exit(0)

    # Reports.

    def _look(self, now):
        activity, in_flight = self._activity()
        busy = activity != self._last_activity or in_flight > 0
        if busy or self._told_news:
            if self._report(now):
                self._told_news = busy
                self._last_activity = activity
        self._since = now
        self._look_at = now + self._look_every_s
        if not busy and not self._told_news:
            self._look_at = now + ASLEEP_LOOK_EVERY_S
            self._counts.is_read_asleep = True
            # A request that began in between found nobody asleep.
            if self._activity()[0] != self._last_activity:
                self._counts.is_read_asleep = False
                self._look_at = now + self._look_every_s

    def _activity(self):
        counts = self._counts
        deferred = self._owner.deferred_stats()
        unfinished = deferred["jobs"] if deferred else 0
        return (counts.begun, counts.ended, unfinished), counts.begun - counts.ended + unfinished

    def _report(self, now):
        if len(self._waiting) > MAX_WAITING_BEFORE_STATS_BYTES or self._socket is None:
            return False
        counts = self._counts
        ended = counts.ended
        stats = {
            "type": "stats",
            "role": "instance",
            "requestsTotal": ended,
            "errorsTotal": counts.errors,
            "inFlight": max(0, counts.begun - ended),
            "latency": counts.take_latency(),
            "periodMs": round((now - self._since) * 1000),
            # Without an event loop there is no delay that would tell something: a view holds the process for as long as it takes.
            "eventLoopLagMs": self._lag_ms,
            "heapBytes": 0,
        }
        deferred = self._owner.deferred_stats()
        if deferred is not None:
            stats["deferred"] = deferred
        return self._say(json.dumps(stats))


def _remove_if_dead(path):
    """Removes a socket file of the supervisor on which nobody listens any more."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(1)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        try:
            os.unlink(path)
        except OSError:
            pass  # Another orphan was faster, or it is not ours to remove.
    except OSError:
        pass
    finally:
        probe.close()
