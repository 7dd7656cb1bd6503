"""Stdout, stderr and the server's log lines. A full disk loses lines, but never a request or the process."""

import atexit
import io
import sys


class _Descriptor(io.FileIO):
    """A stream that drops output which cannot be written, as on a full disk or beyond a file size limit."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError:
            return len(data)


def open_streams():
    """Replaces the streams of this process, for `print`, `logging`, tracebacks, `wsgi.errors` and the flush at exit."""
    # Line-buffered, because the output is a file, for which Python would collect many lines.
    sys.stdout = sys.__stdout__ = _reopened(sys.stdout, 1)
    sys.stderr = sys.__stderr__ = _reopened(sys.stderr, 2)
    # Registered first, so called last.
    atexit.register(_leave_broken_streams)


def _reopened(stream, fd):
    raw = _Descriptor(fd, "wb", closefd=False)
    raw.name = stream.name
    text = io.TextIOWrapper(
        # PYTHONUNBUFFERED also turns this buffer off.
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
        write_through=stream.write_through,
    )
    text.mode = "w"
    return text


def _leave_broken_streams():
    """Python exits with 120 if a stream cannot be flushed, even one that the app has created."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except Exception:
            setattr(sys, name, getattr(sys, f"__{name}__"))


def log(line):
    """Writes a log line. The app may have replaced stderr, so errors of that stream are ignored."""
    try:
        print(line, file=sys.stderr, flush=True)
    except Exception:
        pass  # There is nowhere to report it.


def log_error(kind, error, trace):
    """Logs an app error, through the app's `sys.excepthook` if it has one."""
    try:
        sys.excepthook(kind, error, trace)
    except Exception:
        try:
            sys.__excepthook__(kind, error, trace)
        except Exception:
            pass  # As above.
