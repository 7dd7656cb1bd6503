"""The stacks of threads, and the request that a thread is running. The request is found in the thread's frames, so that
serving costs nothing extra."""

import gc
import os
import sys
import types

# The folders of code that is not the app's: the standard library and this package.
_LIBRARIES = tuple(os.path.realpath(path) for path in (os.path.dirname(os.__file__), f"{os.path.dirname(__file__)}/.."))
# faulthandler's limit for a thread, plus the title.
MAX_STACK_LINES = 103


def request_of(frame):
    """Returns method and path of the request to which this frame of a running thread belongs; None if it belongs to none."""
    found = None
    while frame is not None:
        # The outermost frame has the objects that the server passed to the app; middleware may have changed a copy.
        found = _request_in(frame) or found
        frame = frame.f_back
    return found


def _request_in(frame):
    try:
        values = frame.f_locals
        environ = values.get("environ")
        if isinstance(environ, dict) and "REQUEST_METHOD" in environ:
            return request_text(environ["REQUEST_METHOD"], f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}")
        scope = values.get("scope")
        if isinstance(scope, dict) and scope.get("type") in ("http", "websocket"):
            return asgi_request(scope)
    except Exception:
        pass  # Code of the app may use the same names for something else.
    return None


def asgi_request(scope):
    path, root = scope["path"], scope.get("root_path", "")
    # Newer servers include the root.
    return request_text(scope.get("method", "GET"), path if path.startswith(root) else root + path)


def request_text(method, path):
    return ascii(f"{method} {path}")[1:-1]


def stack_text(title, ident):
    """Returns a stack as faulthandler prints it, but of one thread; None if the thread has ended."""
    frame = sys._current_frames().get(ident)
    if frame is None:
        return None
    lines = [f"Fatal Python error: {title}", "", f"Thread 0x{ident:016x} (most recent call first):"]
    while frame is not None and len(lines) < MAX_STACK_LINES:
        code = frame.f_code
        lines.append(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}')
        frame = frame.f_back
    return "\n".join(lines)


def place_of_thread(ident):
    """Returns where code of the app runs in this thread, for example `connect (db.py:12)`; None if none does."""
    frames = []
    frame = sys._current_frames().get(ident)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return _place(frames)


def place_of_awaited(awaited):
    """Returns where code of the app awaits something within this coroutine."""
    frames = []
    while awaited is not None and len(frames) < MAX_STACK_LINES:
        if isinstance(awaited, types.CoroutineType):
            frames.append(awaited.cr_frame)
            awaited = awaited.cr_await
        elif isinstance(awaited, types.AsyncGeneratorType):
            frames.append(awaited.ag_frame)
            awaited = awaited.ag_await
        else:
            # Nothing else shows the current step of an asynchronous generator.
            inner = gc.get_referents(awaited)
            awaited = next((each for each in inner if isinstance(each, (types.CoroutineType, types.AsyncGeneratorType))), None)
    return _place(reversed(frames))


def _place(frames):
    """Returns the place of the first frame of the app."""
    for frame in frames:
        file = "<" if frame is None else frame.f_code.co_filename
        if file.startswith("<") or "-packages" in file or os.path.realpath(file).startswith(_LIBRARIES):
            continue
        return ascii(f"{frame.f_code.co_name} ({os.path.basename(file)}:{frame.f_lineno})")[1:-1]
    return None
