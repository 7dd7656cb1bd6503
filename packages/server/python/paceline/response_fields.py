"""The head of a response as the app gives it: statuses, names and values are checked, and remembered where they are met again."""

from time import gmtime, time

from .head import TOKEN_BYTES

MAX_KNOWN = 512

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# Fields of one hop are the server's alone (RFC 2616 §13.5.1, to which PEP 3333 refers, and RFC 9110 §7.6.1).
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
# What was found out about names and statuses that came so far.
known_names = {}
known_statuses = {}
# Of which the log has said that they are left out.
told_hops = set()

# The second, and the line for it: one value, since several threads may response.
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
    # Loaded by nearly every framework, and else only for an app that gives no reason.
    from http.client import responses

    return f"{digits} {responses.get(int(digits), '')}"


def plain_text(text, what):
    """What a subclass of str holds, whatever it makes of itself when it is written into other text."""
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
