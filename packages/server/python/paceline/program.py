"""What a Python instance does from its start to its end, by what its pool runs."""

import atexit
import faulthandler
import json
import os
import sys

from . import leftovers
from .environment import take_environment
from .errors import AppError, InstanceError
from .output import log, open_streams

OLDEST_PYTHON = (3, 9)


def main():
    """Runs this process as an instance; exits 1 when it cannot, and tells why."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit("paceline: Python %d.%d is too old: an instance needs 3.9" % sys.version_info[:2])
    open_streams()
    # A process that the supervisor gives up gets SIGABRT first, and writes what each thread is at.
    faulthandler.enable()
    if sys.argv[1:2] == ["--load-only"]:
        return load_only(json.loads(sys.argv[2]))
    instance = None
    try:
        identity = take_environment()
        if identity is None:
            sys.exit("paceline: this program is started by `paceline start`, for a pool with the key `wsgi`, `asgi` or `fapws`")
        # The first to be registered is the last to be called.
        atexit.register(leftovers.end_if_alone)
        if identity.is_template:
            leftovers.begin_in_template()
            from .template import Template as Role
        else:
            from .instance import Instance as Role

        instance = Role.make(identity)
        # The app is found from the working directory, as with `python3 -m`.
        sys.path.insert(0, os.getcwd())
        _run(identity.spec, instance)
    except InstanceError as error:
        if instance is not None:
            instance.fault(str(error))
        if isinstance(error, AppError) and error.__cause__ is not None:
            cause = error.__cause__
            sys.__excepthook__(type(cause), cause, cause.__traceback__)
        log(f"paceline: {error}")
        sys.exit(1)
    except Exception as error:
        if instance is not None:
            instance.fault(f"{type(error).__name__}: {error}")
        raise


def load_only(spec):
    """Loads what a pool runs, and ends: exits 1 when it cannot, and tells why. A FAPWS script serves: it is only compiled."""
    sys.path.insert(0, os.getcwd())
    try:
        if "wsgi" in spec:
            from .load import load_wsgi

            load_wsgi(spec["wsgi"])
        elif "asgi" in spec:
            from .asgi_instance import load_asgi

            load_asgi(spec["asgi"])
        else:
            script = spec["fapws"]["script"]
            with open(script, "rb") as source:
                compile(source.read(), script, "exec")
    except (InstanceError, OSError, SyntaxError, ValueError) as error:
        cause = error.__cause__
        if cause is not None:
            sys.__excepthook__(type(cause), cause, cause.__traceback__)
        sys.exit(str(error))


def _run(spec, instance):
    """What a pool runs follows from the key that its spec has."""
    if "wsgi" in spec:
        from .load import load_wsgi

        instance.serve(load_wsgi(spec["wsgi"]))
    elif "asgi" in spec:
        from .asgi_instance import run_asgi

        run_asgi(spec["asgi"], instance)
    elif "fapws" in spec:
        from fapws.paceline_script import run_script

        run_script(spec["fapws"]["script"], spec["fapws"].get("args", []))
    else:
        raise InstanceError("there is nothing to run")
