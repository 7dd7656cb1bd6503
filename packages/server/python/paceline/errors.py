"""The errors of an instance, apart from the app's own."""


class InstanceError(Exception):
    """The instance cannot run; the message is for the operator."""


class AppError(InstanceError):
    """The app could not be loaded; `__cause__` is its own error."""


class ClientGone(ConnectionError):
    """The client disconnected or is too slow; `wsgi.input` and `write` raise this in the app."""


class BadRequest(Exception):
    """A request that gets this status."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status
