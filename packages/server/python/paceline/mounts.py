"""Several WSGI callables in one instance, each under a path prefix; the longest match is used."""

from .head import unquote


class Mounts:
    """A WSGI callable that dispatches to several others and moves the prefix from PATH_INFO to SCRIPT_NAME."""

    def __init__(self, applications):
        # `/api/` and `/api` are the same prefix, which matches whole segments. The root is empty.
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
    """Returns the path as in PATH_INFO: decoded, with UTF-8 bytes as Latin-1 text."""
    return unquote(prefix.encode("utf-8", "surrogatepass")).decode("latin-1")
