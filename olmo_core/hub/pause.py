"""The pauses that a Hub asks for, and which of its errors are transient.

A request waits out a short pause. A long one ends the call with `PauseError`, so that the caller can report it and hold
no worker meanwhile: a Hub accepts about 128 commits an hour, and then asks for a pause of most of an hour.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from email.utils import parsedate_to_datetime

from httpx2 import Client, Response, TransportError
from huggingface_hub import set_client_factory
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils._http import default_client_factory, parse_ratelimit_headers

from olmo_core.hub.target import PauseError, PublishError

ATTEMPTS = 6  # Of one request; with doubling waits, about a minute in all.
LONGEST_WAIT = 60.0  # Seconds; the caller waits out longer pauses.
LONGEST_PAUSE = 3600.0  # Seconds; a longer one counts as an outage.
# Errors without a response: hf_xet raises Python's own; a download that falls back on its cache raises the last one.
NO_RESPONSE = (TransportError, ConnectionError, TimeoutError, LocalEntryNotFoundError)
# hf_xet raises a ConnectionError that has the status in its text only.
_XET_STATUS = re.compile(r"HTTP status \w+ error \((\d{3})")
_raises: ContextVar[bool] = ContextVar("raises", default=False)


def requested_pause(response: Response) -> float:
    """Return the seconds a response asks to wait, by `ratelimit` and `Retry-After`; 0 if it does not ask.

    Sources: draft-ietf-httpapi-ratelimit-headers-09, RFC 9110 section 10.2.3 (seconds or a date).
    """
    if response.status_code not in (429, 503):
        return 0.0
    limit = parse_ratelimit_headers(response.headers)
    window = limit.reset_in_seconds if limit is not None and limit.remaining == 0 else 0
    return max(float(window), _retry_after(response.headers.get("Retry-After", ""), response.headers.get("Date", "")))


def _retry_after(text: str, now: str) -> float:
    """Return the seconds of a `Retry-After`; a date is relative to the server's own clock."""
    if text.isdecimal():
        return float(text)
    try:
        return (parsedate_to_datetime(text) - parsedate_to_datetime(now)).total_seconds()
    except (ValueError, TypeError):  # Neither form, or one date has no time zone.
        return 0.0


@contextmanager
def raise_long_pauses() -> Iterator[None]:
    """Raise an error in this block when a response asks for a long pause, which the client would silently sleep out."""
    token = _raises.set(True)
    try:
        yield
    finally:
        _raises.reset(token)


def _check_pause(response: Response) -> None:
    if _raises.get() and (seconds := requested_pause(response)) > LONGEST_WAIT:
        if seconds > LONGEST_PAUSE:
            raise PublishError(f"the Hub asks for a pause of {seconds:.0f} s, more than an hour; publish again later")
        raise PauseError(seconds)


def _client() -> Client:
    client = default_client_factory()
    client.event_hooks = {**client.event_hooks, "response": [*client.event_hooks["response"], _check_pause]}
    return client


set_client_factory(_client)


def delay(error: BaseException, attempt: int) -> float:
    """Return the seconds to wait after an error: those that the server asks for, else doubling from one."""
    return (isinstance(error, HfHubHTTPError) and requested_pause(error.response)) or float(2 ** (attempt - 1))


def status(error: BaseException | None) -> int | None:
    """Return the HTTP status of an error, None if it has none."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code
    found = _XET_STATUS.search(str(error)) if isinstance(error, ConnectionError) else None
    return int(found[1]) if found else None


def is_transient(error: BaseException | None) -> bool:
    """Return whether the same request may succeed a little later."""
    code = status(error)
    if code is None:
        return isinstance(error, NO_RESPONSE)
    return code in (408, 429) or code >= 500
