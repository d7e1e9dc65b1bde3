"""What a Hub refuses, in one line: what it said, and what to do."""

from huggingface_hub.errors import HfHubHTTPError

from olmo_core.hub.pause import status
from olmo_core.hub.target import PublishError

_WRITE = "set HF_TOKEN to a token that may write there, or publish to another repository (release.card.repo)"
_REMEDIES = {
    400: "correct the field of release.card that it names",
    401: _WRITE,
    402: "the account has to pay for more first",
    403: _WRITE,
    404: "correct release.card.repo, hub.repo or hub.endpoint",
    413: "one of the files is too large for this Hub",
}


def refusal(error: BaseException, where: str) -> PublishError:
    """Return the error to raise for an answer that another try would not change; raise it outside of `except`.

    Args:
        error: what the client raised.
        where: repository and address.
    """
    code = status(error)
    said = (error.server_message if isinstance(error, HfHubHTTPError) else None) or first_line(error)
    remedy = _REMEDIES.get(code or 0, "look at the status page of the Hub, or ask those who run it")
    return PublishError(f"{where} answers {code}: {' '.join(said.split())}; {remedy}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, its class where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
