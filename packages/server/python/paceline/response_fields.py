"""Validates the app's response head: status, names and values. Caches results."""

from time import gmtime, time

from .head import TOKEN_BYTES

MAX_KNOWN = 512

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# Hop-by-hop fields belong to the server (RFC 2616 §13.5.1, to which PEP 3333 refers, and RFC 9110 §7.6.1).
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    )
)
HOP = object()
LENGTH = object()
DATE = object()
ORDINARY = object()
_KINDS = {
    **dict.fromkeys(HOP_BY_HOP, HOP),
    "content-length": LENGTH,
    "date": DATE,
}
# Cached results for names and statuses.
known_names = {}
known_statuses = {}
# Dropped fields that were already logged.
reported_hops = set()

# The current second and its date line, as one value because several threads may respond.
_date = (0, "")


def check_status(status):
    status = plain_text(status, "a status")
    digits = status[:3]
    if not (len(digits) == 3 and digits.isascii() and digits.isdigit() and status[3:4] in ("", " ")):
        raise AssertionError(f"a status is three digits, a space and a reason, not {status!r}")
    if not 200 <= int(digits) <= 599:
        raise AssertionError(f"{digits} is not a valid status")
    if not status.isprintable():
        check_value("the status", status)
    line = f"HTTP/1.1 {status if len(status) > 3 else _with_reason(status)}\r\n"
    if len(known_statuses) < MAX_KNOWN:
        known_statuses[status] = line
    return line


def _with_reason(digits):
    # Nearly every framework loads this; otherwise it is only needed for a status without a reason.
    from http.client import responses

    return f"{digits} {responses.get(int(digits), '')}"


def plain_text(text, what):
    """Returns the plain text of a str, also of a subclass that formats itself differently."""
    if not isinstance(text, str):
        raise AssertionError(f"{what} is text, not {type(text).__name__}")
    return str.__str__(text)


def learn_name(name):
    if not name or not name.isascii() or name.encode("ascii").translate(None, TOKEN_BYTES):
        raise AssertionError(f"{name!r} is not a valid field name")
    kind = _KINDS.get(name.lower(), ORDINARY)
    if len(known_names) < MAX_KNOWN:
        known_names[name] = kind
    return kind


def check_value(name, value):
    for character in value:
        if (character < " " and character != "\t") or character == "\x7f":
            raise AssertionError(f"{name} has a control character: {value!r}")


def date_line():
    global _date
    second = int(time())
    known, line = _date
    if second != known:
        at = gmtime(second)
        day = f"{DAYS[at.tm_wday]}, {at.tm_mday:02} {MONTHS[at.tm_mon - 1]} {at.tm_year}"
        line = f"Date: {day} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT\r\n"
        _date = (second, line)
    return line
