"""A Hub's refusal as one line: its message and the remedy."""

from huggingface_hub.errors import HfHubHTTPError

from olmo_core.hub.pause import status
from olmo_core.hub.target import PublishError

_WRITE = "set HF_TOKEN to a token that may write there, or publish to another repository (release.card.repo)"
_REMEDIES = {
    400: "correct the field of release.card that it names",
    401: _WRITE,
    402: "upgrade the plan of the account first",
    403: _WRITE,
    404: "correct release.card.repo, hub.repo or hub.endpoint",
    413: "a file is too large for this Hub",
}


def refusal(error: BaseException, where: str) -> PublishError:
    """Return the error to raise for a response that a retry would not change; raise it outside of `except`.

    Args:
        error: the error that the client raised.
        where: repository and address.
    """
    code = status(error)
    message = (error.server_message if isinstance(error, HfHubHTTPError) else None) or first_line(error)
    remedy = _REMEDIES.get(code or 0, "look at the status page of the Hub, or ask its operators")
    return PublishError(f"{where} answers {code}: {' '.join(message.split())}; {remedy}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class if it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
