"""Error responses of an object store, as one line with the remedy.

Transient errors become a `ConnectionError`, which is retried; every other error keeps its type and is for the user.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

_KEYS = "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL_S3 for a store that is not Amazon's"
_ACCESS = "let AWS_ACCESS_KEY_ID read, write, list and delete there, or correct `artifacts` in the profile"
_REGION = "set AWS_DEFAULT_REGION to the region of the bucket"
_CHECKSUM = "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required for a store that lacks the newer checksums of Amazon's"
_SPACE = "make room in the store, or set another one as `artifacts` in the profile"
# Codes of https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; the status if a response has no body.
_REMEDIES = {
    "AccessDenied": _ACCESS,
    "403": _ACCESS,
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "NoCredentialsError": _KEYS,
    "PartialCredentialsError": _KEYS,
    "ExpiredToken": "renew AWS_SESSION_TOKEN and the keys that came with it",
    "InvalidToken": "renew AWS_SESSION_TOKEN and the keys that came with it",
    "NoSuchBucket": "create the bucket, or correct `artifacts` in the profile or AWS_ENDPOINT_URL_S3",
    "RequestTimeTooSkewed": "set the clock of this machine",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "301": _REGION,
    "NotImplemented": _CHECKSUM,
    "XAmzContentChecksumMismatch": _CHECKSUM,
    "InsufficientStorage": _SPACE,
    "QuotaExceeded": _SPACE,
}
_TRANSIENT = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException"}


class _Rooted(Protocol):
    root: str


Self = TypeVar("Self", bound=_Rooted)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def explain_errors(
    method: Callable[Concatenate[Self, Arguments], Result],
) -> Callable[Concatenate[Self, Arguments], Result]:
    """Make a method of an object store raise errors of the store as one line that names root, error and remedy."""

    @wraps(method)
    def call(self: Self, /, *arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        try:
            return method(self, *arguments, **options)
        except Exception as error:
            raised = error
        # Raised outside `except`, so that the user sees this line and not the client's error as its context.
        raise _explain(raised, self.root)

    return call


def _explain(error: Exception, root: str) -> Exception:
    response = _response(error.__cause__ or error)
    code = str(response.get("Error", {}).get("Code") or type(error).__name__)
    metadata = response.get("ResponseMetadata", {})
    message = f"{root} answers {code}: {' '.join(str(error).split())}"
    if code in _TRANSIENT or metadata.get("HTTPStatusCode") in (429, 500, 502, 503, 504):
        return ConnectionError(f"{message}; this is temporary: run it again later, committed artifacts are kept")
    if code not in _REMEDIES:
        return error
    region = metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    remedy = f"{_REMEDIES[code]}, {region}" if region and _REMEDIES[code] == _REGION else _REMEDIES[code]
    return (type(error) if type(error) in (PermissionError, OSError) else PermissionError)(f"{message}; {remedy}")


def bucket_is_missing(error: FileNotFoundError) -> bool:
    """Return whether an object is missing because its bucket does not exist."""
    return bool(_response(error.__cause__).get("Error", {}).get("Code") == "NoSuchBucket")


def _response(error: BaseException | None) -> dict[str, Any]:
    """Return the parsed response in a botocore client error, {} if there is none."""
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}
