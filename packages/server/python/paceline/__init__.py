"""What a Python app can import from Paceline: timers, deferred jobs, and hooks after a fork."""

__all__ = ["after", "defer", "every", "post_fork"]


def __getattr__(name):
    # Loaded on demand, so that an app that uses neither pays for neither.
    if name in ("after", "every"):
        from . import timers as module
    elif name == "defer":
        from . import deferred as module
    elif name == "post_fork":
        from . import hooks as module
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
