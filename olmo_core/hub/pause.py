"""How long a Hub asks its callers to stay away, and which of its faults pass.

A short pause is waited out where it is met. A long one ends the call with `PauseError`, so that whoever called shows it
and holds no worker meanwhile: a Hub takes about 128 commits an hour, and then asks for most of an hour.
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

ATTEMPTS = 6  # Of one request; with doubling waits about a minute in all.
IN_PLACE = 60.0  # Seconds; longer pauses are the caller's to wait out.
LONGEST = 3600.0  # Seconds; a Hub that asks for more is out of order.
# No answer came; hf_xet raises Python's own, and a download that falls back on what it has the last one.
LOST = (TransportError, ConnectionError, TimeoutError, LocalEntryNotFoundError)
_XET_STATUS = re.compile(r"HTTP status \w+ error \((\d{3})")  # hf_xet raises a ConnectionError that only says it.
_ours: ContextVar[bool] = ContextVar("ours", default=False)


def asked(response: Response) -> float:
    """Return the seconds a response asks to wait, by `ratelimit` and `Retry-After`; 0 where it asks for nothing.

    Sources: draft-ietf-httpapi-ratelimit-headers-09, RFC 9110 section 10.2.3 (seconds or a date).
    """
    if response.status_code not in (429, 503):
        return 0.0
    limit = parse_ratelimit_headers(response.headers)
    window = limit.reset_in_seconds if limit is not None and limit.remaining == 0 else 0
    return max(float(window), _retry_after(response.headers.get("Retry-After", ""), response.headers.get("Date", "")))


def _retry_after(text: str, now: str) -> float:
    """Seconds of a `Retry-After`; a date counts from the server's own clock."""
    if text.isdecimal():
        return float(text)
    try:
        return (parsedate_to_datetime(text) - parsedate_to_datetime(now)).total_seconds()
    except (ValueError, TypeError):  # Neither form, or one of the dates without a time zone.
        return 0.0


@contextmanager
def long_pauses_raise() -> Iterator[None]:
    """Within the block, a request that is answered with a long pause raises; the client would sleep, unseen."""
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)


def _look(response: Response) -> None:
    if _ours.get() and (seconds := asked(response)) > IN_PLACE:
        if seconds > LONGEST:
            raise PublishError(f"the Hub asks for a pause of {seconds:.0f} s, more than an hour; publish again later")
        raise PauseError(seconds)


def _client() -> Client:
    client = default_client_factory()
    client.event_hooks = {**client.event_hooks, "response": [*client.event_hooks["response"], _look]}
    return client


set_client_factory(_client)


def delay(error: BaseException, attempt: int) -> float:
    """Return the seconds to wait after a fault: what the server asks for, else doubling from one."""
    return (isinstance(error, HfHubHTTPError) and asked(error.response)) or float(2 ** (attempt - 1))


def status(error: BaseException | None) -> int | None:
    """Return the HTTP status that an error stands for, None where it stands for none."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code
    found = _XET_STATUS.search(str(error)) if isinstance(error, ConnectionError) else None
    return int(found[1]) if found else None


def passing(error: BaseException | None) -> bool:
    """Whether the same request may succeed a little later."""
    code = status(error)
    if code is None:
        return isinstance(error, LOST)
    return code in (408, 429) or code >= 500
