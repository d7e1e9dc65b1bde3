"""Fetching from a test server that implements the simple repository API in HTML."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from olmo_core.artifact.job import Job
from olmo_core.documents import fetch as fetching
from olmo_core.documents.package import PackageConfig, package_step

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILENAME = "corpus_kit-1.0.tar.gz"


class Index(ThreadingHTTPServer):
    """One project with one file; replies with `errors` first, then cuts each reply after the next number in `cuts`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.listed = SHA256
        self.content = CONTENT
        self.cuts: list[int] = []
        self.errors: list[int] = []
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        self.authorizations: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"


class Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        start = self.headers.get("Range")
        self.server.asked.append((self.path, start))
        self.server.authorizations.append(self.headers.get("Authorization"))
        if self.path == "/simple/corpus-kit/":
            links = f'<a href="/files/{FILENAME}#sha256={self.server.listed}">{FILENAME}</a>'
            links += f'<a href="/files/corpus_kit-2.0.tar.gz#sha256={SHA256}">corpus_kit-2.0.tar.gz</a>'
            self.answer(200, links.encode(), "text/html")
        elif self.path != f"/files/{FILENAME}":
            self.answer(404, b"", "text/html")
        elif self.server.errors:
            self.answer(self.server.errors.pop(0), b"", "text/html")
        elif start and self.server.ranges:
            begin = int(start.removeprefix("bytes=").removesuffix("-"))
            status = 206 if begin < len(self.server.content) else 416
            self.answer(status, self.server.content[begin:], "application/gzip", cut=True)
        else:
            self.answer(200, self.server.content, "application/gzip", cut=True)

    def answer(self, status: int, body: bytes, kind: str, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cuts.pop(0)] if cut and self.server.cuts else body)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS", "UV_DEFAULT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0)
    with Index() as server:
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def job(tmp_path: Path, **changes: str) -> Job:
    config = {"name": "corpus-kit", "version": "1.0", "filename": FILENAME, "sha256": SHA256} | changes
    out = tmp_path / "out"
    out.mkdir(parents=True)
    return Job(step=package_step(PackageConfig(**config)), inputs={}, out=out)


def test_pinned_file_is_fetched_and_verified(index: Index, tmp_path: Path) -> None:
    asked = job(tmp_path)
    assert fetching.fetch(asked) == {"bytes": len(CONTENT), "sha256": SHA256}
    assert (asked.out / FILENAME).read_bytes() == CONTENT
    assert [file.name for file in asked.out.iterdir()] == [FILENAME]


def test_progress_counts_bytes_to_total(index: Index, tmp_path: Path) -> None:
    asked = job(tmp_path)
    seen: list[tuple[float, float, str]] = []
    reported = Job(step=asked.step, inputs={}, out=asked.out, progress=lambda *args, **shown: seen.append(args))
    fetching.fetch(reported)
    assert seen[-1] == (len(CONTENT), len(CONTENT), "bytes")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_cut_connection_resumes_at_last_byte(index: Index, tmp_path: Path) -> None:
    index.cuts = [300_000, 300_000]
    asked = job(tmp_path)
    fetching.fetch(asked)
    assert (asked.out / FILENAME).read_bytes() == CONTENT
    starts = [start for path, start in index.asked if path.startswith("/files")]
    assert starts[0] is None
    first, second = (int(start.removeprefix("bytes=").removesuffix("-")) for start in starts[1:] if start)
    assert 0 < first <= 300_000
    assert first < second <= 600_000


def test_server_without_ranges_restarts_download(index: Index, tmp_path: Path) -> None:
    index.cuts, index.ranges = [300_000], False
    asked = job(tmp_path)
    fetching.fetch(asked)
    assert (asked.out / FILENAME).read_bytes() == CONTENT


def test_busy_server_is_retried_and_refusal_is_not(index: Index, tmp_path: Path) -> None:
    index.errors = [503, 429]
    fetching.fetch(job(tmp_path))
    index.errors, index.asked = [403, 403], []
    with pytest.raises(fetching.PackageError, match=r"the package index refuses .*: 403"):
        fetching.fetch(Job(step=job(tmp_path / "b").step, inputs={}, out=tmp_path / "b" / "out"))
    assert index.errors == [403]


def test_repeated_cuts_raise_connection_error(index: Index, tmp_path: Path) -> None:
    index.cuts = [0] * fetching.ATTEMPTS
    with pytest.raises(ConnectionError, match=rf"{FILENAME} could not be read after {fetching.ATTEMPTS} tries"):
        fetching.fetch(job(tmp_path))


def test_listed_digest_mismatch_prevents_download(index: Index, tmp_path: Path) -> None:
    index.listed = "0" * 64
    with pytest.raises(fetching.PackageError, match=f"corpus-kit 1.0.*sha256 {'0' * 64}, the recipe pins {SHA256}"):
        fetching.fetch(job(tmp_path))
    assert [path for path, _ in index.asked] == ["/simple/corpus-kit/"]


def test_content_mismatch_is_refused_and_removed(index: Index, tmp_path: Path) -> None:
    index.content = CONTENT[:-1] + b"!"
    asked = job(tmp_path)
    with pytest.raises(fetching.PackageError, match=f"the recipe pins {SHA256}"):
        fetching.fetch(asked)
    assert list(asked.out.iterdir()) == []


def test_missing_project_version_or_file_is_named(index: Index, tmp_path: Path) -> None:
    with pytest.raises(fetching.PackageError, match=rf"no file 'other\.whl'; files of that version: \['{FILENAME}'\]"):
        fetching.fetch(job(tmp_path, filename="other.whl"))
    with pytest.raises(fetching.PackageError, match="no project 'nothing'"):
        fetching.fetch(job(tmp_path / "b", name="nothing"))
    with pytest.raises(fetching.PackageError, match=r"belongs to version 2\.0"):
        fetching.fetch(job(tmp_path / "c", filename="corpus_kit-2.0.tar.gz"))


def test_local_folder_is_searched_first(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / FILENAME).write_bytes(CONTENT)
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path / 'missing'} {folder}")
    fetching.fetch(job(tmp_path))
    assert index.asked == []
    (folder / FILENAME).write_bytes(b"something else")
    fetching.fetch(Job(step=job(tmp_path / "b").step, inputs={}, out=tmp_path / "b" / "out"))
    assert index.asked != []


def test_index_password_is_sent_but_not_shown(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//user:hunter2@"))
    fetching.fetch(job(tmp_path))
    assert set(index.authorizations) == {"Basic " + base64.b64encode(b"user:hunter2").decode()}
    index.errors = [403]
    with pytest.raises(fetching.PackageError, match="403") as caught:
        fetching.fetch(job(tmp_path / "b"))
    assert index.url.partition("//")[2].partition("/")[0] in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("change", [{"filename": "../x.whl"}, {"filename": "/x.whl"}, {"sha256": "abc"}, {"name": ""}])
def test_invalid_pin_is_refused(change: dict[str, str]) -> None:
    config = {"name": "corpus-kit", "version": "1.0", "filename": FILENAME, "sha256": SHA256} | change
    with pytest.raises(ValidationError):
        PackageConfig(**config)
