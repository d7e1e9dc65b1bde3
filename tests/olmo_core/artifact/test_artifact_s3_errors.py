"""Errors of an S3 store are one line with the remedy, and transient ones are retried."""

import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from s3fs.errors import translate_boto_error

from olmo_core.artifact.objects import RemoteObjects
from tasks.workers.failures import FailureClass, classify, root_message

CALLS = {
    "read": lambda objects: objects.read("k"),
    "create": lambda objects: objects.create("k", b"1"),
    "write": lambda objects: objects.write("k", b"1"),
    "names": lambda objects: objects.names("k"),
    "fetch": lambda objects: objects.fetch("k", "here"),
}


class Refusing:
    """A file system in which every operation fails the way s3fs does."""

    def __init__(self, code, status, headers=()):
        self.response = {
            "Error": {"Code": code, "Message": "no"},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": dict(headers)},
        }

    def __getattr__(self, _name):
        return self._fail

    def _fail(self, *_, **__):
        error = ClientError(self.response, "GetObject")
        raise translate_boto_error(error) from error


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("code", "status", "remedy"),
    [
        ("AccessDenied", 403, "let AWS_ACCESS_KEY_ID read, write, list and delete there"),
        ("403", 403, "let AWS_ACCESS_KEY_ID read, write, list and delete there"),
        ("SignatureDoesNotMatch", 403, "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("ExpiredToken", 400, "renew AWS_SESSION_TOKEN"),
        ("NoSuchBucket", 404, "create the bucket"),
        ("RequestTimeTooSkewed", 403, "set the clock of this machine"),
        ("PermanentRedirect", 301, "set AWS_DEFAULT_REGION to the region of the bucket, eu-west-1"),
        ("NotImplemented", 501, "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
        ("QuotaExceeded", 403, "make room in the store"),
    ],
)
def test_store_error_is_one_line_with_its_remedy(call, code, status, remedy):
    objects = RemoteObjects(Refusing(code, status, {"x-amz-bucket-region": "eu-west-1"}), "s3://b/x", "s3://b/x")
    with pytest.raises(OSError, match=rf"^s3://b/x answers {code}: .*; {remedy}") as raised:
        call(objects)
    assert "\n" not in str(raised.value) and root_message(raised.value).endswith(str(raised.value))
    assert classify(raised.value) is FailureClass.USER


@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("InternalError", 500), ("Whatever", 504)])
def test_transient_store_error_is_retried(code, status):
    with pytest.raises(ConnectionError, match=f"^s3://b/x answers {code}: .* run it again later") as raised:
        RemoteObjects(Refusing(code, status), "s3://b/x", "s3://b/x").write("k", b"1")
    assert classify(raised.value) is FailureClass.INFRASTRUCTURE


def test_missing_object_stays_file_not_found():
    missing = RemoteObjects(Refusing("NoSuchKey", 404), "s3://b/x", "s3://b/x")
    assert missing.read("k") is None and missing.names("k") == []
    with pytest.raises(FileNotFoundError):
        missing.fetch("k", "here")


def test_missing_credentials_are_named(monkeypatch):
    objects = RemoteObjects(Refusing("", 0), "s3://b/x", "s3://b/x")

    def fail(*_, **__):
        raise NoCredentialsError

    monkeypatch.setattr(Refusing, "_fail", fail)
    with pytest.raises(PermissionError, match="Unable to locate credentials; correct AWS_ACCESS_KEY_ID"):
        objects.write("k", b"1")
