"""A tiny native model, its tokenizer and revisions of them, for the tests of the hub room."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import pytest
import torch
from hub_folder import REPO, entries
from hub_server import FakeHub
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from olmo_core.hub.convert import write_hub_model, write_tokenizer
from olmo_core.hub.endpoint import HubEndpoint
from olmo_core.hub.lineage import LINEAGE_FILE, encode
from olmo_core.hub.target import RevisionFiles
from olmo_core.model.config import ModelConfig
from olmo_core.model.load import save_model
from olmo_core.model.transformer import Transformer

VOCAB = 300


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a byte-level tokenizer of 300 ids, as the tokens room makes them."""
    folder = tmp_path_factory.mktemp("tokenizer")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: number for number, letter in enumerate(letters)}
    merges = []
    for first in "thequickbrownfxjmpsvlazyd"[: VOCAB - 2 - len(letters)]:
        merges.append(("Ġ", first))
        vocab[f"Ġ{first}"] = len(vocab)
    for first in "abcdefghijklmnopqrstuvwxyz"[: VOCAB - 2 - len(vocab)]:
        merges.append(("e", first))
        vocab[f"e{first}"] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|pad|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"eos_id": tokenizer.token_to_id("<|endoftext|>"), "pad_id": tokenizer.token_to_id("<|pad|>")}
    special["vocab_size"] = tokenizer.get_vocab_size()
    assert special["vocab_size"] == VOCAB
    (folder / "special_tokens.json").write_text(json.dumps(special))
    return folder


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that makes a native model: grouped heads, odd vocabulary size, gains other than one."""
    made: dict[tuple[int, int], Path] = {}

    def make(seed: int = 0, n_kv_heads: int = 2) -> Path:
        if (seed, n_kv_heads) not in made:
            config = ModelConfig(
                d_model=32, n_layers=3, n_heads=4, n_kv_heads=n_kv_heads, hidden_size=48, vocab_size=VOCAB,
                context_length=64, rope_theta=10_000.0, init_std=0.3,
            )  # fmt: skip
            generator = torch.Generator().manual_seed(seed)
            model = Transformer(config).initialize(generator)
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.data.uniform_(0.5, 1.5, generator=generator)
            folder = tmp_path_factory.mktemp(f"native{seed}")
            save_model(folder, config, model.state_dict())
            made[seed, n_kv_heads] = folder
        return made[seed, n_kv_heads]

    return make


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Start a Hub on loopback; waits inside the client return at once."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def waits() -> list[float]:
    """Return the list of waits of `target`, in seconds."""
    return []


@pytest.fixture
def target(hub: FakeHub, waits: list[float], tmp_path: Path) -> HubEndpoint:
    """Return the repository `REPO` of `hub` as a target."""
    return HubEndpoint(REPO, hub.url, scratch=tmp_path / "scratch", wait=waits.append)


@pytest.fixture
def revision(tmp_path: Path, native: Callable[..., Path], tokenizer_folder: Path) -> Callable[..., RevisionFiles]:
    """Return a function that makes a revision of the model with a given seed and extra files."""

    def make(name: str, seed: int = 0, dtype: str = "float32", **files: str) -> RevisionFiles:
        folder = tmp_path / "revisions" / name
        folder.mkdir(parents=True)
        ids = write_tokenizer(native(seed), tokenizer_folder, folder)
        write_hub_model(native(seed), folder, dtype, *ids)
        (folder / "README.md").write_text(f"---\nlicense: apache-2.0\n---\n# {name}\n")
        for path, text in files.items():
            (folder / path.replace("_txt", ".txt")).write_text(text)
        (folder / LINEAGE_FILE).write_bytes(encode({}, entries(folder)))
        return RevisionFiles(name, folder, entries(folder))

    return make
