"""HTTP dates."""

from email.utils import formatdate, parsedate_to_datetime


def rfc1123_date(seconds):
    """Formats seconds since 1970 as an HTTP date, such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7)."""
    return formatdate(int(seconds), usegmt=True)


def parse_date(text):
    """Returns the seconds since 1970 of an HTTP date; None if it is invalid."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
