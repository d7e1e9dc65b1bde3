import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_samples import TOKENIZER, mix_of, token_artifact

from olmo_core.artifact.identity import Step
from olmo_core.tokens.mix import Mix, MixConfig, MixError, MixFile, MixSource, _apportion, _check_epochs, mix_step


def located(folder: Path) -> list[tuple[str, int]]:
    """Return input and row of every instance of the mix, in order."""
    mix = Mix(folder)
    files, rows = mix.locate(np.arange(len(mix)))
    return [(mix.files[file].input, int(row)) for file, row in zip(files, rows, strict=True)]


@given(st.dictionaries(st.text(min_size=1), st.floats(1e-3, 1e3), min_size=1, max_size=8), st.integers(0, 10_000))
def test_shares_are_integers_and_sum_to_total(weights: dict[str, float], total: int) -> None:
    given_ = _apportion(total, weights)
    assert sum(given_.values()) == total
    for name, weight in weights.items():
        assert abs(given_[name] - total * weight / sum(weights.values())) < 1 + 1e-6


def test_report_has_requested_and_given_shares(tmp_path: Path) -> None:
    held = {
        "wiki/0": token_artifact(tmp_path, "wiki/0", 105),
        "wiki/1": token_artifact(tmp_path, "wiki/1", 58, first=1000),
        "books/0": token_artifact(tmp_path, "books/0", 200, first=2000),
    }
    folder, report = mix_of(tmp_path, held, {"wiki": 3, "books": 1}, 199, 10)
    assert report == json.loads((folder / "report.json").read_text())
    assert (report["instances"], report["tokens"]) == (20, 200)
    books, wiki = report["sources"]
    assert wiki == {
        "corpus": "wiki",
        "share_asked": 0.75,
        "share_given": 0.75,
        "tokens": 150,
        "epochs": 1.0,
        "tokens_available": 163,
        "tokens_left_at_file_ends": 13,
        "documents": 15,
    }
    assert (books["tokens"], books["epochs"], books["tokens_left_at_file_ends"]) == (50, 0.25, 0)


def test_instances_repeat_only_after_a_full_pass(tmp_path: Path) -> None:
    held = {f"wiki/{i}": token_artifact(tmp_path, f"wiki/{i}", 30 + i) for i in range(3)}
    folder, report = mix_of(tmp_path, held, {"wiki": 1}, 230, 10, max_epochs=3)
    assert report["sources"][0]["epochs"] == pytest.approx(23 / 9)
    times = Counter(located(folder))
    assert set(times) == {(f"wiki/{i}", row) for i in range(3) for row in range(3)}
    assert sorted(times.values()) == [2] * 4 + [3] * 5


def test_seed_selects_instances(tmp_path: Path) -> None:
    held = {"wiki/0": token_artifact(tmp_path, "wiki/0", 5000), "books/0": token_artifact(tmp_path, "books/0", 5000)}
    chosen = [located(mix_of(tmp_path, held, {"wiki": 1, "books": 1}, 200, 10, seed=seed)[0]) for seed in (0, 1)]
    assert set(chosen[0]) != set(chosen[1])
    rows = {corpus: [row for name, row in chosen[0] if name == corpus] for corpus in held}
    assert [len(set(rows[corpus])) for corpus in held] == [10, 10]
    assert rows["wiki/0"] != rows["books/0"]  # each corpus has its own order
    again, _ = mix_of(tmp_path / "again", held, {"wiki": 1, "books": 1}, 200, 10)
    assert located(again) == chosen[0]


def test_manifest_size_is_independent_of_data(tmp_path: Path) -> None:
    sizes = []
    for tokens in (1000, 50_000):
        held = {"wiki/0": token_artifact(tmp_path / str(tokens), "wiki/0", tokens)}
        folder, _ = mix_of(tmp_path, held, {"wiki": 1}, tokens, 10)
        sizes.append((folder / "mix.json").stat().st_size)
    assert sizes[1] - sizes[0] < 10


