"""Import of a Hub commit's tokenizer, and evaluation of its model, from the Hub that the placement names."""

import json
from dataclasses import replace

import pytest
from hub_folder import entries
from hub_server import FakeHub
from tokenizers import Tokenizer

from olmo_core.artifact.job import Job
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.hub.convert import ConversionError
from olmo_core.hub.endpoint import HubEndpoint
from olmo_core.hub.import_tokenizer import import_tokenizer
from olmo_core.hub.placement import HubPlacement
from olmo_core.hub.pretrained import PretrainedConfig, pretrained_step, pretrained_tokenizer_step
from olmo_core.tokens.tokenizer import load_tokenizer

REPO = "olmo/tiny"


@pytest.fixture
def hub():
    with FakeHub() as hub:
        yield hub


def changed(revision, **fields):
    """Return a revision with a changed config.json."""
    path = revision.folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return replace(revision, files=entries(revision.folder))


def take(hub, folder, commit):
    folder.mkdir()
    step = pretrained_tokenizer_step(PretrainedConfig(repo=REPO, revision=commit))
    return import_tokenizer(Job(step=step, inputs={}, out=folder, placement=HubPlacement(hub=hub.url)))


def test_imported_tokenizer_equals_published_one(hub, revision, tokenizer_folder, tmp_path):
    commit = HubEndpoint(REPO, hub.url).upload(revision("r"))
    result = take(hub, tmp_path / "taken", commit)
    assert (tmp_path / "taken" / "tokenizer.json").read_bytes() == (tokenizer_folder / "tokenizer.json").read_bytes()
    tokenizer, special = load_tokenizer(tmp_path / "taken")
    ours = json.loads((tokenizer_folder / "special_tokens.json").read_text())
    assert {key: result[key] for key in ours} == ours
    assert tokenizer.id_to_token(special.eos_id) == special.eos_token == "<|endoftext|>"
    assert not hub.count(r"resolve/.*safetensors"), "weights are the other step's"


def test_missing_padding_defaults_to_end_of_document(hub, revision, tmp_path):
    commit = HubEndpoint(REPO, hub.url).upload(changed(revision("r"), pad_token_id=None))
    result = take(hub, tmp_path / "taken", commit)
    assert result["pad_id"] == result["eos_id"]


def test_unknown_end_of_document_is_refused(hub, revision, tmp_path):
    commit = HubEndpoint(REPO, hub.url).upload(changed(revision("r"), eos_token_id=4000))
    with pytest.raises(ConversionError, match=r"config\.json: eos_token_id is 4000, which is not an id of"):
        take(hub, tmp_path / "taken", commit)


def test_end_of_document_is_found_among_several_ends(hub, revision, tokenizer_folder, tmp_path):
    ours = json.loads((tokenizer_folder / "special_tokens.json").read_text())["eos_id"]
    for name, listed in (("one", [4000, 5]), ("several", [5, ours])):
        commit = HubEndpoint(REPO, hub.url).upload(changed(revision(name), eos_token_id=listed))
        assert take(hub, tmp_path / name, commit)["eos_id"] == (5 if name == "one" else ours)
    commit = HubEndpoint(REPO, hub.url).upload(changed(revision("none"), eos_token_id=[5, 6]))
    with pytest.raises(
        ConversionError, match=r"eos_token_id is \[5, 6\] \(.*\), none is <\|endoftext\|>; keep the one"
    ):
        take(hub, tmp_path / "none", commit)


def test_saved_padding_and_truncation_are_not_imported(hub, revision, tokenizer_folder, tmp_path):
    made = revision("r")
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=1)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(made.folder / "tokenizer.json"))
    commit = HubEndpoint(REPO, hub.url).upload(replace(made, files=entries(made.folder)))
    take(hub, tmp_path / "taken", commit)
    taken = Tokenizer.from_file(str(tmp_path / "taken" / "tokenizer.json"))
    assert taken.padding is None and taken.truncation is None
    assert len(taken.encode("a longer text").ids) > 3
    assert taken.to_str() == Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json")).to_str()


def test_commit_without_tokenizer_is_refused(hub, revision, tmp_path):
    made = revision("r")
    (made.folder / "tokenizer.json").unlink()
    commit = HubEndpoint(REPO, hub.url).upload(replace(made, files=entries(made.folder)))
    with pytest.raises(ConversionError, match=f"{REPO} at {commit} has no tokenizer.json"):
        take(hub, tmp_path / "taken", commit)


def test_commit_is_one_artifact_from_any_endpoint(hub, revision, native, tmp_path):
    commit = HubEndpoint(REPO, hub.url).upload(revision("r"))
    step = pretrained_step(PretrainedConfig(repo=REPO, revision=commit), "model-main")
    store = Store(tmp_path / "store")
    made = make(step, store, HubPlacement(hub=hub.url))
    assert (step.label, made.reused) == ("pretrained/model-main", False)
    assert make(step, store, HubPlacement(hub="http://127.0.0.1:9")).reused
