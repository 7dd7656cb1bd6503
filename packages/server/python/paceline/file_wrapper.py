"""`wsgi.file_wrapper`: a file as a body, which the kernel sends where it can."""

import io
import os
import stat


MAX_WRAPPINGS = 4


class FileWrapper:
    """Blocks of a file; the server sends a real file without reading it."""

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
    """The descriptor, position and size of the file in it; None when it is none that can be sent as it lies there.

    Only for what reads exactly the file's bytes: `fileno` of a gzip file is that of the packed one.
    """
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
    """The file in objects that only pass on what it reads, as Django's files are."""
    for _ in range(MAX_WRAPPINGS):
        inner = getattr(filelike, "file", None)
        # The same bound method: what is read here is read there.
        if inner is None or getattr(inner, "read", None) != getattr(filelike, "read", None):
            break
        filelike = inner
    return filelike