def test_too_small_corpus_error_names_remedies(tmp_path: Path) -> None:
    held = {"wiki/0": token_artifact(tmp_path, "wiki/0", 109), "books/0": token_artifact(tmp_path, "books/0", 9000)}
    weights = {"wiki": 1.0, "books": 1.0}
    with pytest.raises(MixError) as caught:
        mix_of(tmp_path, held, weights, 1000, 10, max_epochs=2)
    assert str(caught.value) == (
        "mix m: corpus wiki has 100 tokens in whole instances of 10 and would supply 500, more than the 2 epochs "
        "that max_epochs allows; what would fit: 400 tokens in whole batches, or max_epochs of 5, or a weight below 1"
    )
    # Each named remedy works.
    for tokens, epochs in ((400, 2), (1000, 5)):
        mix_of(tmp_path, held, weights, tokens, 10, max_epochs=epochs)
    with pytest.raises(MixError, match="more than the 1 epochs"):
        mix_of(tmp_path, held, weights, 300, 10, max_epochs={"books": 4})
    mix_of(tmp_path, held, weights, 300, 10, max_epochs={"wiki": 1.5})


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(30, 300), st.floats(0.1, 9)), min_size=1, max_size=3),
    st.floats(1, 5) | st.sampled_from([1.15, 1.1, 2.3]),
)
def test_suggested_remedies_work(corpora: list[tuple[int, float]], allowed: float) -> None:
    """1.15 times 100 instances are 115; with floats they were 114, and the suggested value was refused."""
    sources = [MixSource(str(i), 0, [MixFile(f"{i}/0", "f", 0, held)]) for i, (held, _) in enumerate(corpora)]
    weights = {str(number): weight for number, (_, weight) in enumerate(corpora)}

    def check(instances: int, config: MixConfig) -> None:
        shares = _apportion(instances, weights)
        _check_epochs("m", [msgspec.structs.replace(s, instances=shares[s.corpus]) for s in sources], config, 10)

    with pytest.raises(MixError) as caught:
        check(5000, MixConfig(weights=weights, max_epochs=allowed))
    match = re.search(r"fit: ([0-9,]+) tokens in whole batches, or max_epochs of ([0-9.]+), or", str(caught.value))
    assert match is not None
    check(int(match[1].replace(",", "")) // 10, MixConfig(weights=weights, max_epochs=allowed))
    check(5000, MixConfig(weights=weights, max_epochs=float(match[2])))


def test_corpus_shorter_than_an_instance_is_refused(tmp_path: Path) -> None:
    held = {"wiki/0": token_artifact(tmp_path, "wiki/0", 9), "books/0": token_artifact(tmp_path, "books/0", 900)}
    with pytest.raises(MixError, match="corpus wiki has 0 tokens in whole instances of 10; leave it out"):
        mix_of(tmp_path, held, {"wiki": 1, "books": 1}, 100, 10)


def test_token_files_of_two_formats_are_refused(tmp_path: Path) -> None:
    held = {
        "wiki/0": token_artifact(tmp_path, "wiki/0", 100),
        "books/0": token_artifact(tmp_path, "books/0", 100, dtype="uint32", vocab_size=100_278),
    }
    with pytest.raises(MixError, match="books/0: uint32, vocabulary 100278, wiki/0: uint16, vocabulary 60000"):
        mix_of(tmp_path, held, {"wiki": 1, "books": 1}, 100, 10)


def step_of(corpus: str, tokenizer: Step = TOKENIZER) -> Step:
    return Step("tokens", f"{corpus}-0", 1, {"shard": 0}, {"tokenizer": tokenizer})


def test_mix_step_refuses_invalid_config() -> None:
    inputs = {"wiki/0": step_of("wiki"), "books/0": step_of("books")}

    def plan(weights: dict[str, float], inputs: dict[str, Step] = inputs, **more: object) -> Step:
        return mix_step("m", MixConfig.model_validate({"weights": weights} | more), 100, 10, 0, inputs)

    assert plan({"wiki": 1, "books": 2}).fields["weights"] == {"wiki": 1, "books": 2}
    with pytest.raises(MixError, match=r"weights name \['wiki'\], the token files come from \['books', 'wiki'\]"):
        plan({"wiki": 1})
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(MixError, match=r"weights\.wiki is"):
            plan({"wiki": weight, "books": 1})
    with pytest.raises(MixError, match=r"max_epochs names \['web'\]"):
        plan({"wiki": 1, "books": 1}, max_epochs={"web": 2})
    other = replace(TOKENIZER, version=2)
    with pytest.raises(MixError, match="different tokenizers"):
        plan({"wiki": 1, "books": 1}, {"wiki/0": step_of("wiki"), "books/0": step_of("books", other)})


def test_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "mix.json").write_text('{"sequence_length": 10}')
    with pytest.raises(MixError, match=r"mix\.json is not a mix"):
        Mix(tmp_path)
