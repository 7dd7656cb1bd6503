"""What a callback returned, as the blocks of a body."""

import os

from ._text import to_bytes

#: Bytes of a file that are read at once.
BLOCK_BYTES = 65536


def is_whole(result):
    """Whether all blocks are there already."""
    return isinstance(result, (bytes, bytearray, str, list, tuple)) or result is None


def is_file(result):
    """Whether it is a file that was opened for bytes."""
    return hasattr(result, "read") and hasattr(result, "fileno") and not hasattr(result, "encoding")


def is_file_wrapper(result, environ):
    """Whether it is WSGI's wrapper of a file, by which the server knows that it may send it on its own."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(result, wrapper)


def file_length(file):
    """How much of a file is left to be read; None when that is not known, as of a pipe."""
    try:
        return max(0, os.fstat(file.fileno()).st_size - file.tell())
    except (OSError, ValueError):
        return None


def whole_blocks(result, charset):
    """The blocks of a result that is whole, as bytes; empty ones are left out."""
    if result is None:
        return []
    if isinstance(result, (bytes, bytearray, str)):
        result = [result]
    return [block for block in (to_bytes(item, charset) for item in result) if block]


def file_blocks(file):
    """The blocks of a file that no server takes as it is."""
    try:
        while block := file.read(BLOCK_BYTES):
            yield block
    finally:
        file.close()


class Blocks:
    """The blocks of an iterable, as bytes, one by one. The first is asked for early: a generator calls start_response only then."""

    def __init__(self, iterable):
        self._iterable = iterable
        self._iterator = iter(iterable)
        try:
            self._first = next(self._iterator, None)
        except BaseException:
            self.close()
            raise
        #: Known when the head is.
        self.charset = "utf-8"

    def __iter__(self):
        if self._first is None:
            return
        first, self._first = self._first, None
        if first:
            yield to_bytes(first, self.charset)
        for item in self._iterator:
            # An empty block would end a chunked body too soon in a careless server, and says nothing.
            if item:
                yield to_bytes(item, self.charset)

    def close(self):
        close = getattr(self._iterable, "close", None)
        if close is not None:
            close()


def read_blocks(file, length):
    """`length` bytes of a file from where it stands."""
    while length > 0:
        block = file.read(min(length, BLOCK_BYTES))
        if not block:
            # Shorter than was promised: a body that looks whole must not come of it.
            raise OSError("the file has become shorter while it was sent")
        length -= len(block)
        yield block
