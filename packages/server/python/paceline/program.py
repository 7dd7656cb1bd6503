"""The program of a Python instance, for each kind of workload."""

import atexit
import faulthandler
import json
import os
import sys

from . import leftovers
from .environment import take_environment
from .errors import AppError, InstanceError
from .output import log, open_streams
from .title import show_title

OLDEST_PYTHON = (3, 9)


def main():
    """Runs this process as an instance. If that fails, reports why and exits with 1."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit("paceline: Python %d.%d is too old: an instance needs 3.9" % sys.version_info[:2])
    open_streams()
    # The supervisor kills a hung process with SIGABRT first, which makes it write all stacks.
    faulthandler.enable()
    if sys.argv[1:2] == ["--load-only"]:
        return load_only(json.loads(sys.argv[2]))
    instance = None
    try:
        identity = take_environment()
        if identity is None:
            sys.exit("paceline: this program is started by `paceline start`, for a pool with the key `wsgi`, `asgi` or `fapws`")
        show_title(identity.spec.get("title", ""))
        # Registered first, so called last.
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
    """Loads a pool's app and exits; on failure, prints why and exits with 1. A FAPWS script would serve, so it is only compiled."""
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
    """Runs the workload, which is identified by its key in the spec."""
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
