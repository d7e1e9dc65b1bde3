"""Steps that follow from a corpus of files: what a changed, added or refused file does to them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from plans import ids, resting_on

from olmo_core.artifact.job import Job
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.artifact.why import why
from olmo_core.documents.document import read_documents
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe

RECIPE = """
base: micro
corpora:
  notes:
    source: {{reader: jsonl, paths: ["data/*.jsonl"], shard_bytes: {shard_bytes}}}
    licence: CC0-1.0
    heldout: 0
mixes:
  pretrain: {{weights: {{notes: 1}}}}
"""


def row(text: str) -> str:
    return f'{{"text": "{text}"}}\n'


def written(folder: Path, shard_bytes: int = 20, **files: str) -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / "data" / f"{name}.jsonl").write_text(content)
    (folder / "mine.yaml").write_text(RECIPE.format(shard_bytes=shard_bytes))
    return folder / "mine.yaml"


def plan_of(recipe: Path, *overrides: str) -> Plan:
    return lay_out(load_recipe(str(recipe), list(overrides)))


def changed(before: Plan, after: Plan) -> set[str]:
    old, new = ids(before), ids(after)
    return {label for label in old.keys() | new.keys() if old.get(label) != new.get(label)}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder that is not the current one."""
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    yield tmp_path / "project"


def test_files_are_found_from_the_folder_of_the_recipe(elsewhere: Path) -> None:
    recipe = written(elsewhere, a=row("one"), b=row("two"))
    steps = [step for step in plan_of(recipe).steps if step.label.startswith("documents/notes-")]
    assert [list(step.fields["files"]) for step in steps] == [[f"{elsewhere}/data/{name}.jsonl"] for name in ("a", "b")]


def test_same_files_give_the_same_plan(elsewhere: Path) -> None:
    recipe = written(elsewhere, a=row("one"), b=row("two") * 4)
    assert ids(plan_of(recipe)) == ids(plan_of(recipe))
    for name in "ab":  # written again, with the same content
        (elsewhere / "data" / f"{name}.jsonl").write_text((elsewhere / "data" / f"{name}.jsonl").read_text())
    assert plan_of(recipe).id == plan_of(recipe).id


def test_pattern_and_bad_row_setting_do_and_do_not_change_a_shard(elsewhere: Path) -> None:
    recipe = written(elsewhere, a=row("one"), b=row("two"))
    before = plan_of(recipe)
    assert not changed(before, plan_of(recipe, f"--corpora.notes.source.paths=[{elsewhere}/data]"))
    assert not changed(before, plan_of(recipe, "--corpora.notes.source.shard_bytes=25"))
    skipped = changed(before, plan_of(recipe, "--corpora.notes.source.on_bad_row=skip"))
    assert {"documents/notes-00000", "documents/notes-00001"} <= skipped


def test_changed_file_changes_its_own_shards_alone(elsewhere: Path) -> None:
    recipe = written(elsewhere, a=row("one"), b=row("two") * 3, c=row("four"))
    before = plan_of(recipe)
    labels = [f"documents/notes-{number:05d}" for number in range(5)]
    assert [label for label in ids(before) if label.startswith("documents/notes-")] == labels
    written(elsewhere, b=row("six") * 3)
    after = plan_of(recipe)
    of_b = {label for label in labels if f"{elsewhere}/data/b.jsonl" in before.step(label).fields["files"]}
    assert of_b == set(labels[1:4])
    assert changed(before, after) == resting_on(before, of_b)
    assert "corpus/notes" in changed(before, after) and "corpus/wisdom" not in changed(before, after)


def test_why_names_the_file_that_changed(elsewhere: Path, tmp_path: Path) -> None:
    recipe = written(elsewhere, a=row("one"), b=row("two"))
    store = Store(tmp_path / "root")
    corpus = plan_of(recipe).step("corpus/notes")
    for step in corpus.closure():
        make(step, store)
    assert why(plan_of(recipe).step("corpus/notes"), store).hit
    written(elsewhere, b=row("six"))
    found = why(plan_of(recipe).step("corpus/notes"), store)
    (difference,) = found.differences
    assert not found.hit
    assert difference.step == "documents/notes-00001"
    assert difference.path == f"fields.files.{elsewhere}/data/b.jsonl.tag"
    old = corpus.inputs["documents/00001"].fields["files"][f"{elsewhere}/data/b.jsonl"]["tag"]
    assert str(difference.recorded) == old != difference.wanted


def test_added_file_is_a_new_shard(elsewhere: Path) -> None:
    recipe = written(elsewhere, a=row("one"), b=row("two"))
    before = plan_of(recipe)
    written(elsewhere, c=row("six"))
    after = plan_of(recipe)
    assert {label for label in changed(before, after) if label.startswith("documents/")} == {"documents/notes-00002"}
    assert "corpus/notes" in changed(before, after)


def test_shards_of_the_plan_read_every_document_once(elsewhere: Path, tmp_path: Path) -> None:
    numbers = [f"text {number}" for number in range(50)]
    recipe = written(elsewhere, 100, a="".join(map(row, numbers[:33])), b="".join(map(row, numbers[33:])))
    found = []
    for step in plan_of(recipe).steps:
        if step.label.startswith("documents/notes-"):
            out = tmp_path / step.folder
            out.mkdir(parents=True)
            assert step.work is not None
            step.work(Job(step=step, inputs={}, out=out))
            found += [document.text for document in read_documents(out / "shard.jsonl.gz")]
    assert found == numbers


def test_number_of_shards_is_refused_for_files(elsewhere: Path) -> None:
    recipe = written(elsewhere, a=row("one"))
    with pytest.raises(
        ConfigError, match=r"corpora\.notes: .*shards is 2; files are cut by source\.shard_bytes, leave"
    ):
        load_recipe(str(recipe), ["--corpora.notes.shards=2"])
    assert plan_of(recipe, "--corpora.notes.shards=1").id == plan_of(recipe).id


def test_files_that_do_not_exist_are_refused_with_the_field(elsewhere: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"^corpora\.notes\.source\.paths: {elsewhere}/data/\*\.jsonl: no such file; "
    ):
        plan_of(written(elsewhere))
