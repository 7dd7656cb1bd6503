"""Detects unsuitable callables: an ASGI app instead of a WSGI app, or a factory that was not called."""

from types import FunctionType, MethodType

# Flags of code objects: *args, coroutines, async generators.
_HAS_STAR = 0x04
_IS_ASYNC = 0x80 | 0x200


def _takes_nothing():
    """The signature of a class without parameters."""


def problem_with(found, kind, name, is_made):
    """Returns why `found` is not an app of the kind `wsgi` or `asgi`, as text that follows its name; None if it is one, or may
    be."""
    if not callable(found):
        return f"is no {kind.upper()} callable, but {type(found).__name__}"
    code, skipped, defaults = _code_of(found)
    if code is None:
        return None
    most = code.co_argcount - skipped
    least = most - defaults
    wanted = 2 if kind == "wsgi" else 3
    is_async = code.co_flags & _IS_ASYNC
    if kind == "wsgi" and is_async and most > 0:
        return "is an ASGI app (it is async): name it with `asgi` in the place of `wsgi`"
    if code.co_flags & _HAS_STAR:
        return None
    if least == 0 and not is_made:
        what = "a class" if isinstance(found, type) else "a factory"
        return f'can be called without arguments, so it is {what} that makes an app: write "{name}()"'
    if least <= wanted <= most:
        return None
    if kind == "asgi" and least <= 2 <= most and not is_async:
        return "is a WSGI app (it takes environ and start_response): name it with `wsgi` in the place of `asgi`"
    if kind == "wsgi" and least <= 3 <= most:
        return "takes three arguments, as an ASGI app does: name it with `asgi` in the place of `wsgi`"
    takes = f"takes {least} argument{'' if least == 1 else 's'}"
    hint = "" if is_made else f'; a factory is named with its arguments, such as {name}("prod")'
    return f"is no {kind.upper()} app: it {takes}, an app takes {wanted}{hint}"


def _code_of(found):
    """Returns the code that a call runs, its bound parameters and its defaults (as numbers); None for code not written in Python."""
    skipped = 0
    if isinstance(found, type):
        if found.__init__ is object.__init__ and found.__new__ is object.__new__:
            return _takes_nothing.__code__, 0, 0
        found = found.__init__
        skipped = 1
    elif not isinstance(found, (FunctionType, MethodType)):
        # Calling an object calls its class's method; functools.partial has none in Python.
        found = getattr(type(found), "__call__", None)
        skipped = 1
    if isinstance(found, MethodType):
        found = found.__func__
        skipped = 1
    if not isinstance(found, FunctionType):
        return None, 0, 0
    return found.__code__, skipped, len(found.__defaults__ or ())
