"""Strictly parses a request head into the environ of PEP 3333. Pure: no sockets, no clock."""

from .errors import BadRequest

MAX_FIELDS = 128
MAX_KNOWN_NAMES = 512
# A length with more digits is invalid.
MAX_LENGTH_DIGITS = 15

# The characters allowed in a head apart from line ends: visible ASCII, space, tab and non-ASCII bytes (RFC 9110 §5.5).
TEXT_BYTES = bytes(byte for byte in range(256) if byte >= 32 and byte != 127) + b"\t"
TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
HEX_DIGITS = b"0123456789abcdefABCDEF"

_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")}

# The environ key of each field name seen so far; None for names that are hidden from apps.
_KEYS = {
    b"Host": "HTTP_HOST",
    b"Content-Type": "CONTENT_TYPE",
    b"Content-Length": "CONTENT_LENGTH",
    b"User-Agent": "HTTP_USER_AGENT",
    b"Accept": "HTTP_ACCEPT",
    b"Connection": "HTTP_CONNECTION",
    b"X-Forwarded-For": "HTTP_X_FORWARDED_FOR",
    b"X-Forwarded-Host": "HTTP_X_FORWARDED_HOST",
    b"X-Forwarded-Proto": "HTTP_X_FORWARDED_PROTO",
    b"Forwarded": "HTTP_FORWARDED",
}


# Whole lines of fields whose values recur, with their environ key and text. Lines of other fields may be secret, or occur only
# once.
_RECURRING = frozenset(
    (
        "HTTP_ACCEPT",
        "HTTP_ACCEPT_ENCODING",
        "HTTP_ACCEPT_LANGUAGE",
        "HTTP_CACHE_CONTROL",
        "HTTP_CONNECTION",
        "HTTP_HOST",
        "HTTP_SEC_FETCH_DEST",
        "HTTP_SEC_FETCH_MODE",
        "HTTP_SEC_FETCH_SITE",
        "HTTP_USER_AGENT",
        "HTTP_X_FORWARDED_HOST",
        "HTTP_X_FORWARDED_PROTO",
    )
)
_known_lines = {}
MAX_KNOWN_LINES = 128
MAX_KNOWN_LINE_BYTES = 256

# Fields that direct clients may not send: they are statements of proxies.
OF_PROXIES = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PREFIX",
    "HTTP_X_FORWARDED_SERVER",
    "HTTP_X_FORWARDED_SSL",
    "HTTP_X_FORWARDED_PROTOCOL",
    "HTTP_X_FORWARDED_SCHEME",
    "HTTP_FORWARDED",
    "HTTP_X_REAL_IP",
)


class Framing:
    """The framing of a request's body, and whether the connection can be reused."""

    __slots__ = ("expects_continue", "is_chunked", "is_http_11", "keep_alive", "length")


def parse_head(head, base, client=None):
    """Returns the environ and the framing of a head, which is passed without its final empty line.

    `base` has the keys that are the same in each environ. `client` is the address of the sender; None for the balancer. Raises
    BadRequest."""
    lines = head.split(b"\r\n")
    # If the allowed text is removed from a head, only line ends may remain: no bare CR or LF, no NUL, no other control
    # character.
    if len(lines) - 1 > MAX_FIELDS:
        raise BadRequest(431)
    if head.translate(None, TEXT_BYTES) != b"\r\n" * (len(lines) - 1):
        raise BadRequest(400)
    environ = base.copy()
    framing = Framing()
    _parse_request_line(lines[0], environ, framing)
    del lines[0]
    known_lines = _known_lines
    for line in lines:
        known = known_lines.get(line)
        if known is not None:
            key, text = known
        else:
            name, colon, value = line.partition(b":")
            key = _KEYS.get(name, False)
            if key is False:
                key = _learn_key(name)
            if key is None:
                continue
            if not colon:
                raise BadRequest(400)
            text = value.strip(b" \t").decode("latin-1")
            if key in _RECURRING and len(line) <= MAX_KNOWN_LINE_BYTES:
                if len(known_lines) >= MAX_KNOWN_LINES:
                    known_lines.clear()
                known_lines[line] = (key, text)
        if key in environ:
            text = _combine(key, environ[key], text)
        environ[key] = text
    _decide_framing(environ, framing)
    if client is not None:
        for key in OF_PROXIES:
            environ.pop(key, None)
        environ["REMOTE_ADDR"] = client
    _set_client(environ, framing)
    return environ, framing


def _parse_request_line(line, environ, framing):
    parts = line.split(b" ")
    if len(parts) != 3:
        raise BadRequest(400)
    method, target, version = parts
    if version == b"HTTP/1.1":
        framing.is_http_11 = True
        environ["SERVER_PROTOCOL"] = "HTTP/1.1"
    elif version == b"HTTP/1.0":
        framing.is_http_11 = False
        environ["SERVER_PROTOCOL"] = "HTTP/1.0"
    else:
        raise BadRequest(505 if version[:5] == b"HTTP/" and version[5:8].replace(b".", b"").isdigit() else 400)
    name = _METHODS.get(method)
    if name is None:
        if not method or method.translate(None, TOKEN_BYTES):
            raise BadRequest(400)
        # The target of a CONNECT is not a path, and apps do not tunnel.
        if method == b"CONNECT":
            raise BadRequest(405)
        name = method.decode("ascii")
    environ["REQUEST_METHOD"] = name
    sent = target
    if target[:1] != b"/":
        target = _path_of_other_form(target, name, environ)
        sent = target or sent
    if b"#" in target:
        raise BadRequest(400)
    path, _, query = target.partition(b"?")
    if b"%" in path:
        path = unquote(path)
    # The raw target, under the names that Apache and gunicorn use.
    environ["REQUEST_URI"] = environ["RAW_URI"] = sent.decode("latin-1")
    # Bytes as Latin-1 text (PEP 3333).
    environ["PATH_INFO"] = path.decode("latin-1")
    environ["QUERY_STRING"] = query.decode("latin-1")


