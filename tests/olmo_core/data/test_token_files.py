"""Published token files: which ones a list names, and what becomes of them."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from data_samples import TOKENIZER, mix_of

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.data.loader import Loader
from olmo_core.data.token_files import (
    TokenFilesConfig,
    TokenFilesError,
    listed,
    take_token_files,
    token_files_step,
)
from olmo_core.data.tokenizer import SpecialTokens
from olmo_core.data.tokens import read_token_files

EOS = 99


def config(base: Path, **changes: object) -> TokenFilesConfig:
    fields = {"list_url": str(base / "list.yaml"), "folder": "preprocessed/", "root": str(base), "licence": "x"}
    return TokenFilesConfig.model_validate({**fields, **changes})


def write(folder: Path, place: str, *ids: int, dtype: str = "uint16") -> None:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    np.array(ids, dtype=dtype).tofile(path)


def taken(folder: Path, name: str, config: TokenFilesConfig, shard: int, vocab_size: int = 100) -> Artifact:
    tokenizer, out = folder / "tokenizer", folder / "out" / f"{name}-{shard}"
    tokenizer.mkdir(exist_ok=True)
    out.mkdir(parents=True)
    special = SpecialTokens("<|endoftext|>", EOS, "<|pad|>", 1, vocab_size)
    (tokenizer / "special_tokens.json").write_bytes(msgspec.json.encode(special))
    step = token_files_step(name, config, shard, TOKENIZER)
    inputs = {"tokenizer": Artifact(TOKENIZER, None, tokenizer)}  # type: ignore[arg-type]
    take_token_files(Job(step=step, inputs=inputs, out=out))
    return Artifact(step, None, out)  # type: ignore[arg-type]


# As in the configs of OLMo (three schemes, comments, other data) and in the lists of OLMo-core.
YAML = """
evaluators:
  - http://olmo-data.org/eval-data/wiki/part-0-00000.npy
data:
  paths:
    #SOURCE: http://olmo-data.org/preprocessed/wiki/ (3.66BT)
    - http://olmo-data.org/preprocessed/wiki/part-1-00000.npy
    - s3://ai2-llm/preprocessed/wiki/part-0-00000.npy
    - r2://olmo-data/preprocessed/math/a_b.v1-x/part-00-00000.npy
    - http://olmo-data.org/preprocessed/wiki/part-1-00000.npy
"""
TEXT = "# comment\nwiki,preprocessed/wiki/{TOKENIZER}/part-0-00000.npy\npreprocessed/math/part-1.npy\n"


def test_a_list_names_files_in_its_order_and_as_often_as_it_does(tmp_path: Path) -> None:
    wiki = config(tmp_path, folder="preprocessed/wiki/", root="https://there/")
    one, zero = (f"https://there/preprocessed/wiki/part-{n}-00000.npy" for n in (1, 0))
    assert listed(YAML, wiki) == [one, zero, one]
    everything = config(tmp_path, root="https://there")
    assert listed(YAML, everything) == [one, zero, "https://there/preprocessed/math/a_b.v1-x/part-00-00000.npy", one]
    assert listed(TEXT, config(tmp_path, root="x", tokenizer_folder="allenai/dolma2-tokenizer")) == [
        "x/preprocessed/wiki/allenai/dolma2-tokenizer/part-0-00000.npy",
        "x/preprocessed/math/part-1.npy",
    ]


def test_files_become_shards_that_a_mix_is_made_of(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(YAML)
    write(tmp_path, "preprocessed/wiki/part-1-00000.npy", 1, 2, 3, EOS)
    write(tmp_path, "preprocessed/wiki/part-0-00000.npy", 4, EOS, 5, 6, EOS, 7, 8)
    write(tmp_path, "preprocessed/math/a_b.v1-x/part-00-00000.npy", 8, EOS)
    shards = {f"all/{n:05d}": taken(tmp_path, "all", config(tmp_path, shards=2), n) for n in (0, 1)}
    first, second = (read_token_files(artifact.path) for artifact in shards.values())
    assert [(file.tokens, file.documents, file.dtype, file.eos_id) for file in first] == [
        (4, 1, "uint16", EOS),
        (2, 1, "uint16", EOS),
    ]
    assert [(file.tokens, file.documents) for file in second] == [(7, 2), (4, 1)]
    ids = [
        np.fromfile(artifact.path / file.file, "uint16").tolist()
        for artifact in shards.values()
        for file in read_token_files(artifact.path)
    ]
    assert ids == [[1, 2, 3, EOS], [8, EOS], [4, EOS, 5, 6, EOS, 7, 8], [1, 2, 3, EOS]]
    folder, report = mix_of(tmp_path, shards, {"all": 1}, 16, 2)
    assert report["tokens"] == 16
    assert report["sources"][0]["tokens_left_at_file_ends"] == 1
    paths = {role: artifact.path for role, artifact in shards.items()}
    loader = Loader(folder, paths, seed=1, batch_size=8, sequence_length=2, vocab_size=100)
    seen = sorted(map(tuple, loader.batch(0).tokens.tolist()))
    assert seen == sorted([(1, 2), (3, EOS), (8, EOS), (4, EOS), (5, 6), (EOS, 7), (1, 2), (3, EOS)])


def test_ids_of_a_large_vocabulary_are_four_bytes(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(TEXT)
    write(tmp_path, "preprocessed/math/part-1.npy", 70_000, EOS, dtype="uint32")
    math = config(tmp_path, folder="preprocessed/math/")
    [about] = read_token_files(taken(tmp_path, "math", math, 0, vocab_size=100_278).path)
    assert (about.dtype, about.tokens, about.documents) == ("uint32", 2, 1)


def test_a_file_that_ends_within_an_id_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(TEXT)
    write(tmp_path, "preprocessed/math/part-1.npy", 1, 0, 2, dtype="uint8")
    with pytest.raises(TokenFilesError, match=r"math/part-1\.npy ends within an id of uint16; it is cut"):
        taken(tmp_path, "math", config(tmp_path, folder="preprocessed/math/"), 0)


def test_an_id_beyond_the_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(TEXT)
    write(tmp_path, "preprocessed/math/part-1.npy", 1, 100)
    with pytest.raises(TokenFilesError, match=r"math/part-1\.npy holds id 100, the tokenizer's end at 99; it was not"):
        taken(tmp_path, "math", config(tmp_path, folder="preprocessed/math/"), 0)


def test_too_many_shards_and_a_wrong_folder_are_said(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(TEXT)
    with pytest.raises(TokenFilesError, match=r"names 0 files in preprocessed/wikis/, too few for 1 shards"):
        taken(tmp_path, "a", config(tmp_path, folder="preprocessed/wikis/"), 0)
    with pytest.raises(TokenFilesError, match=r"names 2 files in preprocessed/, too few for 3 shards"):
        taken(tmp_path, "b", config(tmp_path, shards=3), 2)


def test_what_decides_what_a_shard_holds_is_its_identity(tmp_path: Path) -> None:
    def step(name: str = "a", shard: int = 0, tokenizer: Step = TOKENIZER, **changes: object) -> str:
        return token_files_step(name, config(tmp_path, **changes), shard, tokenizer).id

    assert step() == step(name="b")
    others = [
        step(shard=1), step(shards=2), step(folder="other/"), step(root="elsewhere"), step(list_url="other"),
        step(tokenizer_folder="x"), step(tokenizer=Step("tokenizer", "t", 2)),
    ]  # fmt: skip
    assert len({step(), *others}) == len(others) + 1
