"""Callbacks that serve files."""

import mimetypes
import os
import stat
import time
from hashlib import blake2b

from .._body import BLOCK_BYTES, read_blocks
from .._dates import parse_date, rfc1123_date
from .._ranges import parse_range
from ..base import status_reasons


class Staticfile:
    """Serves the files of a folder, or one file. `maxage` is the Cache-Control max-age in seconds; default: none.

    Supports validators (ETag, Last-Modified) and single ranges. `..` gets 400; methods other than GET and HEAD get 405.
    Symbolic links that leave the folder, names that begin with a dot, and anything but regular files get 404.
    """

    def __init__(self, rootpath, maxage=None):
        self.rootpath = os.fspath(rootpath)
        self.maxage = maxage

    def __call__(self, environ, start_response):
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _plain(start_response, 405, [("Allow", "GET, HEAD")])
        file, path = self._open(environ.get("PATH_INFO", ""))
        if file is None:
            return _plain(start_response, path)
        sent = False
        try:
            body = self._respond(file, path, environ, start_response)
            sent = body is not None
            return body or []
        finally:
            if not sent:
                file.close()

    def _respond(self, file, path, environ, start_response):
        """Returns the body; None if only a head is sent."""
        about = os.fstat(file.fileno())
        headers = self._headers(about, path)
        if _is_unchanged(environ, about):
            start_response("304 Not Modified", [pair for pair in headers if pair[0] != "Content-Type"])
            return None
        first, end = 0, about.st_size
        wanted = _wanted_range(environ, about)
        if wanted == "unsatisfiable":
            headers.append(("Content-Range", f"bytes */{about.st_size}"))
            _plain(start_response, 416, headers, [])
            return None
        if wanted is not None:
            first, end = wanted
            headers.append(("Content-Range", f"bytes {first}-{end - 1}/{about.st_size}"))
        headers.append(("Content-Length", str(end - first)))
        start_response("206 Partial Content" if wanted else "200 OK", headers)
        if environ["REQUEST_METHOD"] == "HEAD":
            return None
        wrapper = environ.get("wsgi.file_wrapper")
        if wrapper is not None and wanted is None:
            return wrapper(file, BLOCK_BYTES)
        file.seek(first)
        return _Slice(file, end - first)

    def _headers(self, about, name):
        kind, coding = mimetypes.guess_type(name)
        # A compressed file is sent as it is, because the client did not ask for a coding.
        kind = "application/octet-stream" if coding or kind is None else kind
        if kind.startswith("text/") or kind in ("application/javascript", "application/json"):
            kind += "; charset=utf-8"
        headers = [
            ("Content-Type", kind),
            ("ETag", _etag(about)),
            ("Last-Modified", rfc1123_date(about.st_mtime)),
            ("Accept-Ranges", "bytes"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if self.maxage is not None:
            headers.append(("Cache-Control", f"max-age={int(self.maxage)}"))
        return headers

    def _open(self, path_info):
        """Opens the file for a path and returns it with its path; otherwise None and a status."""
        names = [name for name in path_info.encode("latin-1", "replace").split(b"/") if name not in (b"", b".")]
        if b".." in names or b"\0" in path_info.encode("latin-1", "replace"):
            return None, 400
        if any(name.startswith(b".") and name != b".well-known" for name in names):
            return None, 404
        try:
            # Resolved each time, because a deployment may have changed the link to the folder.
            root = os.path.realpath(os.fsencode(self.rootpath))
            path = os.path.realpath(os.path.join(root, *names))
            if path != root and not path.startswith(os.path.join(root, b"")):
                return None, 404
            # A trailing slash never matches a file. O_NONBLOCK, because it may be a pipe.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None, 404
        if not stat.S_ISREG(os.fstat(fd).st_mode) or (names and path_info.endswith("/")):
            os.close(fd)
            return None, 404
        return os.fdopen(fd, "rb"), os.fsdecode(path)


class _Slice:
    def __init__(self, file, length):
        self._file = file
        self._blocks = read_blocks(file, length)

    def __iter__(self):
        return self._blocks

    def close(self):
        self._file.close()


def _etag(about):
    """Returns a hash, which does not reveal the inode. It is weak while another change could keep the same time."""
    facts = f"{about.st_ino}-{about.st_size}-{about.st_ctime_ns}".encode()
    tag = f'"{blake2b(facts, digest_size=12).hexdigest()}"'
    return tag if time.time_ns() - about.st_ctime_ns > _COARSEST_CLOCK_NS else f"W/{tag}"


#: Some file systems store times with a resolution of one or two seconds.
_COARSEST_CLOCK_NS = 2_500_000_000


def _is_unchanged(environ, about):
    """If-Modified-Since counts only without If-None-Match (RFC 9110, section 13.2.2)."""
    tags = environ.get("HTTP_IF_NONE_MATCH")
    if tags is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return "*" in known or _etag(about).removeprefix("W/") in known
    since = parse_date(environ.get("HTTP_IF_MODIFIED_SINCE") or "")
    return since is not None and int(about.st_mtime) <= since


def _wanted_range(environ, about):
    text = environ.get("HTTP_RANGE")
    if text is None or environ["REQUEST_METHOD"] != "GET":
        return None
    condition = environ.get("HTTP_IF_RANGE")
    if condition is not None:
        # A weak tag does not allow combining parts of two responses.
        strong = [tag for tag in (_etag(about), rfc1123_date(about.st_mtime)) if not tag.startswith("W/")]
        if condition.strip() not in strong:
            return None
    return parse_range(text, about.st_size)


def _plain(start_response, status, headers=(), body=None):
    reason = status_reasons[status]
    block = f"{reason}\n".encode()
    fields = [pair for pair in headers if pair[0] not in ("Content-Type", "ETag", "Last-Modified", "Cache-Control")]
    fields.append(("Content-Type", "text/plain; charset=utf-8"))
    start_response(f"{status} {reason}", fields)
    return [block] if body is None else body
