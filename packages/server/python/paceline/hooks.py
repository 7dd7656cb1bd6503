"""Functions that each instance runs before its first request: what must not be shared through a fork is made there."""

from .errors import AppError
from .names import check_function, name_of

_hooks = []
_has_run = False


def post_fork(fn):
    """Has each instance call `fn()` once before its first request: with `preload` in its own process, after the fork; without it once
    the app is loaded. Where that is over already, calls it at once. Returns `fn`, so that it serves as a decorator.

    An instance whose function raises does not start. Raises TypeError for what is no function.
    """
    check_function("post_fork", fn)
    if _has_run:
        fn()
    else:
        _hooks.append(fn)
    return fn


def run():
    """For the server. Raises AppError."""
    global _has_run
    _has_run = True
    for fn in _hooks:
        try:
            fn()
        except Exception as error:
            raise AppError(f"the post_fork function {name_of(fn)} failed: {type(error).__name__}: {error}") from error
