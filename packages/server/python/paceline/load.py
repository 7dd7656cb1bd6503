"""Finds a pool's apps, such as `mysite.wsgi:application`, `./graphite.wsgi` or `shop:create_app("prod")`."""

import os
import re
import sys

from .app_shape import problem_with
from .errors import AppError


_NAME = re.compile(r"(.+?)(?::([\w.]+)(?:\((.*)\))?)?", re.DOTALL)


def load_wsgi(wsgi):
    """Returns the callable for one name, or for a table of prefixes and names. Raises AppError."""
    if isinstance(wsgi, str):
        return load_app(wsgi, "wsgi")
    from .mounts import Mounts

    return Mounts({prefix: load_app(name, "wsgi") for prefix, name in wsgi.items()})


def load_app(name, kind):
    """Returns the app at `module:attribute`, or the result of `module:factory(...)`. Raises AppError."""
    place, path, call = _parts(name)
    found = _module(name, place)
    if path is None:
        path = "app" if hasattr(found, "app") and not hasattr(found, "application") else "application"
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise AppError(f"{name}: {_place(place)} has no {path}") from None
    if call is not None:
        args, kwargs = _arguments(name, call)
        try:
            found = found(*args, **kwargs)
        except Exception as error:
            raise AppError(f"{name} failed: {_describe(error)}") from error
    problem = problem_with(found, kind, f"{place}:{path}", call is not None)
    if problem is not None:
        raise AppError(f"{name} {problem}")
    return found


def _parts(name):
    """Returns the module or file, the attribute, and the text in the parentheses of a call, if any."""
    return _NAME.fullmatch(name).groups()


def _module(name, place):
    try:
        if place.startswith("/"):
            return _module_of_file(place)
        __import__(place)
        return sys.modules[place]
    except ModuleNotFoundError as error:
        missing = error.name or ""
        # If another module is missing, inside the app, its traceback is reported instead.
        if missing and (missing == place or place.startswith(f"{missing}.")):
            raise AppError(f"{name}: there is no module {missing!r} on sys.path, which begins at {sys.path[0]}") from None
        raise AppError(f"{name} failed to load: {_describe(error)}") from error
    except Exception as error:
        raise AppError(f"{name} failed to load: {_describe(error)}") from error
    except SystemExit as error:
        raise AppError(f"{name} failed to load: it ended the process with sys.exit({error.code!r})") from error


def _module_of_file(path):
    """Loads a file with any suffix. As for a script, modules beside the file can be imported."""
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_file_location

    folder, base = os.path.split(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = base.partition(".")[0]
    # Keeps the file's name if possible, so that its objects can be pickled.
    if not name.isidentifier() or name in sys.modules or name in getattr(sys, "stdlib_module_names", ()):
        name = f"paceline_app_{''.join(c if c.isalnum() else '_' for c in name)}"
    spec = spec_from_file_location(name, path, loader=SourceFileLoader(name, path))
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _arguments(name, call):
    """Parses a call's arguments: only literals, so that nothing but the factory runs. Raises AppError."""
    if not call.strip():
        return (), {}
    import ast

    try:
        made = ast.parse(f"f({call})", mode="eval").body
        if not isinstance(made, ast.Call) or not isinstance(made.func, ast.Name):
            raise ValueError
        args = [ast.literal_eval(arg) for arg in made.args]
        kwargs = {}
        for keyword in made.keywords:
            if keyword.arg is None:
                raise ValueError
            kwargs[keyword.arg] = ast.literal_eval(keyword.value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        example = '"prod", workers=2, debug=False'
        raise AppError(f"{name}: the arguments of a factory are texts, numbers and other literals, such as ({example})") from None
    return args, kwargs


def _place(place):
    return place if place.startswith("/") else f"the module {place}"


def _describe(error):
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
