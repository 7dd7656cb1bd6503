"""What a timer or a job is called where it is told of."""

MAX_NAMES = 20


def name_of(fn):
    return getattr(fn, "__name__", None) or type(fn).__name__


def count_names(names):
    """Such as `save × 3, mail × 1`, in the order in which they are met first."""
    counts = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    told = [f"{name} × {count}" for name, count in list(counts.items())[:MAX_NAMES]]
    if len(counts) > MAX_NAMES:
        told.append(f"{len(counts) - MAX_NAMES} other names")
    return ", ".join(told)


def check_function(what, fn):
    """Raises TypeError for what cannot be run between two requests."""
    if not callable(fn):
        raise TypeError(f"{what} runs a function, not {fn!r}")
    code = getattr(fn, "__code__", None)
    # CO_COROUTINE: calling it would run nothing of it.
    if code is not None and code.co_flags & 0x80:
        raise TypeError(f"{what} runs no async function: {name_of(fn)}")
