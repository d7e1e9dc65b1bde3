"""A store on S3 (moto) and one behind HTTP with and without range requests; both hold `STORED` as x.npy."""

import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from remote_files import s3_bucket

STORED = bytes(range(200))


class Ranged(SimpleHTTPRequestHandler):
    """Serves ranges of files; `/plain/` only whole files, `/busy/` only from the third request on, `/closed/` never."""

    busy = 0

    def do_GET(self) -> None:
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        type(self).busy += self.path.startswith("/busy/")
        if self.path.startswith("/closed/"):
            self.send_error(403)
        elif self.path.startswith("/busy/") and self.busy < 3:
            self.send_error(503)
        elif not path.is_file():
            self.send_error(404)
        elif part is None or self.path.startswith("/plain/"):
            self._send(200, path.read_bytes())
        else:
            self._send(206, path.read_bytes()[int(part[1]) : int(part[2]) + 1])

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("web")
    for name in ("a", "plain", "busy", "closed"):
        (folder / name).mkdir()
        (folder / name / "x.npy").write_bytes(STORED)
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Ranged(*args, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket("tokens") as address:
        fsspec.filesystem("s3").pipe_file(f"{address}/x.npy", STORED)
        yield address
