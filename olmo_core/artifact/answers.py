"""What an object store answers instead of doing what it was asked, in one line with the remedy.

Errors keep their kind: what passes by itself is a `ConnectionError`, which is tried again; the rest are for the user.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

_KEYS = "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL_S3 for a store that is not Amazon's"
_RIGHTS = "let AWS_ACCESS_KEY_ID read, write, list and delete there, or correct `artifacts` in the profile"
_REGION = "set AWS_DEFAULT_REGION to the region of the bucket"
_CHECKSUM = "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required if it is an older store than Amazon's"
_ROOM = "make room in the store, or give another in `artifacts` of the profile"
# Codes of https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; an answer without a body has its status.
_REMEDIES = {
    "AccessDenied": _RIGHTS,
    "403": _RIGHTS,
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "NoCredentialsError": _KEYS,
    "PartialCredentialsError": _KEYS,
    "ExpiredToken": "renew AWS_SESSION_TOKEN and the keys that came with it",
    "InvalidToken": "renew AWS_SESSION_TOKEN and the keys that came with it",
    "NoSuchBucket": "make the bucket, or correct `artifacts` in the profile or AWS_ENDPOINT_URL_S3",
    "RequestTimeTooSkewed": "set the clock of this machine",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "301": _REGION,
    "NotImplemented": _CHECKSUM,
    "XAmzContentChecksumMismatch": _CHECKSUM,
    "InsufficientStorage": _ROOM,
    "QuotaExceeded": _ROOM,
}
_PASSING = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException"}


class _Rooted(Protocol):
    root: str


Self = TypeVar("Self", bound=_Rooted)
Given = ParamSpec("Given")
Result = TypeVar("Result")


def explained(method: Callable[Concatenate[Self, Given], Result]) -> Callable[Concatenate[Self, Given], Result]:
    """Let a method of an object store raise what its store answers as one line that names root, answer and remedy."""

    @wraps(method)
    def call(self: Self, /, *arguments: Given.args, **options: Given.kwargs) -> Result:
        try:
            return method(self, *arguments, **options)
        except Exception as error:
            raised = error
        # Outside of `except`: the one line is what a person reads, not the client's error behind it.
        raise _in_words(raised, self.root)

    return call


def _in_words(error: Exception, root: str) -> Exception:
    answer = getattr(error.__cause__ or error, "response", None)
    about: dict[str, Any] = answer if isinstance(answer, dict) else {}
    code = str(about.get("Error", {}).get("Code") or type(error).__name__)
    meta = about.get("ResponseMetadata", {})
    said = f"{root} answers {code}: {' '.join(str(error).split())}"
    if code in _PASSING or meta.get("HTTPStatusCode") in (429, 500, 502, 503, 504):
        return ConnectionError(f"{said}; it passes by itself: run it again later, what was committed is kept")
    if code not in _REMEDIES:
        return error
    region = meta.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    remedy = f"{_REMEDIES[code]}, {region}" if region and _REMEDIES[code] == _REGION else _REMEDIES[code]
    return (type(error) if type(error) in (PermissionError, OSError) else PermissionError)(f"{said}; {remedy}")


def no_bucket(error: FileNotFoundError) -> bool:
    """Whether an object is missing because its whole bucket is."""
    answer = getattr(error.__cause__, "response", None)
    return isinstance(answer, dict) and answer.get("Error", {}).get("Code") == "NoSuchBucket"
