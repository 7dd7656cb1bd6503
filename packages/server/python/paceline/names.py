"""The names of timers and jobs in messages."""

MAX_NAMES = 20


def name_of(fn):
    return getattr(fn, "__name__", None) or type(fn).__name__


def count_names(names):
    """Returns text such as `save × 3, mail × 1`, in order of first occurrence."""
    counts = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    shown = [f"{name} × {count}" for name, count in list(counts.items())[:MAX_NAMES]]
    if len(counts) > MAX_NAMES:
        shown.append(f"{len(counts) - MAX_NAMES} other names")
    return ", ".join(shown)


def check_function(what, fn):
    """Raises TypeError if `fn` cannot run between two requests."""
    if not callable(fn):
        raise TypeError(f"{what} runs a function, not {fn!r}")
    code = getattr(fn, "__code__", None)
    # CO_COROUTINE: a call would not run its body.
    if code is not None and code.co_flags & 0x80:
        raise TypeError(f"{what} runs no async function: {name_of(fn)}")
