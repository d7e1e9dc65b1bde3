import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hub_folder import entries
from huggingface_hub import scan_cache_dir
from transformers import AutoModelForCausalLM, AutoTokenizer

from olmo_core.hub.cache import LocalCache, commit_id
from olmo_core.hub.parity import Parity, ParityError
from olmo_core.hub.publication import publish, published
from olmo_core.hub.target import PublishError
from olmo_core.model.load import load_model

REPO = "olmo/tiny"
EARLY, LATE = "stage1-step40-tokens200K", "stage1-step400-tokens2M"


@pytest.fixture
def target(tmp_path):
    return LocalCache(tmp_path / "cache", REPO)


def load(target, name):
    where = {"revision": name, "cache_dir": target.folder, "local_files_only": True}
    return AutoModelForCausalLM.from_pretrained(REPO, **where), AutoTokenizer.from_pretrained(REPO, **where)


def test_every_revision_loads_by_name(target, revision, native):
    for number, name in enumerate((LATE, EARLY, "main")):
        publication = publish(revision(name, seed=number), native(number), target)
        assert not publication.reused and publication.largest_difference < 1e-4
    for number, name in enumerate((LATE, EARLY, "main")):
        model, tokenizer = load(target, name)
        assert torch.equal(model.lm_head.weight, load_model(native(number)).head.weight)
        assert tokenizer.decode(tokenizer("a quick test")["input_ids"]) == "a quick test"
    # No revision given means main.
    default = AutoModelForCausalLM.from_pretrained(REPO, cache_dir=target.folder, local_files_only=True)
    assert torch.equal(default.lm_head.weight, load_model(native(2)).head.weight)
    assert published(target) == [EARLY, LATE, "main"]
    assert (target.root / "revisions.txt").read_text() == f"{EARLY}\n{LATE}\nmain\n"


def test_snapshot_holds_copies_without_links(target, revision, native, monkeypatch):
    def symlink(*_, **__):
        raise PermissionError("no links")

    monkeypatch.setattr(os, "symlink", symlink)
    publish(revision("main"), native(), target)
    assert not any(path.is_symlink() for path in target.root.rglob("*"))
    assert torch.equal(load(target, "main")[0].lm_head.weight, load_model(native()).head.weight)


def test_layout_is_known_to_the_hub_client(target, revision, native):
    publish(revision("main"), native(), target)
    found = scan_cache_dir(target.folder)
    assert not found.warnings
    (repo,) = found.repos
    assert repo.repo_id == REPO and repo.refs.keys() == {"main"}
    assert {file.file_name for file in repo.refs["main"].files} == {e.path for e in revision("same").files}


def test_second_publication_does_and_loads_nothing(target, revision, native, monkeypatch):
    made = revision(LATE)
    first = publish(made, native(), target)
    before = {path: path.stat().st_mtime_ns for path in target.root.rglob("*") if path.parent.name == "blobs"}
    monkeypatch.setattr("olmo_core.hub.parity.verify", lambda *args: pytest.fail("loaded again"))
    again = publish(made, native(), target)
    assert again.reused and again.commit == first.commit and again.largest_difference is None
    assert before == {path: path.stat().st_mtime_ns for path in target.root.rglob("*") if path.parent.name == "blobs"}


def test_commit_depends_on_content_only(revision, tmp_path, native):
    one, two = revision("one"), revision("two")
    for name in ("README.md", "lineage.json"):
        (two.folder / name).write_bytes((one.folder / name).read_bytes())
    two = replace(two, files=entries(two.folder))
    assert commit_id(one) == commit_id(replace(two, files=tuple(reversed(two.files))))
    assert commit_id(one) != commit_id(revision("one-more"))


def test_new_content_moves_the_name(target, revision, native):
    first = publish(revision("main"), native(), target)
    second = publish(replace(revision("next", seed=1), name="main"), native(1), target)
    assert second.commit != first.commit
    assert torch.equal(load(target, "main")[0].lm_head.weight, load_model(native(1)).head.weight)


def test_equal_weights_are_stored_once(target, revision, native):
    publish(revision(EARLY), native(), target)
    publish(revision(LATE), native(), target)
    assert len(published(target)) == 2
    large = [blob for blob in (target.root / "blobs").iterdir() if blob.stat().st_size > 50_000]
    assert len(large) == 1


