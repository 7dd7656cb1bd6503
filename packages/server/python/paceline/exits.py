"""Logs which request exits the process. Otherwise only its exit status would be known."""

import os
import signal
import sys

from . import forks
from .output import log
from .stacks import request_of

MAX_VALUE_CHARACTERS = 100
# The exit status after a KeyboardInterrupt, as in shells: 128 plus SIGINT.
INTERRUPTED = 130

# Ends this process without a log line.
end_process = os._exit
_kill = os.kill
# Signals that end a process unless it handles them. An instance's own handler of SIGTERM ends it, too.
ENDING = {signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT, signal.SIGKILL, signal.SIGTERM}


def watch(is_leaving):
    """Call this once per instance. Calls of `os._exit` and `os.kill` can only be seen by functions that replace them."""

    def kill(pid, number):
        is_own = pid == os.getpid() and number in ENDING and not forks.is_child
        if is_own and not is_leaving() and (number == signal.SIGTERM or signal.getsignal(number) is signal.SIG_DFL):
            _say_called(sys._getframe(1), f"os.kill(os.getpid(), {signal.Signals(number).name})")
        _kill(pid, number)

    os._exit = _exit_of_app
    os.kill = kill


def _exit_of_app(status):
    # A forked child also ends like this.
    if not forks.is_child:
        _say_called(sys._getframe(1), f"os._exit({status})")
    end_process(status)


def _say_called(caller, how):
    code = caller.f_code
    say(request_of(caller), f"{how} in {code.co_name} ({os.path.basename(code.co_filename)}:{caller.f_lineno})")


def say_raised(request, error):
    """`error`: SystemExit or KeyboardInterrupt."""
    how = "KeyboardInterrupt"
    if isinstance(error, SystemExit):
        how = f"sys.exit({'' if error.code is None else ascii(error.code)[:MAX_VALUE_CHARACTERS]})"
    say(request, how)


def say(request, how):
    # The supervisor recognizes this line (exitOfApp in packages/supervisor/src/logs/output.ts).
    log(f"{'' if request is None else f'{request}: '}the app ended this process with {how}")
