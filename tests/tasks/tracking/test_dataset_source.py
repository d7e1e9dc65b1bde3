"""The source of a data set finds its artifact again in the store, or says why it cannot."""

import json
from pathlib import Path

import pytest
from mlflow.data.dataset_source import DatasetSource
from tiny_release import make_corpus

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.record import Record
from olmo_core.artifact.store import Store
from tasks.tracking.mlflow.dataset_source import ArtifactSource


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Two corpora of one kind are in the store; this is the second."""
    store = Store(tmp_path / "store")
    return [
        make(Step("corpus", name, 1, {"source": name}, {}, make_corpus), store).artifact.record
        for name in ("news", "wiki")
    ][-1]


@pytest.fixture
def source(record: Record, tmp_path: Path) -> ArtifactSource:
    return ArtifactSource(str(tmp_path / "store"), "corpus", "wiki", record.id, record.digest)


def test_source_survives_the_json_that_mlflow_keeps(source: ArtifactSource) -> None:
    text = source.to_json()
    again = ArtifactSource.from_json(text)
    assert again.to_dict() == source.to_dict() == json.loads(text)
    assert again.load().joinpath("train.txt").read_text() == "wiki"


def test_damaged_file_is_not_loaded(source: ArtifactSource, record: Record) -> None:
    """Once with another size, once with other bytes of the same size."""
    file = Path(source.root) / record.files_folder / "train.txt"
    for content in ("wiki and more", "wikj"):
        file.write_text(content)
        with pytest.raises(LookupError, match=r"^corpus/wiki: .*train\.txt"):
            source.load()


@pytest.mark.parametrize("changed", [{"id": "f" * 64}, {"digest": "e" * 64}, {"kind": "mix"}])
def test_other_artifact_is_not_taken_for_it(changed: dict[str, str], source: ArtifactSource) -> None:
    other = ArtifactSource.from_dict({**source.to_dict(), **changed})
    with pytest.raises(LookupError) as missing:
        other.load()
    assert str(missing.value) == f"{source.root} does not hold {other.kind}/wiki with the digest {other.digest}"


def test_no_other_source_is_taken_for_an_artifact(source: ArtifactSource) -> None:
    """MLflow asks every kind of source whether a path or object is one of its own."""
    assert isinstance(source, DatasetSource)
    assert ArtifactSource._get_source_type() == "olmo_artifact"
    assert not ArtifactSource._can_resolve(source.root)
    with pytest.raises(NotImplementedError, match="'/data' is not an artifact of a store"):
        ArtifactSource._resolve("/data")
