"""Several WSGI callables in one instance, each under a prefix of the path; the longest that fits responses."""

from .head import unquote


class Mounts:
    """A WSGI callable that gives each request to one of several, whose prefix moves from PATH_INFO to SCRIPT_NAME."""

    def __init__(self, applications):
        # `/api/` and `/api` are one: the prefix of whole segments. The root is the empty one.
        by_prefix = {_as_path(prefix.rstrip("/")): application for prefix, application in applications.items()}
        self._mounts = sorted(by_prefix.items(), key=lambda mount: len(mount[0]), reverse=True)

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        for prefix, application in self._mounts:
            if path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] == "/" or not prefix):
                environ["SCRIPT_NAME"] += prefix
                environ["PATH_INFO"] = path[len(prefix) :]
                return application(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "10")])
        return [b"Not Found\n"]


def _as_path(prefix):
    """As PATH_INFO has it: decoded, and the bytes of UTF-8 as text."""
    return unquote(prefix.encode("utf-8", "surrogatepass")).decode("latin-1")
