"""Converts between text and bytes, for old scripts that pass one where HTTP needs the other."""

import re


def to_text(value):
    """Converts str, bytes or anything else to str; bytes become the characters with the same codes (PEP 3333)."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return value.decode("latin-1")
    return str(value)


def to_bytes(value, charset="utf-8"):
    """Converts a block of a body to bytes. Text is encoded in `charset`; surrogates become the original bytes."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, str):
        raise TypeError(f"a body must be made of str or bytes, not {type(value).__name__}")
    if charset == "utf-8":
        return value.encode("utf-8", "surrogateescape")
    return value.encode(charset, "xmlcharrefreplace")


_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9._:-]+)", re.IGNORECASE)


def charset_of(content_type):
    """Returns the charset of a Content-Type if Python knows it; otherwise utf-8."""
    found = _CHARSET.search(content_type or "")
    if found is None:
        return "utf-8"
    try:
        "".encode(found[1])
    except LookupError:
        return "utf-8"
    return "utf-8" if found[1].lower() in ("utf-8", "utf8") else found[1]


def header_text(value, what):
    """Returns a field's name or value as WSGI requires it. Raises ValueError for line breaks, which could inject fields."""
    if type(value) is str and value.isascii() and value.isprintable():
        return value
    text = to_text(value)
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "surrogateescape").decode("latin-1")
    if any(character < " " and character != "\t" or character == "\x7f" for character in text):
        raise ValueError(f"{what} has a control character in it: {text!r}")
    return text
