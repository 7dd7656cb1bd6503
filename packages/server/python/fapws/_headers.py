"""The header fields of a response: a case-insensitive mapping that can hold several fields of one name."""

from collections.abc import MutableMapping

from ._text import header_text

# Each of these may occur several times; any other field replaces the earlier one.
_REPEATED = frozenset(["set-cookie", "link", "www-authenticate", "vary", "warning", "via"])


class Headers(MutableMapping):
    def __init__(self, pairs=()):
        self._fields = {}
        for name, value in pairs:
            self.add(name, value)

    def add(self, name, value):
        """Adds a field. It replaces one of the same name, unless that may occur several times."""
        name, value = header_text(name, "a header's name"), header_text(value, "a header's value")
        key = name.lower()
        if key in _REPEATED and key in self._fields:
            self._fields[key].append((name, value))
        else:
            self._fields[key] = [(name, value)]

    def pairs(self):
        return [pair for fields in self._fields.values() for pair in fields]

    def __setitem__(self, name, value):
        name = header_text(name, "a header's name")
        self._fields[name.lower()] = [(name, header_text(value, "a header's value"))]

    def __getitem__(self, name):
        return ", ".join(value for _, value in self._fields[header_text(name, "a header's name").lower()])

    def get(self, name, default=None):
        fields = self._fields.get(name.lower())
        if fields is None:
            return default
        return fields[0][1] if len(fields) == 1 else self[name]

    def __delitem__(self, name):
        del self._fields[header_text(name, "a header's name").lower()]

    def __contains__(self, name):
        return name.lower() in self._fields

    def __iter__(self):
        return iter([fields[0][0] for fields in self._fields.values()])

    def __len__(self):
        return len(self._fields)
