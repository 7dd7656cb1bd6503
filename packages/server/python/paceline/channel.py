"""The instance's end of the control channel (packages/wire/src/control), on a daemon thread that views cannot block."""

import _thread
import faulthandler
import json
import os
import select
import socket
import sys
from collections import deque
from time import monotonic

from . import exits, leftovers
from .channel_socket import ChannelSocket, hello
from .output import log

# Reports are skipped while more bytes than this are unsent; later reports contain the same totals.
MAX_WAITING_BEFORE_STATS_BYTES = 256 << 10
WELCOME_TIMEOUT_S = 10
LOOK_EVERY_MS = 1000
# How often an idle process wakes up.
ASLEEP_LOOK_EVERY_S = 60
FINAL_REPORT_TIMEOUT_S = 2
# A late start reports the import or call that it waits for: first this long before the supervisor gives up, then repeatedly.
WORD_BEFORE_END_S = 3
LATE_EVERY_S = 1
# How long a server may take to stop early after the drain's deadline.
CUT_TIMEOUT_S = 2


class Channel(ChannelSocket):
    """Says hello, receives messages, reports, and reconnects to the supervisor. Private members belong to its own thread."""

    def __init__(self, identity, counts, owner):
        """`owner` has `is_listening`, `on_drain_follows`, `on_leave`, `cut`, `deferred_stats`, `lost_work`, `connections`, `describe_overdue` and `waits_for`."""
        super().__init__(identity)
        self._counts = counts
        self._owner = owner
        # "starting", "ready" or "draining".
        self._phase = "starting"
        # The deadline of a drain; None without one.
        self._drain_by = None
        self._is_closed = False
        self._is_cut = False
        # With an event loop, signs of life are sent from its turns: how to schedule a turn, the last delay of a turn, and what
        # is scheduled.
        self._call_soon = None
        self._lag_ms = 0
        self._turning = set()
        # Requests of other threads: texts to send, and the actions "leave", "ready" and "finish".
        self._asked = deque()
        # When an unfinished start reports the import or call that it waits for.
        ready_timeout_s = identity.spec.get("readyTimeoutMs", 0) / 1000
        self._late_at = None
        if ready_timeout_s > 0:
            self._late_at = monotonic() + max(ready_timeout_s - WORD_BEFORE_END_S, ready_timeout_s / 2)
        self._flushed = _thread.allocate_lock()
        self._flushed.acquire()
        self._is_flush_wanted = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._poller.register(self._wake_read, select.POLLIN)
        # Reports:
        self._look_every_s = identity.spec.get("reportEveryMs", LOOK_EVERY_MS) / 1000
        self._look_at = None
        self._since = monotonic()
        self._last_activity = -1
        self._has_reported_busy = True
        self._last_deferred = None
        # In direct mode: finds requests that run too long.
        self._overdue = None
        timeout_ms = identity.spec.get("requestTimeoutMs", 0)
        if timeout_ms > 0:
            from .overdue import Overdue

            self._overdue = Overdue(timeout_ms / 1000, self._look_every_s)
        counts.wake = self._wake

    # Called by other threads:

    def start(self):
        self._orphan_at = monotonic() + self._identity.spec["orphanGraceMs"] / 1000
        self._retry_at = monotonic()
        _thread.start_new_thread(self._run, ())

    def ask(self, what):
        """Asks the thread for an action: `ready` (the instance listens), `leave` (as for SIGTERM), or `finish` (the last report)."""
        self._asked.append(what)
        self._wake()

    def final_report(self, what):
        """Like `ask`, but waits briefly until everything is sent."""
        self._is_flush_wanted = True
        self.ask(what)
        self._flushed.acquire(True, FINAL_REPORT_TIMEOUT_S)

    def fault(self, message):
        """Reports why this process is about to exit with a failure."""
        self.final_report(json.dumps({"type": "fault", "message": message}))

    def turns_with(self, call_soon):
        self._call_soon = call_soon

    @property
    def is_alone(self):
        return self._is_closed or self._orphan_at is not None

    def close_socket(self):
        """Closes the socket in a forked child, which does not have the thread."""
        if self._socket is not None:
            self._socket.close()

    def _wake(self):
        try:
            os.write(self._wake_write, b"w")
        except BlockingIOError:
            pass  # The pipe is full, so the thread will wake up anyway.

    # Runs on the thread:

    def _run(self):
        try:
            while True:
                self._step()
        except BaseException:
            # Without the control channel, the supervisor could only kill this process, and would not know why.
            sys.__excepthook__(*sys.exc_info())
            leftovers.end_if_alone()
            exits.end_process(1)

    def _step(self):
        deadlines = [self._welcome_by, self._retry_at, self._orphan_at, self._drain_by, self._look_at, self._late_at]
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
                    # The message is sent once there is a connection.
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
        if self._late_at is not None and now >= self._late_at:
            self._late_at = None
            if self._phase == "starting":
                self._late_at = now + LATE_EVERY_S
                self.ask(json.dumps({"type": "fault", "message": self._owner.waits_for()}))
        if self._welcome_by is not None and now >= self._welcome_by:
            self._lose("the supervisor sent no welcome")
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            self._connect()
        if self._look_at is not None and now >= self._look_at:
            self._look_at = now + self._look_every_s
            self._when_turned("look")

    def _when_turned(self, what):
        """Does `what`. With an event loop, waits for a turn of it, because a message from this thread alone would count as a
        sign of life."""
        if self._call_soon is not None and what not in self._turning:
            try:
                self._call_soon(self._turned, what, monotonic())
                self._turning.add(what)
                return
            except RuntimeError:
                self._call_soon = None  # The loop has closed: the process is exiting.
        if self._call_soon is None:
            self._do(what)

    def _do(self, what):
        if what == "look":
            self._look(monotonic())
        else:
            self._say('{"type":"pong"}')

    def _turned(self, what, asked_at):
        """Runs on the event loop's thread:"""
        self._lag_ms = round((monotonic() - asked_at) * 1000)
        self.ask(what)

    # The connection:

    def _say_hello(self):
        identity = self._identity
        self._welcome_by = monotonic() + WELCOME_TIMEOUT_S
        self._poller.register(self._socket, select.POLLIN)
        self._say(json.dumps(hello(identity, "instance", self._phase, socket=identity.socket, protocol="http1")))
        if self._asked:
            self._wake()

    def _is_flushed(self):
        return self._is_closed or (self._socket is not None and not self._waiting)

    def _hear(self, line):
        try:
            message = json.loads(line)
            kind = message["type"]
            if kind == "welcome":
                self._welcome_by = self._orphan_at = None
                self._say_ready()
                if self._look_at is not None:
                    # A new supervisor knows only older counts.
                    self._report(monotonic())
            elif kind == "drain":
                self._leave(max(0, float(message["deadlineMs"])), True)
            elif kind == "released":
                self._owner.on_leave(True)
            elif kind == "probe":
                # Only instances on the lane get these messages; a Python instance is checked on its socket.
                self._say(json.dumps({"type": "probed", "id": message["id"], "problem": "is not on the lane"}))
            elif kind == "draining":
                self._owner.on_drain_follows()
            elif kind == "describeOverdue":
                self._describe_overdue()
            elif kind == "dump":
                _thread.start_new_thread(self._dump, (message["id"], message["what"], message["path"]))
            elif kind == "ping":
                self._when_turned("pong")
            elif kind == "refused":
                self._close()
                log(f"the supervisor refused this process: {message['reason']}")
                self._leave(self._identity.spec["drainTimeoutMs"], False)
            # Other types are from a neighbouring version.
        except (ValueError, TypeError, KeyError) as error:
            self._lose(f"the supervisor sent an invalid message: {error}")

    def _dump(self, number, what, path):
        from . import dump

        problem = dump.write(what, path)
        self.ask(json.dumps({"type": "dumped", "id": number, **({} if problem is None else {"problem": problem})}))

    def _describe_overdue(self):
        """Describes the overdue request. The supervisor kills this process soon, first with SIGABRT, which writes all stacks."""
        report = self._owner.describe_overdue(None if self._overdue is None else self._overdue.connection)
        if report is not None:
            log(report)
            # Further stacks would only hide this one.
            faulthandler.disable()

    def _say_ready(self):
        # Changes the phase only when the message is sent, so that no hello replaces it.
        if not self._owner.is_listening or self._phase != "starting" or self._welcome_by is not None:
            return
        if self._say('{"type":"ready","protocol":"http1"}'):
            self._phase = "ready"
            self._late_at = None
            self._since = monotonic()
            self._look_at = self._since + self._look_every_s

    def _close(self):
        """Closes the socket for good."""
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

    # The end:

    def _leave(self, deadline_ms, until_released):
        drain_by = monotonic() + deadline_ms / 1000
        if self._drain_by is None or not until_released:
            self._drain_by = drain_by if self._drain_by is None else min(self._drain_by, drain_by)
        self._phase = "draining"
        if not self._owner.is_listening:
            # The instance was never ready, so no balancer knows it.
            leftovers.end_if_alone()
            exits.end_process(0)
        self._owner.on_leave(not until_released)

    def _cut(self):
        """Handles the drain's deadline."""
        if not self._is_cut:
            self._is_cut = True
            cut = self._counts.started - self._counts.ended
            if cut > 0:
                log(f"stopped at the deadline with {cut} requests in flight")
            if self._owner.cut():
                self._drain_by = monotonic() + CUT_TIMEOUT_S
                return
        self._owner.lost_work()
        self._report(monotonic())
        if self._socket is not None:
            self._socket.settimeout(FINAL_REPORT_TIMEOUT_S)
            try:
                self._socket.sendall(self._waiting)
            except OSError:
                pass
        leftovers.end_if_alone()
        exits.end_process(0)

    # Reports:

    def _look(self, now):
        activity, in_flight = self._activity()
        busy = activity != self._last_activity or in_flight > 0
        if busy or self._has_reported_busy:
            if self._report(now):
                self._has_reported_busy = busy
                self._last_activity = activity
        self._since = now
        self._look_at = now + self._look_every_s
        if not busy and not self._has_reported_busy:
            self._look_at = now + ASLEEP_LOOK_EVERY_S
            self._counts.is_read_asleep = True
            # A request that started before this flag was set does not wake the reader.
            if self._activity()[0] != self._last_activity:
                self._counts.is_read_asleep = False
                self._look_at = now + self._look_every_s

    def _activity(self):
        counts = self._counts
        deferred = self._owner.deferred_stats()
        unfinished = deferred["jobs"] if deferred else 0
        return (counts.started, counts.ended, unfinished), counts.started - counts.ended + unfinished

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
            "inFlight": max(0, counts.started - ended),
            "latency": counts.take_latency(),
            "periodMs": round((now - self._since) * 1000),
            # Without an event loop, the delay means nothing, because a view blocks the process while it runs.
            "eventLoopLagMs": self._lag_ms,
            "heapBytes": 0,
        }
        deferred = self._owner.deferred_stats()
        if deferred is not None:
            stats["deferred"] = deferred
        if self._overdue is not None:
            overdue = self._overdue.look(now, self._owner.connections())
            if overdue is not None:
                stats["overdue"] = overdue
        return self._say(json.dumps(stats))


def _remove_if_dead(path):
    """Removes a socket file of a supervisor if nobody listens on it."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(1)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        try:
            os.unlink(path)
        except OSError:
            pass  # Another orphaned process has removed it, or it is not ours.
    except OSError:
        pass
    finally:
        probe.close()
