"""The errors of an instance, apart from the app's own."""


class InstanceError(Exception):
    """The instance cannot run; the message is for the operator."""


class AppError(InstanceError):
    """The app could not be loaded; `__cause__` is its own error."""


class ClientGone(ConnectionError):
    """The client disconnected or is too slow; `wsgi.input` and `write` raise this in the app."""


class BadRequest(Exception):
    """Raised for a request that gets this status."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


# The statuses of bad requests.
REASONS = {
    400: "Bad Request",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    505: "HTTP Version Not Supported",
}
