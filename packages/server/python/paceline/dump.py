"""Writes a file that shows what this process does or holds, on request of the supervisor. Loaded on demand."""

import faulthandler
import os

MOST_LINES = 200


def write(what, path):
    """Returns why there is no file; None if it was written, readable only by this user."""
    try:
        if what == "stack":
            with _made(path) as file:
                faulthandler.dump_traceback(file, all_threads=True)
            return None
        if what == "heap":
            return _write_heap(path)
        return "Python cannot start a profiler in a running process; py-spy can observe it from outside"
    except OSError as error:
        if os.path.exists(path):
            os.unlink(path)
        return str(error)


def _write_heap(path):
    # The import alone has no cost later.
    import tracemalloc

    if not tracemalloc.is_tracing():
        return "tracemalloc does not trace this process; start it with the variable PYTHONTRACEMALLOC=1 in the pool's env"
    snapshot = tracemalloc.take_snapshot()
    with _made(path) as file:
        for statistic in snapshot.statistics("lineno")[:MOST_LINES]:
            file.write(f"{statistic}\n")
    return None


def _made(path):
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", errors="backslashreplace")
