"""Token files have the same bytes whichever engine ran, however it failed, and in batches of any size."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from engine_samples import ADVERSARIAL, steps
from executor import Make
from tokenizers import Tokenizer

from olmo_core.artifact.job import Artifact, Job, Placement
from olmo_core.documents.document import Document
from olmo_core.documents.kept import kept_file
from olmo_core.documents.shard import write_shard
from olmo_core.tokens import engine, token_file
from olmo_core.tokens.engine import Encoded, EngineError, Reference
from olmo_core.tokens.token_file import make_tokens


class Broken:
    """A fast engine with the right ids until a call, in which it fails in some way."""

    how = "id"
    call = 0

    def __init__(self, tokenizer: Tokenizer) -> None:
        if self.how == "tokenizer":
            raise EngineError("gigatoken cannot read this tokenizer")
        self._reference = Reference(tokenizer, 1)
        self._calls = 0

    def __call__(self, texts: Sequence[str]) -> Encoded:
        found = self._reference(texts)
        self._calls += 1
        if self._calls <= self.call:
            return found
        if self.how == "raises":
            raise EngineError("gigatoken failed: out of words")
        if self.how == "id":  # of the third document
            found.ids[found.ends[1]] ^= 1
        if self.how == "vocabulary":
            found.ids[-1] = 2**16 + 5  # as 16 bits, a fine id
        if self.how == "rows":
            return Encoded(found.ids, found.ends[:-1])
        if self.how == "shifted":  # the same ids in all, cut in another place
            found.ends[1] += 1
        return found


@pytest.fixture
def tokens(make: Make, tmp_path: Path) -> Callable[[str], dict[str, bytes]]:
    """Return a function that makes token files of documents of all kinds, and returns their bytes."""
    step = steps()
    texts = ["the fear of the LORD", *(text for text in ADVERSARIAL if text.strip()), "my son, hear " * 20] * 3
    folders = {role: tmp_path / role for role in ("corpus", "documents")}
    for folder in folders.values():
        folder.mkdir()
    report = write_shard(
        folders["documents"],
        [Document(f"{n}", text, metadata={"n": n} if n % 3 else {}) for n, text in enumerate(texts)],
    )
    (folders["corpus"] / kept_file(0)).write_bytes(b"\xff" * (report["documents"] // 8 + 1))
    inputs = {role: Artifact(step.inputs[role], None, folder) for role, folder in folders.items()}  # type: ignore[arg-type]
    inputs["tokenizer"] = make(step.inputs["tokenizer"])

    def run(name: str, threads: int = 2) -> dict[str, bytes]:
        out = tmp_path / name
        out.mkdir()
        result = make_tokens(Job(step=step, inputs=inputs, out=out, placement=Placement(threads=threads)))
        files = {path.name: path.read_bytes() for path in out.iterdir()}
        assert len(files) == 4 and result["documents"] > 50
        return {**files, "result": repr(result).encode()}

    return run


@pytest.fixture
def right(tokens: Callable[[str], dict[str, bytes]]) -> dict[str, bytes]:
    """Return the bytes that the reference alone gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "gigatoken", None)
        return tokens("right")


def test_without_the_library_a_warning_and_the_same_bytes(
    right: dict[str, bytes], tokens: Callable[[str], dict[str, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    [warning] = [record.getMessage() for record in caplog.get_records("setup")]
    assert "gigatoken cannot be imported" in warning and "tokenizers encodes the whole shard" in warning
    pytest.importorskip("gigatoken")
    assert tokens("fast") == right
    assert not caplog.get_records("call")


@pytest.mark.parametrize(
    ("how", "call", "message"),
    [
        ("id", 0, "find other ids for the text"),
        ("shifted", 0, "find other ids for the text"),
        ("raises", 0, "out of words"),
        ("raises", 4, "out of words"),
        ("vocabulary", 4, "outside the vocabulary"),
        ("rows", 4, "another number of texts"),
        ("tokenizer", 0, "cannot read this tokenizer"),
    ],
)
def test_a_broken_engine_is_replaced_and_the_bytes_are_right(
    right: dict[str, bytes],
    tokens: Callable[[str], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
    call: int,
    message: str,
) -> None:
    monkeypatch.setattr(engine, "Fast", type("Stub", (Broken,), {"how": how, "call": call}))
    monkeypatch.setattr(token_file, "_BATCH_CHARACTERS", 500)
    assert tokens("broken") == right
    [warning] = [record for record in caplog.get_records("call") if record.levelname == "WARNING"]
    assert message in warning.getMessage()


@pytest.mark.parametrize("characters", [1, 700, 10**9])
@pytest.mark.parametrize("library", [True, False], ids=["fast", "reference"])
def test_batches_and_threads_do_not_change_a_byte(
    right: dict[str, bytes],
    tokens: Callable[..., dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    characters: int,
    library: bool,
) -> None:
    if library:
        pytest.importorskip("gigatoken")
    else:
        monkeypatch.setitem(sys.modules, "gigatoken", None)
    monkeypatch.setattr(token_file, "_BATCH_CHARACTERS", characters)
    assert tokens("one", threads=1) == right
    assert tokens("three", threads=3) == right
    assert len(caplog.get_records("call")) == (0 if library else 2)
