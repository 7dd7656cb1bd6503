"""The Range field (RFC 9110, section 14.2), one range only."""

import re

_ONE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


def parse_range(text, size):
    """
    Returns `(first, end)` of a range within `size` bytes, `end` excluded. Returns None to send everything: for malformed and
    for multiple ranges. Returns "unsatisfiable" if no byte is in the range.
    """
    found = _ONE.fullmatch(text.strip())
    if found is None or (found[1] == "" and found[2] == ""):
        return None
    if found[1] == "":
        length = min(int(found[2]), size)
        return (size - length, size) if length > 0 else "unsatisfiable"
    first = int(found[1])
    last = int(found[2]) if found[2] else size - 1
    if found[2] and last < first:
        return None
    return (first, min(last, size - 1) + 1) if first < size else "unsatisfiable"
