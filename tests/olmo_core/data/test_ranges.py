"""Ranges of files on disk, on S3 (moto) and behind HTTP with and without range requests."""

import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from olmo_core.data import ranges
from olmo_core.data.ranges import RangeError, Ranges

CONTENT = bytes(range(200))


class Ranged(SimpleHTTPRequestHandler):
    """Serves a folder by ranges; `/plain/` as a whole, `/busy/` only from the third request on, `/closed/` never."""

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
        """Say nothing."""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("web")
    for name in ("a", "plain", "busy", "closed"):
        (folder / name).mkdir()
        (folder / name / "x.npy").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Ranged(*args, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        store = fsspec.filesystem("s3")
        store.mkdir("tokens")
        store.pipe_file("tokens/x.npy", CONTENT)
        yield "s3://tokens"
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


def test_ranges_of_files_everywhere_come_in_the_order_asked(tmp_path: Path, web: str, bucket: str) -> None:
    (tmp_path / "x.npy").write_bytes(CONTENT[::-1])
    places = [f"{web}/a/x.npy", str(tmp_path / "x.npy"), f"{bucket}/x.npy", f"{web}/a/x.npy", str(tmp_path / "x.npy")]
    starts = [0, 0, 190, 77, 190]
    read = Ranges().read(places, starts, 10)
    expected = [CONTENT[0:10], CONTENT[::-1][0:10], CONTENT[190:200], CONTENT[77:87], CONTENT[::-1][190:200]]
    assert [row.tobytes() for row in read] == expected


def test_more_files_than_may_stay_open_are_read(tmp_path: Path) -> None:
    places = []
    for number in range(6):
        (tmp_path / str(number)).write_bytes(bytes([number] * 4))
        places.append(str(tmp_path / str(number)))
    reader = Ranges()
    reader._keep = 2
    for _ in range(2):
        assert reader.read(places, [1] * 6, 2).tolist() == [[number] * 2 for number in range(6)]
    assert len(reader._opened) == 2


def test_what_cannot_be_read_names_file_and_range_at_once(
    tmp_path: Path, web: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "PAUSE_SECONDS", "none is due")
    (tmp_path / "x.npy").write_bytes(CONTENT)
    for place, start, why in (
        (str(tmp_path / "x.npy"), 195, r"bytes 195 to 204 cannot be read: it ends at byte 200; it is cut"),
        (str(tmp_path / "y.npy"), 0, r"y\.npy: bytes 0 to 9 cannot be read: No such file"),
        (f"{web}/a/x.npy", 195, r"x\.npy: bytes 195 to 204 cannot be read: 5 bytes came"),
        (f"{web}/plain/x.npy", 20, "200 bytes came; it is cut, or its server gives no ranges"),
        (f"{web}/a/y.npy", 30, r"y\.npy: bytes 30 to 39 cannot be read: FileNotFoundError"),
        (f"{web}/closed/x.npy", 30, "bytes 30 to 39 cannot be read: ClientResponseError: 403"),
        (f"{bucket}/y.npy", 30, r"s3://tokens/y\.npy: bytes 30 to 39 cannot be read: FileNotFoundError"),
    ):
        with pytest.raises(RangeError, match=why):
            Ranges().read([place], [start], 10)


def test_a_busy_server_is_asked_again(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(ranges.time, "sleep", pauses.append)
    places = [f"{web}/busy/x.npy", f"{web}/a/x.npy"]
    assert np.array_equal(Ranges().read(places, [3, 4], 2), [[3, 4], [4, 5]])
    assert pauses == [0.25, 0.5]
    assert Ranged.busy == 3
