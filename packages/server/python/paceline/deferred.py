"""Deferred jobs: run when the server is idle, first in, first out, on the main thread between two requests."""

import _thread
import atexit
import sys
from collections import deque
from time import monotonic

from . import background
from .equal_arguments import digest
from .names import check_function, count_names, name_of
from .output import log, log_error

# The maximum gap between the requests of a burst.
QUIET_S = 0.01
# The maximum time for which a job waits for a burst to pass. After that, it runs in any turn of the loop without a request.
SETTLE_S = 0.1
# The limit without a server; a server has its own.
MAX_JOBS_WITHOUT_SERVER = 50_000

_jobs = deque()
# The queued arguments by digest, for each function.
_queued = {}
_lock = _thread.allocate_lock()
_running = None
_activity = 0
_started = 0
_quiet_since = 0.0


class DeferQueueFull(RuntimeError):
    """Raised when the queue has reached `limits.maxDeferredJobs`."""


def defer(fn, argument=None, combined=False):
    """Queues the call `fn(argument)` for when the server is idle. Any thread may call this.

    `combined` drops the call if one with the same function and an equal argument (`==`) is queued.

    Raises DeferQueueFull beyond `limits.maxDeferredJobs`, and TypeError if `fn` is not a function."""
    global _activity
    check_function("defer", fn)
    most = background.limits["maxDeferredJobs"] if background.limits else MAX_JOBS_WITHOUT_SERVER
    key = digest(argument)
    with _lock:
        alike = _queued.setdefault(fn, {}).setdefault(key, [])
        if combined and any(waiting is argument or waiting == argument for waiting in alike):
            return
        if len(_jobs) >= most:
            _forget(fn, key)
            raise DeferQueueFull(f"{most} deferred jobs wait already (limits.maxDeferredJobs)")
        alike.append(argument)
        _jobs.append((fn, argument, key, monotonic()))
        _activity += 1
    background.wake()


def _forget(fn, key):
    """Removes the entry, and the function's table if it becomes empty."""
    by_digest = _queued[fn]
    if not by_digest[key]:
        del by_digest[key]
    if not by_digest:
        del _queued[fn]


# Called by the server:


def step(started):
    """Runs the oldest job if it is due. Returns the seconds until the next call, or None without jobs.

    `started` counts requests; the loop makes a whole turn between two calls."""
    global _started, _quiet_since
    now = monotonic()
    if started != _started:
        has_changed = True
        _started = started
        _quiet_since = now
    else:
        has_changed = False
    if not _jobs:
        return None
    age_s = now - _jobs[0][3]
    max_delay_s = background.limits["maxDeferDelayMs"] / 1000 if background.limits else SETTLE_S
    if age_s >= max_delay_s or (not has_changed and (age_s >= SETTLE_S or now - _quiet_since >= QUIET_S)):
        _run_oldest()
        # The other jobs wait for the next turn.
        return 0 if _jobs else None
    if age_s >= SETTLE_S:
        return 0
    return min(max(0.0, _quiet_since + QUIET_S - now), SETTLE_S - age_s, max_delay_s - age_s)


def _run_oldest():
    global _running, _activity
    with _lock:
        fn, argument, key, _ = _jobs.popleft()
        alike = _queued[fn][key]
        del alike[next(at for at, waiting in enumerate(alike) if waiting is argument)]
        _forget(fn, key)
    _running = fn
    try:
        fn(argument)
    except Exception:
        log(f"the deferred job {name_of(fn)} failed:")
        log_error(*sys.exc_info())
    finally:
        _running = None
        _activity += 1


def unfinished():
    return len(_jobs) + (0 if _running is None else 1)


def stats():
    """Returns DeferredStats of packages/wire/src/control/reporter.ts."""
    try:
        oldest_ms = round((monotonic() - _jobs[0][3]) * 1000)
    except IndexError:
        oldest_ms = 0
    return {"jobs": unfinished(), "oldestMs": oldest_ms}


def describe_lost():
    names = [name_of(job[0]) for job in list(_jobs)]
    running = _running
    if not names and running is None:
        return []
    queued = f"{len(names)} queued ({count_names(names)})" if names else "none queued"
    return [f"deferred jobs are lost: {queued}" + ("" if running is None else f"; under way: {name_of(running)}")]


def _run_without_server():
    """Runs the jobs at the end of a process without a server, such as a test of the app."""
    while _jobs and not background.is_served():
        _run_oldest()


atexit.register(_run_without_server)
background.deferred = sys.modules[__name__]