def _path_of_other_form(target, method, environ):
    """Parses a target that is an absolute URL, whose host replaces the Host field's, or `*` (RFC 9112 §3.2)."""
    if target == b"*" and method == "OPTIONS":
        return b""
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise BadRequest(400)
    ends = [at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0]
    end = min(ends) if ends else len(rest)
    host = rest[:end]
    if not host or b"@" in host:
        raise BadRequest(400)
    environ["paceline.target_host"] = host.decode("latin-1")
    environ["paceline.origin"] = (scheme + separator + host).decode("latin-1")
    path = rest[end:]
    return path if path[:1] == b"/" else b"/" + path


def unquote(path):
    """Percent-decodes; invalid escapes stay."""
    pieces = path.split(b"%")
    decoded = [pieces[0]]
    for piece in pieces[1:]:
        digits = piece[:2]
        if len(digits) == 2 and not digits.translate(None, HEX_DIGITS):
            decoded.append(bytes((int(digits, 16),)))
            decoded.append(piece[2:])
        else:
            decoded.append(b"%" + piece)
    return b"".join(decoded)


def _learn_key(name):
    if not name or name.translate(None, TOKEN_BYTES):
        # Also refuses spaces before the colon and folded lines.
        raise BadRequest(400)
    upper = name.decode("ascii").upper()
    if "_" in upper or upper == "PROXY":
        # `X_Real` would be confused with `X-Real`, and `Proxy` would set HTTP_PROXY for programs that the app starts.
        key = None
    elif upper in ("CONTENT-TYPE", "CONTENT-LENGTH"):
        key = upper.replace("-", "_")
    else:
        key = "HTTP_" + upper.replace("-", "_")
    if len(_KEYS) < MAX_KNOWN_NAMES:
        _KEYS[name] = key
    return key


_ONLY_ONCE = ("HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING")


def _combine(key, before, text):
    if key in _ONLY_ONCE:
        raise BadRequest(400)
    return f"{before}; {text}" if key == "HTTP_COOKIE" else f"{before}, {text}"


def _decide_framing(environ, framing):
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    length = environ.get("CONTENT_LENGTH")
    framing.is_chunked = False
    framing.length = 0
    if coding is not None:
        # Having both enables request smuggling, and HTTP/1.0 has no codings (RFC 9112 §6.1).
        if length is not None or not framing.is_http_11:
            raise BadRequest(400)
        if coding.lower() != "chunked":
            raise BadRequest(501)
        framing.is_chunked = True
        # The app gets the decoded body with its length.
        del environ["HTTP_TRANSFER_ENCODING"]
    elif length is not None:
        if not (length.isascii() and length.isdigit() and len(length) <= MAX_LENGTH_DIGITS):
            raise BadRequest(400)
        framing.length = int(length)
    connection = environ.get("HTTP_CONNECTION")
    if connection is None:
        framing.keep_alive = framing.is_http_11
    else:
        words = [word.strip().lower() for word in connection.split(",")]
        framing.keep_alive = "close" not in words and (framing.is_http_11 or "keep-alive" in words)
    expects = environ.get("HTTP_EXPECT")
    framing.expects_continue = False
    if expects is not None and framing.is_http_11:
        if expects.lower() != "100-continue":
            raise BadRequest(417)
        framing.expects_continue = True


def _set_client(environ, framing):
    """Sets the client's address, host and scheme from the balancer's fields. These can be trusted because only the balancer can connect."""
    host = environ.pop("paceline.target_host", None)
    if host is None:
        host = environ.get("HTTP_HOST")
        if host is None:
            if framing.is_http_11:
                raise BadRequest(400)
            host = ""
    forwarded = environ.get("HTTP_X_FORWARDED_HOST")
    if forwarded is not None:
        host = first(forwarded) or host
    if host:
        environ["HTTP_HOST"] = host
    scheme = environ.get("HTTP_X_FORWARDED_PROTO")
    if scheme is not None and first(scheme).lower() == "https":
        environ["wsgi.url_scheme"] = "https"
        port = "443"
    else:
        port = "80"
    name, colon, digits = host.rpartition(":")
    # The colons within [::1] are part of the address.
    if colon and (digits.isdigit() or digits == "") and not name.endswith(":"):
        environ["SERVER_NAME"] = name
        environ["SERVER_PORT"] = str(int(digits)) if digits else port
    else:
        environ["SERVER_NAME"] = host or "localhost"
        environ["SERVER_PORT"] = port
    client = environ.get("HTTP_X_FORWARDED_FOR")
    if client is not None:
        environ["REMOTE_ADDR"] = first(client)
    prefix = environ.get("HTTP_X_FORWARDED_PREFIX")
    if prefix is not None:
        prefix = first(prefix).rstrip("/")
        if prefix[:1] == "/":
            environ["SCRIPT_NAME"] = unquote(prefix.encode("latin-1")).decode("latin-1")
            uri = environ["REQUEST_URI"]
            if uri != "*":
                environ["REQUEST_URI"] = environ["RAW_URI"] = prefix + uri


def first(values):
    """Returns the first entry of a list in a field: the hop farthest from this server."""
    return values.partition(",")[0].strip()
