"""Published token files: which files a list names, and how they are imported."""

from pathlib import Path

import numpy as np
import pytest
from stores import STORED
from token_samples import EOS, TOKENIZER, mix_of, taken, write_ids

from olmo_core.artifact.files import LfsPointerError
from olmo_core.artifact.identity import Step
from olmo_core.tokens import file_import
from olmo_core.tokens.loader import Loader
from olmo_core.tokens.published import (
    TokenFilesConfig,
    TokenFilesError,
    listed,
    token_files_step,
)
from olmo_core.tokens.ranges import RangeError
from olmo_core.tokens.read_ahead import read_ahead
from olmo_core.tokens.token_file import read_token_files

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\n"


def config(base: Path, **changes: object) -> TokenFilesConfig:
    fields = {"list_url": str(base / "list.yaml"), "folder": "preprocessed/", "root": str(base), "licence": "x"}
    return TokenFilesConfig.model_validate({**fields, **changes})


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


def test_list_keeps_order_and_repetitions(tmp_path: Path) -> None:
    wiki = config(tmp_path, folder="preprocessed/wiki/", root="https://there/")
    one, zero = (f"https://there/preprocessed/wiki/part-{n}-00000.npy" for n in (1, 0))
    assert listed(YAML, wiki) == [one, zero, one]
    everything = config(tmp_path, root="https://there")
    assert listed(YAML, everything) == [one, zero, "https://there/preprocessed/math/a_b.v1-x/part-00-00000.npy", one]
    assert listed(TEXT, config(tmp_path, root="x", tokenizer_folder="allenai/dolma2-tokenizer")) == [
        "x/preprocessed/wiki/allenai/dolma2-tokenizer/part-0-00000.npy",
        "x/preprocessed/math/part-1.npy",
    ]


def test_label_mask_in_list_is_refused(tmp_path: Path) -> None:
    text = "paths: [preprocessed/tulu/input_ids.npy]\nlabel_mask_paths: [preprocessed/tulu/label_mask.npy]\n"
    with pytest.raises(TokenFilesError, match=r"names a label mask, preprocessed/tulu/label_mask\.npy; give paths"):
        listed(text, config(tmp_path))


