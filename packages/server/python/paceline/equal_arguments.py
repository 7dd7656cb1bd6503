"""A number for an argument, the same for arguments that are equal: an equal one is found without looking at each that waits."""

# Of a large argument only so much is looked at: those that are alike until there share a digest.
MAX_NODES = 100


def digest(argument):
    """Equal arguments have equal digests; different ones mostly do not."""
    return _digest(argument, [MAX_NODES])


def _digest(value, budget):
    budget[0] -= 1
    if budget[0] < 0:
        return 0
    if isinstance(value, dict):
        # In whatever order: dicts with the same items are equal. Of a large one only the size counts.
        if len(value) > budget[0]:
            return hash(("dict", len(value)))
        items = 0
        for key, each in value.items():
            # Items must not share a budget, or their order would matter.
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
        # Of a class that knows equality and no hash.
        return 0
