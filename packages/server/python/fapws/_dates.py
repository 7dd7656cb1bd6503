"""Dates of HTTP."""

from email.utils import formatdate, parsedate_to_datetime


def rfc1123_date(seconds):
    """`seconds` since 1970 as HTTP writes a date, such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7)."""
    return formatdate(int(seconds), usegmt=True)


def parse_date(text):
    """The seconds since 1970 of a date of HTTP; None when it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
