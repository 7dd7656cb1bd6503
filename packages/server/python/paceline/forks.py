"""What holds in a process that the app forks from an instance: it is no instance, so it takes no signals for one and never serves."""

import _thread
import os
import signal
import sys

from .errors import ClientGone
from .output import log, log_error

#: Whether this process was forked from an instance.
is_child = False

_masks = {}


def ignore_signal(_signal, _frame):
    """Does nothing. SIG_IGN in its place would stay in force in every program that the app starts."""


def watch(on_leave, close_sockets):
    """For the instance, once: `on_leave` is its handler of SIGTERM, `close_sockets` closes a child's copies of its sockets."""

    def before():
        # A SIGTERM that came to the child before it has the default again would be lost.
        _masks[_thread.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def after_in_parent():
        _unmask()

    def after_in_child():
        global is_child
        is_child = True
        if signal.getsignal(signal.SIGTERM) is on_leave:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is ignore_signal:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _unmask()
        close_sockets()

    os.register_at_fork(before=before, after_in_parent=after_in_parent, after_in_child=after_in_child)


def _unmask():
    mask = _masks.pop(_thread.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def end(where, error=None):
    """Ends a forked child that came back to the server from the app's code, with the status that Python would give it."""
    code = 1
    if isinstance(error, SystemExit):
        code = error.code
        if code is None:
            code = 0
        elif not isinstance(code, int):
            log(code)
            code = 1
    else:
        log(f"{where}: a forked child returned into the server and exits")
        if error is not None and not isinstance(error, ClientGone):
            log_error(type(error), error, error.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # It is closed, or its disk is full.
    os._exit(code & 0xFF)