def test_wrong_model_never_gets_its_name(target, revision, native):
    publish(revision(EARLY), native(), target)
    with pytest.raises(ParityError):
        publish(revision(LATE, seed=1), native(0), target)
    with pytest.raises(ParityError):
        publish(replace(revision("next", seed=1), name=EARLY), native(0), target)
    assert published(target) == [EARLY]
    assert torch.equal(load(target, EARLY)[0].lm_head.weight, load_model(native(0)).head.weight)


def test_changed_source_is_refused(target, revision, native):
    made = revision(LATE)
    path = made.folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(PublishError, match=r"model.safetensors has sha256 .*, but .* in its record"):
        publish(made, native(), target)
    assert published(target) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damage_is_repaired(target, revision, native, damage, name):
    made = revision(LATE)
    first = publish(made, native(), target)
    blob = (target.root / "snapshots" / first.commit / name).resolve()
    good = blob.read_bytes()
    if damage == "remove":
        blob.unlink()
    else:
        blob.write_bytes(good[:-1] + (b"" if damage == "cut" else bytes([good[-1] ^ 1])))
    assert not publish(made, native(), target).reused
    assert blob.read_bytes() == good


def test_main_is_refused_before_the_revisions_it_lists(target, revision, native):
    main = revision("main", revisions_txt=f"{EARLY}\n{LATE}\nmain\n")
    publish(revision(LATE), native(), target)
    with pytest.raises(PublishError, match=f"1 are not published yet, the first is {EARLY}"):
        publish(main, native(), target)
    publish(revision(EARLY), native(), target)
    publish(main, native(), target)
    assert published(target)[-1] == "main"


class Killed(BaseException):
    pass


def test_publication_killed_at_any_write_can_be_finished(tmp_path, revision, native, monkeypatch):
    """Interrupt publishing at each change of the disk in turn: no name appears early, and the next call finishes."""
    monkeypatch.setattr("olmo_core.hub.parity.verify", lambda *args: Parity(1, 0.0, 1.0))  # Tested elsewhere.
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # A point to interrupt at; the machine itself stays up.
    made = revision(LATE)
    point = 0
    while True:
        target = LocalCache(tmp_path / f"cache{point}", REPO)
        left = [point]

        def cut(original, writes=lambda *args, **kwargs: True, left=left):
            def then(*args, **kwargs):
                result = original(*args, **kwargs)
                left[0] -= writes(*args, **kwargs)
                if left[0] < 0:
                    raise Killed
                return result

            return then

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", cut(os.fsync))
            patch.setattr(Path, "replace", cut(Path.replace))
            patch.setattr(Path, "symlink_to", cut(Path.symlink_to))
            # A file that was only opened for writing is empty.
            patch.setattr(Path, "open", cut(Path.open, lambda path, mode="r", **kwargs: "w" in mode))
            try:
                publish(made, native(), target)
                finished = True
            except Killed:
                finished = False
        if published(target):
            assert target.published() == {LATE: commit_id(made)}
            assert target.holds(commit_id(made), made)
        publish(made, native(), target)
        assert published(target) == [LATE] and target.holds(commit_id(made), made)
        assert (target.root / "revisions.txt").read_text() == f"{LATE}\n"
        if finished:
            break
        point += 1
    assert point > 3 * len(made.files)


def test_two_processes_publish_concurrently(tmp_path, target, revision, native):
    code = (
        "import sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from hub_folder import entries\n"
        "from olmo_core.hub.cache import LocalCache\n"
        "from olmo_core.hub.target import RevisionFiles\n"
        "target = LocalCache(Path(sys.argv[2]), 'olmo/tiny')\n"
        "for folder in map(Path, sys.argv[3:]):\n"
        "    made = RevisionFiles(folder.name, folder, entries(folder))\n"
        "    target.move_name(target.upload(made), made)\n"
    )
    folders = [revision(f"stage1-step{n}-tokens1K", seed=n % 2).folder for n in range(8)]
    here = Path(__file__).parent
    running = [
        subprocess.Popen([sys.executable, "-c", code, here, target.folder, *folders[n::2]], env=os.environ)
        for n in range(2)
    ]
    assert [process.wait(120) for process in running] == [0, 0]
    assert (target.root / "revisions.txt").read_text().split() == [folder.name for folder in folders]
