"""Converts a callback's result into the blocks of a body."""

import os

from ._text import to_bytes

# : How many bytes of a file are read at once.
BLOCK_BYTES = 65536


def is_whole(result):
    """Whether all blocks are available already."""
    return isinstance(result, (bytes, bytearray, str, list, tuple)) or result is None


def is_file(result):
    """Whether the result is a file opened in binary mode."""
    return hasattr(result, "read") and hasattr(result, "fileno") and not hasattr(result, "encoding")


def is_file_wrapper(result, environ):
    """Whether the result is WSGI's file wrapper, which the server may send directly."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(result, wrapper)


def file_length(file):
    """Returns the bytes left to read in a file; None if unknown, as for a pipe."""
    try:
        return max(0, os.fstat(file.fileno()).st_size - file.tell())
    except (OSError, ValueError):
        return None


def whole_blocks(result, charset):
    """Returns the non-empty blocks of a complete result, as bytes."""
    if result is None:
        return []
    if isinstance(result, (bytes, bytearray, str)):
        result = [result]
    return [block for block in (to_bytes(item, charset) for item in result) if block]


def file_blocks(file):
    """Reads the blocks of a file that the server cannot send directly."""
    try:
        while block := file.read(BLOCK_BYTES):
            yield block
    finally:
        file.close()


class Blocks:
    """Yields the blocks of an iterable as bytes. Requests the first one early, because a generator calls start_response only then."""

    def __init__(self, iterable):
        self._iterable = iterable
        self._iterator = iter(iterable)
        try:
            self._first = next(self._iterator, None)
        except BaseException:
            self.close()
            raise
        #: Set when the head is known.
        self.charset = "utf-8"

    def __iter__(self):
        if self._first is None:
            return
        first, self._first = self._first, None
        if first:
            yield to_bytes(first, self.charset)
        for item in self._iterator:
            # Skips empty blocks, which could end a chunked body early in a careless server.
            if item:
                yield to_bytes(item, self.charset)

    def close(self):
        close = getattr(self._iterable, "close", None)
        if close is not None:
            close()


def read_blocks(file, length):
    """Reads `length` bytes of a file from its current position."""
    while length > 0:
        block = file.read(min(length, BLOCK_BYTES))
        if not block:
            # Aborts, so that the incomplete body does not look complete.
            raise OSError("the file has become shorter while it was sent")
        length -= len(block)
        yield block
