"""Models trained elsewhere as the start of a stage: from a Hub commit, a folder, an artifact of ours."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch
from hub_server import FakeHub, Fault
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from olmo_core.artifact.files import LfsPointerError
from olmo_core.artifact.job import Job
from olmo_core.hub.convert import ConversionError, read_hub_model
from olmo_core.hub.endpoint import HubEndpoint
from olmo_core.hub.import_model import folder_digest
from olmo_core.hub.placement import HubPlacement
from olmo_core.hub.pretrained import PretrainedConfig, pretrained_step
from olmo_core.model.config import ModelConfig
from olmo_core.model.load import load_config, load_model
from olmo_core.train.checkpoint.state import start_from
from olmo_core.train.config import ScheduleConfig
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.trainer import Trainer

REPO = "olmo/tiny"
VOCAB = 300


@pytest.fixture
def take(tmp_path):
    """Take a model with some config; return the folder and what the step returns."""

    def run(hub=None, **config):
        out = tmp_path / "taken"
        out.mkdir()
        step = pretrained_step(PretrainedConfig(**config))
        assert step.work is not None
        return out, step.work(Job(step=step, inputs={}, out=out, placement=HubPlacement(hub=hub and hub.url)))

    return run


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with FakeHub() as hub:
        yield hub


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_commit_of_the_hub_becomes_a_checkpoint(hub, take, revision, native, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))  # What comes may be larger than it.
    made = revision("r")
    commit = HubEndpoint(REPO, hub.url).upload(made)
    out, result = take(hub, repo=REPO, revision=commit)
    assert same_weights(out, native())
    assert load_config(out) == load_config(native())
    parameters = load_config(native()).parameters
    assert result == {"architecture": "olmo2", "parameters": parameters, "sha256": folder_digest(made.folder)}
    assert sorted(path.name for path in out.iterdir()) == ["model.json", "model.safetensors"]


def test_other_bytes_than_the_commit_has_are_refused(hub, take, revision):
    commit = HubEndpoint(REPO, hub.url).upload(revision("r"))
    for key in hub.repos[REPO].commits[commit].values():
        if key in hub.lfs:
            hub.blobs[key] = hub.blobs[key][:-1] + bytes([hub.blobs[key][-1] ^ 1])
    with pytest.raises(ConversionError, match=r"the downloaded model\.safetensors differs from the one in the commit"):
        take(hub, repo=REPO, revision=commit)


def test_what_the_hub_has_not_and_a_hub_out_of_order_are_told_apart(hub, take, revision, tmp_path):
    HubEndpoint(REPO, hub.url).upload(revision("r"))
    with pytest.raises(ConversionError, match=f"{REPO} at {'0' * 40} cannot be downloaded from the Hub"):
        take(hub, repo=REPO, revision="0" * 40)
    hub.faults.append(Fault("GET .*tree", status=503, times=100))
    (tmp_path / "taken").rmdir()
    with pytest.raises(ConnectionError, match=REPO):
        take(hub, repo=REPO, revision="0" * 40)


def test_a_folder_of_transformers_becomes_a_checkpoint_a_run_starts_from(take, revision, native, tmp_path):
    folder = tmp_path / "theirs"
    AutoModelForCausalLM.from_pretrained(revision("r").folder).save_pretrained(folder)
    shutil.copy(revision("s").folder / "tokenizer.json", folder)
    out, _ = take(path=str(folder), sha256=folder_digest(folder))
    assert same_weights(out, native())
    schedule = ScheduleConfig(kind="constant", peak=1e-3)
    config = LanguageModelling(
        batch_size=2, sequence_length=8, checkpoint_every=1, tokens=16, seed=9, schedule=schedule, precision="fp32"
    )
    trainer = Trainer(load_config(native()), config.build_objective(), TrainPlacement(compile=False))
    start_from(out, trainer)
    weights = trainer.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in load_model(native()).state_dict().items())


@pytest.mark.parametrize("rows", [VOCAB, 384, 448])
def test_a_model_keeps_the_rows_it_has(take, revision, native, rows):
    """Rows of zeros, added to make a multiple of 128, would change every probability."""
    folder = revision("r").folder
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(rows, mean_resizing=False)
    model.save_pretrained(folder)
    out, _ = take(path=str(folder), sha256=folder_digest(folder))
    config = load_config(out)
    assert (config.vocab_size, config.padded_vocab_size) == (VOCAB, rows)
    assert (config == load_config(native())) == (rows == 384)
    ids = torch.arange(20).unsqueeze(0)
    with torch.no_grad():
        ours, theirs = load_model(out)(ids), model(ids).logits
    assert ours.shape == (1, 20, rows)
    torch.testing.assert_close(ours, theirs)
    recipe = ModelConfig.model_validate(load_config(native()).model_dump() | {"rows": rows})
    assert not config.differences(recipe), "a recipe that says so can start from it"


def test_a_tokenizer_with_more_ids_than_rows_is_refused(take, revision):
    folder = revision("r").folder
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(VOCAB - 1)
    model.save_pretrained(folder)
    with pytest.raises(ConversionError, match=rf"vocab_size is {VOCAB - 1}, but its tokenizer has {VOCAB} ids; resize"):
        take(path=str(folder), sha256=folder_digest(folder))


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json"])
def test_a_clone_without_its_large_files_is_named(take, revision, file):
    folder = revision("r").folder
    (folder / file).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1\n")
    message = rf"{file} is a Git LFS pointer, not the file itself; run `git lfs pull` in its clone"
    with pytest.raises(LfsPointerError, match=message):
        folder_digest(folder)
    with pytest.raises(LfsPointerError, match=message):
        read_hub_model(folder, folder)


def test_a_folder_of_ours_is_taken_as_it_is(take, native):
    out, result = take(path=str(native(1)), sha256=folder_digest(native(1)))
    assert (out / "model.json").read_bytes() == (native(1) / "model.json").read_bytes()
    assert same_weights(out, native(1))
    assert result["sha256"] == folder_digest(native(1))


def test_the_digest_is_what_sha256sum_prints(revision, native):
    for folder, files in (
        (revision("r").folder, "config.json model.safetensors tokenizer.json"),
        (native(), "model.json model.safetensors"),
    ):
        command = f"sha256sum {files} | sha256sum"
        printed = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout
        assert folder_digest(folder) == printed.split()[0]


def test_a_folder_of_another_content_is_refused(take, native, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(native(), folder)
    digest = folder_digest(folder)
    (folder / "model.safetensors").write_bytes((native(1) / "model.safetensors").read_bytes())
    with pytest.raises(ConversionError, match=rf"has the sha256 [0-9a-f]{{64}}, but {digest} in the recipe"):
        take(path=str(folder), sha256=digest)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConversionError, match=r"has no model\.safetensors"):
        folder_digest(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "has nothing; give repo and revision, or path and sha256"),
        ({"repo": REPO}, "has repo; give repo and revision"),
        ({"repo": REPO, "revision": "main"}, "revision"),
        ({"path": "x", "revision": "0" * 40}, "has path, revision; give"),
        ({"repo": REPO, "revision": "0" * 40, "path": "x", "sha256": "0" * 64}, "has path, repo, revision, sha256"),
        ({"repo": "../x/y", "revision": "0" * 40}, "repo"),
    ],
)
def test_a_start_has_one_place_of_fixed_content(config, message):
    with pytest.raises(ValidationError, match=message):
        PretrainedConfig(**config)


def test_identity_is_repository_and_commit_or_folder_and_digest():
    one = pretrained_step(PretrainedConfig(repo="allenai/OLMo-2-1124-7B", revision="a" * 40))
    assert one.label == "pretrained/OLMo-2-1124-7B-aaaaaaaaaa"
    assert one.fields == {"repo": "allenai/OLMo-2-1124-7B", "revision": "a" * 40}
    folder = pretrained_step(PretrainedConfig(path="/models/my model", sha256="b" * 64))
    assert folder.label == "pretrained/my-model"
    ids = {
        step.id
        for step in (
            one,
            folder,
            pretrained_step(PretrainedConfig(repo="allenai/OLMo-2-1124-7B", revision="c" * 40)),
            pretrained_step(PretrainedConfig(path="/models/my model", sha256="c" * 64)),
        )
    }
    assert len(ids) == 4
