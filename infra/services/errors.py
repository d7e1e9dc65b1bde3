"""The error for servers that are not available."""


class ServiceError(RuntimeError):
    """A server cannot be started or reached; the message names it and the remedy."""
