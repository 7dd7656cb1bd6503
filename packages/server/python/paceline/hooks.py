"""Hooks that run in each instance before its first request, for resources that must not be shared across a fork."""

from .errors import AppError
from .names import check_function, name_of

_hooks = []
_has_run = False


def post_fork(fn):
    """Calls `fn()` once in each instance before its first request: with `preload` after the fork, otherwise after the app has
    loaded. Calls it at once if that time has passed. Returns `fn`, so it works as a decorator.

    If `fn` raises, the instance does not start. Raises TypeError if `fn` is not a function."""
    check_function("post_fork", fn)
    if _has_run:
        fn()
    else:
        _hooks.append(fn)
    return fn


def run():
    """Called by the server. Raises AppError."""
    global _has_run
    _has_run = True
    for fn in _hooks:
        try:
            fn()
        except Exception as error:
            raise AppError(f"the post_fork function {name_of(fn)} failed: {type(error).__name__}: {error}") from error
