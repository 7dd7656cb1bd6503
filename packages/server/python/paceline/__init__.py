"""What a Python app may import of Paceline: work at intervals, work that is put off until the instance is idle, work after a fork."""

__all__ = ["after", "defer", "every", "post_fork"]


def __getattr__(name):
    # Loaded when asked for: an instance whose app uses neither pays for neither.
    if name in ("after", "every"):
        from . import timers as module
    elif name == "defer":
        from . import deferred as module
    elif name == "post_fork":
        from . import hooks as module
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
