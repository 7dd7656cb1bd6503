"""Finds the WSGI callables that a pool names, such as `mysite.wsgi:application`."""

import sys

from .errors import AppError


def load_wsgi(wsgi):
    """The callable of one name, or of a table of prefixes and names. Raises AppError."""
    if isinstance(wsgi, str):
        return load_callable(wsgi)
    from .mounts import Mounts

    return Mounts({prefix: load_callable(name) for prefix, name in wsgi.items()})


def load_callable(name):
    """The object at `module:attribute.attribute`, or what `module:factory()` returns. Raises AppError."""
    module_name, _, path = name.partition(":")
    path = path or "application"
    is_factory = path.endswith("()")
    try:
        __import__(module_name)
        found = sys.modules[module_name]
    except ModuleNotFoundError as error:
        missing = error.name or ""
        # One that the app itself misses is told with its place.
        if missing == module_name or module_name.startswith(f"{missing}."):
            raise AppError(f"{name}: there is no module {missing!r} on sys.path, which begins at {sys.path[0]}") from None
        raise AppError(f"{name} failed to load: {_describe(error)}") from error
    except Exception as error:
        raise AppError(f"{name} failed to load: {_describe(error)}") from error
    except SystemExit as error:
        raise AppError(f"{name} failed to load: it ended the process with sys.exit({error.code!r})") from error
    for attribute in path.removesuffix("()").split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise AppError(f"{name}: the module {module_name} has no {path}") from None
    if is_factory:
        try:
            found = found()
        except Exception as error:
            raise AppError(f"{name} failed: {_describe(error)}") from error
    if not callable(found):
        raise AppError(f"{name} is no WSGI callable, but {type(found).__name__}")
    return found


def _describe(error):
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
