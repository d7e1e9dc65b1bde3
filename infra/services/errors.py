"""The error of servers that are not there."""


class ServiceError(RuntimeError):
    """A server cannot be started or is not there; the message names it and the remedy."""
