"""Timers: repeated or single, on the main thread between two requests."""

import heapq
import sys
from itertools import count
from time import monotonic

from . import background
from .names import check_function, count_names, name_of
from .output import log, log_error

MAX_TIMER_MS = 2**31 - 1

_waiting = []
_order = count()
_running = None


class Timer:
    """What `every` and `after` return."""

    def __init__(self, ms, fn, repeats):
        self._delay_s = ms / 1000
        self._interval_s = self._delay_s if repeats else None
        self._fn = fn
        self._is_stopped = background.is_leaving
        self._due = monotonic() + self._delay_s
        if not self._is_stopped:
            heapq.heappush(_waiting, (self._due, next(_order), self))
            background.wake()

    def stop(self):
        """Prevents further runs; a current run completes."""
        self._is_stopped = True


def every(interval_ms, fn):
    """Runs `fn` every `interval_ms` milliseconds, first after one interval. Returns an object with `stop()`.

    Intervals that pass during a request or during its own run are skipped. Errors are logged, and the timer continues.

    Raises ValueError if the interval is not a number from 1 to 2147483647, and TypeError if `fn` is not a function."""
    _check("an interval", interval_ms, 1, fn)
    return Timer(interval_ms, fn, True)


def after(delay_ms, fn):
    """Runs `fn` once after `delay_ms` milliseconds. Returns an object with `stop()`. Errors are logged.

    Raises ValueError if the delay is not a number from 0 to 2147483647, and TypeError if `fn` is not a function."""
    _check("a delay", delay_ms, 0, fn)
    return Timer(delay_ms, fn, False)


def _check(what, ms, least, fn):
    check_function("a timer", fn)
    if isinstance(ms, bool) or not isinstance(ms, (int, float)) or not least <= ms <= MAX_TIMER_MS:
        raise ValueError(f"{what} must be a number of milliseconds from {least} to {MAX_TIMER_MS}, not {ms!r}")


# Called by the server:


def run_due(now):
    """Runs each due timer once. Returns the seconds until the next one, or None without timers."""
    for _ in range(len(_waiting)):
        if not _waiting or _waiting[0][0] > now:
            break
        timer = heapq.heappop(_waiting)[2]
        if not timer._is_stopped:
            _run(timer)
    while _waiting and _waiting[0][2]._is_stopped:
        heapq.heappop(_waiting)
    return max(0.0, _waiting[0][0] - monotonic()) if _waiting else None


def _run(timer):
    global _running
    _running = timer._fn
    try:
        timer._fn()
    except Exception:
        log(f"the timer {name_of(timer._fn)} failed:")
        log_error(*sys.exc_info())
    finally:
        _running = None
    if timer._interval_s is None or timer._is_stopped:
        return
    # Keeps the original phase; missed intervals are skipped.
    missed = max(0, int((monotonic() - timer._due) / timer._interval_s))
    timer._due += (missed + 1) * timer._interval_s
    heapq.heappush(_waiting, (timer._due, next(_order), timer))


def begin_anew():
    """Restarts all intervals in a forked instance: they count from the fork, not from the time the app was loaded."""
    now = monotonic()
    for at, (_, order, timer) in enumerate(_waiting):
        timer._due = now + timer._delay_s
        _waiting[at] = (timer._due, order, timer)
    heapq.heapify(_waiting)


def stop_all():
    """Stops all timers."""
    for _, _, timer in list(_waiting):
        timer.stop()


def under_way():
    return 0 if _running is None else 1


def describe_lost():
    running = _running
    return [] if running is None else [f"timers are cut off under way: {count_names([name_of(running)])}"]


background.timers = sys.modules[__name__]
