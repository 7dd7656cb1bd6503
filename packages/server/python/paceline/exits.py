"""Logs which request ends the process. Otherwise only its exit status would be known."""

import os
import sys

from . import forks
from .output import log
from .stacks import request_of

MAX_VALUE_CHARACTERS = 100
# The exit status after a KeyboardInterrupt, as shells have it: 128 and SIGINT.
INTERRUPTED = 130

# Ends this process without a log line.
end_process = os._exit


def watch():
    """Call once per instance, since only a function in its place sees a call of `os._exit`."""
    os._exit = _exit_of_app


def _exit_of_app(status):
    # A forked child ends like this, too.
    if not forks.is_child:
        caller = sys._getframe(1)
        code = caller.f_code
        place = f"{code.co_name} ({os.path.basename(code.co_filename)}:{caller.f_lineno})"
        say(request_of(caller), f"os._exit({status}) in {place}")
    end_process(status)


def say_raised(request, error):
    """`error`: SystemExit or KeyboardInterrupt."""
    how = "KeyboardInterrupt"
    if isinstance(error, SystemExit):
        how = f"sys.exit({'' if error.code is None else ascii(error.code)[:MAX_VALUE_CHARACTERS]})"
    say(request, how)


def say(request, how):
    # The supervisor recognizes this line (exitOfPython in packages/supervisor/src/logs/output.ts).
    log(f"{'' if request is None else f'{request}: '}the app ended this process with {how}")
