"""The functions of FAPWS's server, as a start script calls them. Paceline listens and serves; this tells it what."""

import sys

from . import base
from ._application import Application
from ._dates import rfc1123_date
from ._form import parse_query
from ._timers import Timers

_application = Application()
_has_run = False
_debug = 0
_log_level = 0


def _every(seconds, callback):
    import paceline

    return paceline.every(seconds * 1000, callback)


_timers = Timers(_every)


def start(host, port):
    """Where FAPWS would have listened. Taken note of alone: Paceline listens where its `listen` or `--listen` says."""


def set_base_module(module):
    """The module whose `Environ` and `Start_response` are used; `fapws.base`, or one that builds on it."""
    _application.set_base(module)


def wsgi_cb(pair):
    """`(address, callback)`: what begins with the address goes to the callback, where several fit to the first."""
    address, callback = pair
    _application.add(address, callback)


def wsgi_gen_cb(callback):
    """The callback of all addresses that `wsgi_cb` has none for. Default: 404."""
    _application.set_generic(callback)


def run():
    """
    Serves until the instance is stopped; then it returns, and the script goes on to its end. Raises paceline.errors.InstanceError in a
    process that `paceline start --fapws` has not started. In a process of multiprocessing, which loads the script again, it returns at once.
    """
    from paceline import instance

    global _has_run
    _has_run = True
    if _is_worker():
        return
    instance.serve(_application)


def _is_worker():
    process = sys.modules.get("multiprocessing.process")
    if process is None:
        return False
    # The latter while it loads the script, when it knows no parent yet.
    return process.parent_process() is not None or getattr(process.current_process(), "_inheriting", False)


def has_run():
    """Whether the script has called `run`."""
    return _has_run


def add_timer(seconds, callback):
    """Calls `callback()` every `seconds`. Returns the timer's number."""
    return _timers.add(seconds, callback)


def stop_timer(number):
    """Stops the timer with this number. Raises ValueError when there is none."""
    _timers.stop(number)


def restart_timer(number):
    """Begins the interval of this timer anew, a stopped one's too. Raises ValueError when there is none."""
    _timers.restart(number)


def defer(callback, argument=None, combined=False):
    """
    Calls `callback(argument)` when the server is idle; first in, first out. `combined` drops it when an equal one waits already.
    """
    import paceline

    paceline.defer(callback, argument, combined=bool(combined))


def defer_queue_size():
    """How many deferred calls have not ended: those that wait, and one that runs."""
    from paceline import background

    stats = background.deferred_stats()
    return 0 if stats is None else stats["jobs"]


def set_debug(level):
    """Kept for scripts that call it. Paceline's own log tells of each request that failed."""
    global _debug
    _debug = int(level)


def get_debug():
    return _debug


def set_log_level(level):
    """Kept for scripts that call it, as `set_debug` is."""
    global _log_level
    _log_level = int(level)


def get_log_level():
    return _log_level


def libev_version():
    """(0, 0): there is no libev here."""
    return (0, 0)


__all__ = [
    "add_timer",
    "base",
    "defer",
    "defer_queue_size",
    "get_debug",
    "get_log_level",
    "libev_version",
    "parse_query",
    "restart_timer",
    "rfc1123_date",
    "run",
    "set_base_module",
    "set_debug",
    "set_log_level",
    "start",
    "stop_timer",
    "wsgi_cb",
    "wsgi_gen_cb",
]
