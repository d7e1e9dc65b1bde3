"""Files behind a local S3 server (moto) and behind a local HTTP server, with and without tags and ranges."""

import hashlib
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest
from moto.server import ThreadedMotoServer


@dataclass
class Web:
    """What an HTTP server serves: path -> content, and the headers that it sends with each."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tags: Callable[[bytes], dict[str, str]] = lambda content: {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}
    ranges: bool = True
    status: int = 200

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        content = self.files.get(request.path)
        if content is None or self.status != 200:
            request.send_error(404 if content is None else self.status)
            return
        headers = self.tags(content)
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if self.ranges:
            headers["Accept-Ranges"] = "bytes"
        if self.ranges and part is not None:
            end = min(int(part[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {part[1]}-{end}/{len(content)}"
            content = content[int(part[1]) : end + 1]
        request.send_response(206 if "Content-Range" in headers else 200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked has read enough
                request.wfile.write(content)


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket("files") as address:
        yield address


@contextmanager
def s3_bucket(name: str) -> Iterator[str]:
    """Serve S3 while the block runs, with an empty bucket whose name begins so; yield its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for setting, value in {
            "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(setting, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        bucket = f"{name}-{uuid.uuid4().hex}"  # moto keeps buckets after its server has stopped
        fsspec.filesystem("s3").mkdir(bucket)
        yield f"s3://{bucket}"
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


@pytest.fixture
def memory() -> str:
    return f"memory://{uuid.uuid4().hex}"
