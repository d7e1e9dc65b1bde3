"""Which text is scored during training. `test_ranks` and `test_train_main` check the scores themselves."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from training_world import MODEL, config, mixed

from olmo_core.artifact.store import Store
from olmo_core.train.callbacks.heldout import read_texts
from olmo_core.train.config import HeldoutConfig
from olmo_core.train.step import run_step


def inputs(folder: Path, **sources: list[str]) -> dict[str, Any]:
    tokenizer = Tokenizer(WordLevel({"a": 1, "b": 2, "?": 3}, unk_token="?"))
    tokenizer.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "special_tokens.json").write_text(json.dumps({"eos_id": 0, "vocab_size": 4}))
    paths = {"tokenizer": folder}
    for name, texts in sources.items():
        paths[f"heldout/{name}"] = folder / name
        paths[f"heldout/{name}"].mkdir()
        with gzip.open(folder / name / "heldout.jsonl.gz", "wt") as file:
            file.writelines(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts))
    return {role: SimpleNamespace(path=path) for role, path in paths.items()}


def test_documents_are_cut_into_windows_and_bytes_counted(tmp_path: Path) -> None:
    texts = read_texts(HeldoutConfig(every=1), inputs(tmp_path, x=["a b é", "b"], none=[]), length=2)
    assert list(texts) == ["heldout/x"]
    assert texts["heldout/x"].bytes == 7
    assert sorted(tree.tokens for tree in texts["heldout/x"].windows) == [[0], [0, 1], [2]]


def test_scored_bytes_respect_limits(tmp_path: Path) -> None:
    asked = HeldoutConfig(every=1, source_bytes=9, document_bytes=4)
    text = read_texts(asked, inputs(tmp_path, x=["a b a b", "a b a", "a b b"]), length=8)["heldout/x"]
    assert text.bytes == 8
    assert [tree.tokens for tree in text.windows] == [[0, 1]] * 2


def test_missing_heldout_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no corpus has any; set corpora\.\*\.heldout above 0$"):
        read_texts(HeldoutConfig(every=1), inputs(tmp_path, none=[""]), length=2)
    mix = mixed(Store(str(tmp_path / "store")))
    with pytest.raises(ValueError, match="run: heldout needs a corpus with held-out text, but there is none"):
        run_step("run", config(heldout={"every": 2}), MODEL, mix)
