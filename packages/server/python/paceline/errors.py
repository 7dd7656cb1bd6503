"""What can go wrong in an instance, apart from the app's own errors."""


class InstanceError(Exception):
    """The instance cannot run; the message is for whoever set it up."""


class AppError(InstanceError):
    """The app could not be loaded; `__cause__` is its own error."""


class ClientGone(ConnectionError):
    """The client left, or takes or gives nothing any more; an app meets it in `wsgi.input` and in `write`."""


class BadRequest(Exception):
    """A request that is refused with this status."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status
