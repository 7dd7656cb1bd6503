"""Work that is put off until the server is idle: first in, first out, on the main thread between two requests."""

import _thread
import atexit
import sys
from collections import deque
from time import monotonic

from . import background
from .equal_arguments import digest
from .names import check_function, count_names, name_of
from .output import log, log_error

# Requests of one burst come closer together than this.
QUIET_S = 0.01
# A job waits for a burst to pass no longer than this: then any turn of the loop without a request will do.
SETTLE_S = 0.1
# Where no server runs; else its limits hold.
MAX_JOBS_WITHOUT_SERVER = 50_000

_jobs = deque()
# By function: the arguments that wait, by digest.
_queued = {}
_lock = _thread.allocate_lock()
_running = None
_activity = 0
_begun = 0
_quiet_since = 0.0


class DeferQueueFull(RuntimeError):
    """More jobs wait than `limits.maxDeferredJobs` allows."""


def defer(fn, argument=None, combined=False):
    """Queues the call `fn(argument)` for when the server is idle; any thread may call it.

    With `combined` it is dropped when its function waits already with an equal argument (`==`), whoever queued that.

    Raises DeferQueueFull beyond `limits.maxDeferredJobs`, TypeError for what is no function.
    """
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
    """Leaves no empty places behind."""
    by_digest = _queued[fn]
    if not by_digest[key]:
        del by_digest[key]
    if not by_digest:
        del _queued[fn]


# For the server.


def step(begun):
    """Runs the oldest job if the time for it has come; answers in how many seconds to look again, None with no job.

    `begun` counts requests; the loop has a whole turn between two calls.
    """
    global _begun, _quiet_since
    now = monotonic()
    if begun != _begun:
        has_changed = True
        _begun = begun
        _quiet_since = now
    else:
        has_changed = False
    if not _jobs:
        return None
    age_s = now - _jobs[0][3]
    max_delay_s = background.limits["maxDeferDelayMs"] / 1000 if background.limits else SETTLE_S
    if age_s >= max_delay_s or (not has_changed and (age_s >= SETTLE_S or now - _quiet_since >= QUIET_S)):
        _run_oldest()
        # The rest waits for its own turn.
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
    """As DeferredStats of packages/wire/src/control/child-message.ts."""
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
    """Where no server runs, as in a test of the app, jobs run at the end of the process."""
    while _jobs and not background.is_served():
        _run_oldest()


atexit.register(_run_without_server)
background.deferred = sys.modules[__name__]
