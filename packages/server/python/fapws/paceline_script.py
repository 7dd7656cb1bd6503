"""Runs a start script as an instance, like `python start.py`, and restores removed Python features that it needs."""

import os
import runpy
import sys

from paceline.errors import AppError, InstanceError

from . import _evwsgi


def run_script(path, args=()):
    """
    Runs the script, which serves in `_evwsgi.run()`; returns when the script has ended. Raises AppError if the script fails
    before it serves, and the script's own error if it fails later.
    """
    sys.argv = [path, *args]
    # Like Python itself, replaces the working directory on sys.path by the script's folder.
    sys.path.insert(0, os.path.dirname(path))
    try:
        runpy.run_path(path, run_name="__main__")
    except InstanceError:
        raise
    except SyntaxError as error:
        raise AppError(_syntax(error)) from error
    except SystemExit as error:
        if not _evwsgi.has_run():
            raise AppError(f"{path} exited with {error.code!r} before it called _evwsgi.run()") from error
        raise
    except Exception as error:
        if not _evwsgi.has_run():
            raise AppError(f"{path} failed before it served: {type(error).__name__}: {error}") from error
        raise
    if not _evwsgi.has_run():
        raise AppError(f"{path} ended without a call of _evwsgi.run()")


def _syntax(error):
    hint = ""
    if any(word in f"{error.msg} {error.text}" for word in ("print", "except", "exec", "0777", "<>")):
        hint = "; if it is written for Python 2, docs/migrating-from-fapws.md says how to convert it"
    return f"{error.filename}, line {error.lineno}: {error.msg}{hint}"
