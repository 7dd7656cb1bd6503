"""A digest of arguments that is the same for equal ones, so that equal queued jobs are found without comparing all."""

# Only this many values of a large argument are examined. Arguments that are the same up to there share a digest.
MAX_NODES = 100


def digest(argument):
    """Returns a digest: equal for equal arguments, usually different for others."""
    return _digest(argument, [MAX_NODES])


def _digest(value, budget):
    budget[0] -= 1
    if budget[0] < 0:
        return 0
    if isinstance(value, dict):
        # Independent of order, as the equality of dicts is. Of a large dict, only the size counts.
        if len(value) > budget[0]:
            return hash(("dict", len(value)))
        items = 0
        for key, each in value.items():
            # Each item has its own budget, because a shared one would depend on the order.
            items ^= hash((key, _digest(each, [budget[0] // len(value)])))
        return hash(("dict", len(value), items))
    if isinstance(value, (set, frozenset)):
        return hash(("set", len(value)))
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return hash((kind, len(value), *(_digest(each, budget) for each in value[:MAX_NODES])))
    try:
        return hash(value)
    except TypeError:
        # The class defines equality but no hash.
        return 0
