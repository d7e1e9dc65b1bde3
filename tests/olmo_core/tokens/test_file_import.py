"""Import of label masks, and of sidecars that mark where documents end."""

import gzip
from pathlib import Path

import pytest
from token_samples import EOS, mix_of, taken, write_ids

from olmo_core.tokens.loader import Loader
from olmo_core.tokens.published import TokenFilesConfig, TokenFilesError
from olmo_core.tokens.token_file import read_token_files


def config(folder: Path, *names: str, **changes: object) -> TokenFilesConfig:
    fields = {"paths": [str(folder / name) for name in names], "licence": "x"}
    return TokenFilesConfig.model_validate({**fields, **changes})


def sidecar(path: Path, *rows: str) -> None:
    path.write_bytes(gzip.compress("".join(f"{row}\n" for row in rows).encode()))


@pytest.mark.parametrize("in_place", [False, True])
def test_label_masks_become_targets(tmp_path: Path, in_place: bool) -> None:
    write_ids(tmp_path, "a.npy", *range(8))
    write_ids(tmp_path, "b.npy", *range(10, 18))
    write_ids(tmp_path, "plain.npy", *range(20, 24))
    for name in "ab":
        write_ids(tmp_path, f"{name}_mask.npy", *([0, 0, 1, 1, 0, 1, 0, 1] if name == "a" else [1] * 8), dtype="bool")
    masks = [str(tmp_path / "a_mask.npy"), str(tmp_path / "b_mask.npy")]
    tuned = taken(tmp_path, "tuned", config(tmp_path, "a.npy", "b.npy", label_mask_paths=masks, in_place=in_place), 0)
    plain = taken(tmp_path, "plain", config(tmp_path, "plain.npy"), 0)
    held = {"tuned/00000": tuned, "plain/00000": plain}
    folder, _ = mix_of(tmp_path, held, {"tuned": 4, "plain": 1}, 20, 4)
    folders = {role: made.path for role, made in held.items()}
    loader = Loader(folder, folders, seed=1, batch_size=5, sequence_length=4, vocab_size=100)
    batch = loader.batch(0)
    assert loader.masked and batch.targets is not None
    found = {
        int(row[0]): targets.astype(int).tolist() for row, targets in zip(batch.tokens, batch.targets, strict=True)
    }
    every = [1, 1, 1, 1]
    assert found == {0: [0, 0, 1, 1], 4: [0, 1, 0, 1], 10: every, 14: every, 20: every}


def test_sidecars_define_document_ends(tmp_path: Path) -> None:
    """One document ends without EOS, one contains an EOS."""
    write_ids(tmp_path, "a.npy", 1, 2, 3, 4, EOS, 6, EOS, 8)
    sidecar(
        tmp_path / "a.csv.gz", "0,3,id-1,there.jsonl.gz,1", '3,7,"id,2",there.jsonl.gz,2', "7,8,id-3,there.jsonl.gz,3"
    )
    made = taken(tmp_path, "cut", config(tmp_path, "a.npy", sidecars=True), 0)
    assert read_token_files(made.path)[0].documents == 3
    folder, _ = mix_of(tmp_path, {"cut/00000": made}, {"cut": 1}, 8, 4)

    def ends(eos_id: int | None) -> list[list[int]] | None:
        options = {"seed": 1, "batch_size": 2, "sequence_length": 4, "vocab_size": 100, "eos_id": eos_id}
        batch = Loader(folder, {"cut/00000": made.path}, **options).batch(0)
        return None if batch.ends is None else batch.ends[batch.tokens[:, 0].argsort()].astype(int).tolist()

    assert ends(None) is None
    assert ends(EOS) == [[0, 0, 1, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["0,3", "3,7"],
            r"a\.csv\.gz ends at token 7, the token file has 8 tokens; the two",
        ),
        ([], "ends at token 0, the token file has 8"),
        (["0,3", "4,8"], r"a\.csv\.gz, row 2: a document from token 4 to 8, the previous one ends at 3"),
        (["start,end", "0,8"], r"a\.csv\.gz, row 1: 'start,end' is not `start,end,...`"),
    ],
)
def test_sidecar_of_another_file_is_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    write_ids(tmp_path, "a.npy", *range(8))
    sidecar(tmp_path / "a.csv.gz", *rows)
    with pytest.raises(TokenFilesError, match=message):
        taken(tmp_path, "a", config(tmp_path, "a.npy", sidecars=True), 0)


@pytest.mark.parametrize("in_place", [False, True])
def test_malformed_label_mask_is_refused(tmp_path: Path, in_place: bool) -> None:
    write_ids(tmp_path, "a.npy", *range(8))
    masked = config(tmp_path, "a.npy", label_mask_paths=[str(tmp_path / "m.npy")], in_place=in_place)
    write_ids(tmp_path, "m.npy", *[1] * 7, dtype="bool")
    with pytest.raises(
        TokenFilesError, match=r"m\.npy has 7 bytes, its token file 8 tokens; a label mask has one byte"
    ):
        taken(tmp_path, "short", masked, 0)
    write_ids(tmp_path, "m.npy", *[1] * 7, 7, dtype="uint8")
    with pytest.raises(ValueError, match=r"m\.npy has the byte 7; a label mask has 0 or 1 for each token"):
        made = taken(tmp_path, "bytes", masked, 0)
        folder, _ = mix_of(tmp_path, {"bytes/00000": made}, {"bytes": 1}, 8, 4)
        Loader(folder, {"bytes/00000": made.path}, seed=1, batch_size=2, sequence_length=4, vocab_size=100).batch(0)
