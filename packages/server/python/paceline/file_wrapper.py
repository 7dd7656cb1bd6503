"""`wsgi.file_wrapper`: a file as a body, sent by the kernel if possible."""

import io
import os
import stat


MAX_WRAPPINGS = 4


class FileWrapper:
    """The blocks of a file; the server sends a regular file without reading it."""

    def __init__(self, filelike, blksize=65_536):
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self):
        return self

    def __next__(self):
        block = self.filelike.read(self.blksize)
        if block:
            return block
        raise StopIteration


def regular_file(wrapper):
    """Returns the descriptor, position and size of the wrapped file; None if it cannot be sent directly.

    Accepts only objects that read the file's exact bytes: the `fileno` of a gzip file is that of the compressed file."""
    filelike = _innermost(wrapper.filelike)
    if type(filelike) in (io.BufferedReader, io.BufferedRandom):
        if type(filelike.raw) is not io.FileIO:
            return None
    elif type(filelike) is not io.FileIO:
        return None
    try:
        if type(filelike) is io.BufferedRandom:
            filelike.flush()
        fd = filelike.fileno()
        status = os.fstat(fd)
        position = filelike.tell()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return fd, position, status.st_size


def _innermost(filelike):
    """Returns the file inside wrappers that only forward `read`, such as Django's files."""
    for _ in range(MAX_WRAPPINGS):
        inner = getattr(filelike, "file", None)
        # Both share the same bound `read`, so they read the same bytes.
        if inner is None or getattr(inner, "read", None) != getattr(filelike, "read", None):
            break
        filelike = inner
    return filelike
