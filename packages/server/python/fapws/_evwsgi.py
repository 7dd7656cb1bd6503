"""The functions of FAPWS's server that start scripts call. Paceline does the listening and serving."""

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
    """Records where FAPWS would have listened, without effect: Paceline's `listen` or `--listen` decides."""


def set_base_module(module):
    """Sets the module that provides `Environ` and `Start_response`: `fapws.base`, or one that builds on it."""
    _application.set_base(module)


def wsgi_cb(pair):
    """Takes `(path, callback)` and routes paths with this prefix to the callback. The first match is used."""
    address, callback = pair
    _application.add(address, callback)


def wsgi_gen_cb(callback):
    """Sets the callback for all paths without a `wsgi_cb` callback. Default: 404."""
    _application.set_generic(callback)


def run():
    """
    Serves until the instance is stopped, then returns, so that the script can finish. Raises paceline.errors.InstanceError
    outside `paceline start --fapws`. Returns at once in a multiprocessing process.
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
    # `_inheriting`: the process is still loading the script and does not know its parent yet.
    return process.parent_process() is not None or getattr(process.current_process(), "_inheriting", False)


def has_run():
    """Whether the script has called `run`."""
    return _has_run


def add_timer(seconds, callback):
    """Calls `callback()` every `seconds`. Returns the timer's number."""
    return _timers.add(seconds, callback)


def stop_timer(number):
    """Stops the timer with this number. Raises ValueError for an unknown number."""
    _timers.stop(number)


def restart_timer(number):
    """Restarts the timer's interval, also that of a stopped timer. Raises ValueError for an unknown number."""
    _timers.restart(number)


def defer(callback, argument=None, combined=False):
    """
    Calls `callback(argument)` when the server is idle, first in, first out. `combined` drops the call if an equal one is
    queued.
    """
    import paceline

    paceline.defer(callback, argument, combined=bool(combined))


def defer_queue_size():
    """Returns the number of deferred calls that are queued or running."""
    from paceline import background

    stats = background.deferred_stats()
    return 0 if stats is None else stats["jobs"]


def set_debug(level):
    """Does nothing; for scripts that call it. Paceline's log reports each failed request."""
    global _debug
    _debug = int(level)


def get_debug():
    return _debug


def set_log_level(level):
    """Does nothing; for scripts that call it."""
    global _log_level
    _log_level = int(level)


def get_log_level():
    return _log_level


def libev_version():
    """Returns (0, 0), because libev is not used."""
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
