"""Handles processes that the app forks from an instance: they ignore the instance's signals and never serve."""

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
    """Does nothing. Unlike SIG_IGN, this is not inherited by programs that the app starts."""


def watch(on_leave, close_sockets):
    """Call this once per instance. `on_leave` is its SIGTERM handler; `close_sockets` closes a child's copies of its sockets."""

    def before():
        # Blocked, because a SIGTERM that reaches the child before it restores the default handler would be lost.
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
        # The supervisor aborts a hung instance with all its children, whose stacks would hide the stack of the view.
        if signal.getsignal(signal.SIGABRT) is signal.SIG_DFL:
            signal.signal(signal.SIGABRT, signal.SIG_DFL)
        _unmask()
        close_sockets()

    os.register_at_fork(before=before, after_in_parent=after_in_parent, after_in_child=after_in_child)


def _unmask():
    mask = _masks.pop(_thread.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def end(where, error=None):
    """Ends a forked child whose app code has returned to the server, with the status that Python would use."""
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
            pass  # The stream is closed, or its disk is full.
    os._exit(code & 0xFF)