def test_imported_shards_can_be_mixed(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(YAML)
    write_ids(tmp_path, "preprocessed/wiki/part-1-00000.npy", 1, 2, 3, EOS)
    write_ids(tmp_path, "preprocessed/wiki/part-0-00000.npy", 4, EOS, 5, 6, EOS, 7, 8)
    write_ids(tmp_path, "preprocessed/math/a_b.v1-x/part-00-00000.npy", 8, EOS)
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


def test_large_vocabulary_has_four_byte_ids(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(TEXT)
    write_ids(tmp_path, "preprocessed/math/part-1.npy", 70_000, EOS, dtype="uint32")
    math = config(tmp_path, folder="preprocessed/math/")
    [about] = read_token_files(taken(tmp_path, "math", math, 0, vocab_size=100_278).path)
    assert (about.dtype, about.tokens, about.documents) == ("uint32", 2, 1)


def test_file_ending_within_an_id_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(TEXT)
    write_ids(tmp_path, "preprocessed/math/part-1.npy", 1, 0, 2, dtype="uint8")
    with pytest.raises(TokenFilesError, match=r"math/part-1\.npy ends within an id of uint16; it is truncated"):
        taken(tmp_path, "math", config(tmp_path, folder="preprocessed/math/"), 0)


def test_id_beyond_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(TEXT)
    write_ids(tmp_path, "preprocessed/math/part-1.npy", 1, 100)
    with pytest.raises(
        TokenFilesError, match=r"math/part-1\.npy has id 100, the tokenizer's largest is 99; it was not"
    ):
        taken(tmp_path, "math", config(tmp_path, folder="preprocessed/math/"), 0)


def test_too_many_shards_or_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(TEXT)
    with pytest.raises(TokenFilesError, match=r"names 0 files in preprocessed/wikis/, too few for 1 shards"):
        taken(tmp_path, "a", config(tmp_path, folder="preprocessed/wikis/"), 0)
    with pytest.raises(TokenFilesError, match=r"names 2 files in preprocessed/, too few for 3 shards"):
        taken(tmp_path, "b", config(tmp_path, shards=3), 2)


def test_shard_identity_includes_all_that_decides_its_content(tmp_path: Path) -> None:
    def step(name: str = "a", shard: int = 0, tokenizer: Step = TOKENIZER, **changes: object) -> str:
        return token_files_step(name, config(tmp_path, **changes), shard, tokenizer).id

    assert step() == step(name="b")
    others = [
        step(shard=1), step(shards=2), step(folder="other/"), step(root="elsewhere"), step(list_url="other"),
        step(tokenizer_folder="x"), step(tokenizer=Step("tokenizer", "t", 2)),
    ]  # fmt: skip
    assert len({step(), *others}) == len(others) + 1


@pytest.mark.parametrize("in_place", [False, True])
def test_files_are_copied_or_read_in_place(tmp_path: Path, in_place: bool) -> None:
    write_ids(tmp_path, "a.npy", 1, 2, 3, EOS)
    write_ids(tmp_path, "b.npy", 4, 5, 6, 7)
    config = TokenFilesConfig(paths=(f"{tmp_path}/a.npy", f"{tmp_path}/b.npy"), in_place=in_place, licence="x")
    made = taken(tmp_path, "mine", config, 0)
    files = read_token_files(made.path)
    assert [(file.tokens, file.documents) for file in files] == [(4, None), (4, None)] if in_place else [(4, 1), (4, 0)]
    assert len(list(made.path.iterdir())) == (1 if in_place else 3)
    folder, report = mix_of(tmp_path, {"mine/00000": made}, {"mine": 1}, 8, 4)
    assert report["sources"][0]["documents"] == (None if in_place else 1)
    loader = Loader(folder, {"mine/00000": made.path}, seed=1, batch_size=2, sequence_length=4, vocab_size=100)
    assert sorted(loader.batch(0).tokens.tolist()) == [[1, 2, 3, EOS], [4, 5, 6, 7]]
    np.array([4, 5, 6], dtype="uint16").tofile(tmp_path / "b.npy")
    if in_place:
        with pytest.raises(ValueError, match=r"b\.npy has 6 bytes, 4 tokens of uint16 need 8"):
            read_token_files(made.path)


def test_files_on_s3_and_http_are_read_in_place(tmp_path: Path, web: str, bucket: str) -> None:
    (tmp_path / "x.npy").write_bytes(STORED)
    batches = []
    for number, address in enumerate([str(tmp_path / "x.npy"), f"{web}/a/x.npy", f"{bucket}/x.npy"]):
        config = TokenFilesConfig(paths=(address,), in_place=True, licence="x")
        made = taken(tmp_path / str(number), "x", config, 0, vocab_size=65_000)
        folder, _ = mix_of(tmp_path / str(number), {"x/00000": made}, {"x": 1}, 100, 10)
        loader = Loader(folder, {"x/00000": made.path}, seed=1, batch_size=5, sequence_length=10, vocab_size=65_000)
        assert loader.remote == (number > 0)
        with read_ahead(loader, range(7)) as read:
            batches.append(np.stack([batch.tokens for batch in read]))
    assert np.array_equal(np.sort(batches[0][:2], axis=None), np.frombuffer(STORED, "uint16"))
    assert np.array_equal(batches[0], batches[1]) and np.array_equal(batches[0], batches[2])


def test_server_without_ranges_is_refused_at_import(tmp_path: Path, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_import, "_LOOK_BYTES", 128)
    config = TokenFilesConfig(paths=(f"{web}/plain/x.npy",), in_place=True, licence="x")
    with pytest.raises(RangeError, match=r"plain/x\.npy: bytes 0 to 127 .* its server does not support ranges"):
        taken(tmp_path, "x", config, 0, vocab_size=65_000)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    ("dtype", "vocab_size", "message"),
    [
        ("int32", 50_280, r"every second id is 0, so .* have 4 bytes each, not 2; write them as uint16, `ids\.astype"),
        ("int64", 50_280, r"every second id is 0, so .* have 8 bytes each, not 2; write them as uint16"),
        ("int64", 100_278, r"every second id is 0, so .* have 8 bytes each, not 4; write them as uint32"),
        ("uint16", 100_278, r"has id \d+, the tokenizer's largest is 100277; it was not written as uint32"),
    ],
)
def test_ids_of_another_type_are_refused(
    tmp_path: Path, dtype: str, vocab_size: int, message: str, in_place: bool
) -> None:
    ids = np.random.default_rng(0).integers(2, 1000, 4096)
    ids[9::10] = EOS
    ids.astype(dtype).tofile(tmp_path / "a.npy")
    config = TokenFilesConfig(paths=(str(tmp_path / "a.npy"),), in_place=in_place, licence="x")
    with pytest.raises(TokenFilesError, match=rf"a\.npy:? {message}"):
        taken(tmp_path, "other", config, 0, vocab_size)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("file", ["a.npy", "mask.npy"])
def test_numpy_header_and_lfs_pointer_are_refused(tmp_path: Path, file: str, in_place: bool) -> None:
    np.arange(200, dtype="uint16").tofile(tmp_path / "a.npy")
    np.ones(200, dtype=bool).tofile(tmp_path / "mask.npy")
    paths = {"paths": [f"{tmp_path}/a.npy"], "label_mask_paths": [f"{tmp_path}/mask.npy"], "in_place": in_place}
    config = TokenFilesConfig.model_validate({**paths, "licence": "x"})
    taken(tmp_path, "bare", config, 0, 50_280)
    np.save(tmp_path / file, np.ones(200, dtype="uint16" if file == "a.npy" else bool))
    with pytest.raises(TokenFilesError, match=rf"{file} begins with the header .* write them with `array\.tofile"):
        taken(tmp_path, "saved", config, 0, 50_280)
    (tmp_path / file).write_text(f"{LFS_POINTER}oid sha256:{'0' * 64}\nsize 400\n")
    with pytest.raises(LfsPointerError, match=rf"{file} is a Git LFS pointer, not the file itself; run `git lfs pull`"):
        taken(tmp_path, "pointer", config, 0, 50_280)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "has no files; give list_url, folder and root, or paths"),
        ({"list_url": "l", "folder": "f"}, "has folder, list_url; give list_url, folder and root"),
        ({"list_url": "l", "folder": "f", "root": "r", "paths": ["p"]}, "has folder, list_url, root, paths; give"),
        ({"paths": ["p"], "shards": 2}, "shards is 2, paths has 1 files; give at most that"),
        ({"paths": ["p", "q"], "label_mask_paths": ["m"]}, "label_mask_paths has 1 files, paths 2; give one for each"),
    ],
)
def test_list_and_paths_exclude_each_other(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenFilesConfig.model_validate({**fields, "licence": "x"})


@pytest.mark.parametrize("changes", [{}, {"in_place": True}, {"sidecars": True}, {"label_mask_paths": ("mask.npy",)}])
def test_missing_file_is_named(tmp_path: Path, changes: dict[str, object]) -> None:
    if "sidecars" in changes or "label_mask_paths" in changes:
        write_ids(tmp_path, "a.npy", 1, 2)
    config = TokenFilesConfig.model_validate({"paths": [f"{tmp_path}/a.npy"], "licence": "x", **changes})
    with pytest.raises(
        TokenFilesError, match=r"tokens/a-00000: .*/a\.npy, its label mask or its sidecar does not exist"
    ):
        taken(tmp_path, "a", config, 0)
