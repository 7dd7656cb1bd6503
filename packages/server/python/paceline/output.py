"""Stdout and stderr of this process, and the server's own lines there: a full disk costs lines, never a request or the process."""

import atexit
import io
import sys


class _Descriptor(io.FileIO):
    """What cannot be written, as on a full disk or beyond a limit of the file's size, is lost."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError:
            return len(data)


def open_streams():
    """Has all of this process write so: `print`, `logging`, tracebacks, `wsgi.errors` and the flush at the end."""
    # The output is a file: lines would lie in a buffer until there are many.
    sys.stdout = sys.__stdout__ = _reopened(sys.stdout, 1)
    sys.stderr = sys.__stderr__ = _reopened(sys.stderr, 2)
    # The first to be registered is the last to be called.
    atexit.register(_leave_broken_streams)


def _reopened(stream, fd):
    raw = _Descriptor(fd, "wb", closefd=False)
    raw.name = stream.name
    text = io.TextIOWrapper(
        # With PYTHONUNBUFFERED there is no buffer either.
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
        write_through=stream.write_through,
    )
    text.mode = "w"
    return text


def _leave_broken_streams():
    """Python exits 120 when a stream, such as one of the app's own, cannot be flushed."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except Exception:
            setattr(sys, name, getattr(sys, f"__{name}__"))


def log(line):
    """One line of the server's own. An app may have put a stream of its own in the place of stderr: its errors end nothing."""
    try:
        print(line, file=sys.stderr, flush=True)
    except Exception:
        pass  # There is nowhere to tell it.


def log_error(kind, error, trace):
    """The traceback of an error of the app, by its own `sys.excepthook` where it has one."""
    try:
        sys.excepthook(kind, error, trace)
    except Exception:
        try:
            sys.__excepthook__(kind, error, trace)
        except Exception:
            pass  # As above.
