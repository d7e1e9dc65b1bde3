import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from olmo_core.artifact.identity import Step
from olmo_core.evaluate.step import EvaluationConfig, heldout_result_step
from olmo_core.evaluate.table import HeldoutRow, write_table
from olmo_core.soup.decision import DecisionConfig, decision_step

Run = Callable[..., tuple[Path, dict[str, Any]]]
TOKENIZER = Step("tokenizer", "tokenizer", 1)
SOURCES = {name: Step("corpus", name, 1) for name in ("tasks", "wiki")}
SIZES = {"tasks": np.array([100, 300, 200, 150]), "wiki": np.array([1000, 4000, 2500])}
NOISE = {"tasks": np.array([0.02, -0.01, 0.0, 0.01]), "wiki": np.array([0.0, 0.03, -0.01])}


def candidate(name: str) -> Step:
    return Step("soup" if name.startswith("soup") else "checkpoint", name, 1, {"seed": name})


def result(name: str, **config: Any) -> Step:
    return heldout_result_step(EvaluationConfig(**config), candidate(name), TOKENIZER, SOURCES)


class Release:
    """Candidates with a rate in bits per byte by source; every document has noise of its own, shared by all."""

    def __init__(self, folder: Path, rates: dict[str, tuple[float, float]]) -> None:
        self.rates, self.folder = rates, folder
        for number, (name, values) in enumerate(rates.items()):
            rows: list[HeldoutRow] = []
            for source, rate in zip(("tasks", "wiki"), values, strict=True):
                # A candidate's edge grows a little from document to document: intervals get a width.
                edge = 1 + 0.001 * number * np.arange(len(SIZES[source]))
                bits = SIZES[source] * (rate * edge + NOISE[source])
                rows += [
                    HeldoutRow(source, f"d{n}", float(b), int(size), 9)
                    for n, (b, size) in enumerate(zip(bits, SIZES[source], strict=True))
                ]
            (folder / name).mkdir()
            write_table(folder / name / "documents.jsonl.gz", rows)

    def step(self, **config: Any) -> Step:
        return decision_step(
            DecisionConfig(resamples=500, **config),
            {name: candidate(name) for name in self.rates},
            {name: result(name) for name in self.rates},
        )

    def paths(self) -> dict[str, Path]:
        kinds = ("candidate", "result")
        return {f"{kind}/{name}": self.folder / name for name in self.rates for kind in kinds}


RATES = {"one": (2.10, 3.0), "two": (2.00, 3.2), "soup": (1.98, 3.05)}


def test_scores_and_comparisons_are_what_the_table_says(tmp_path: Path, run: Run) -> None:
    release = Release(tmp_path, RATES)
    out, decision = run(release.step(), release.paths())
    assert json.loads((out / "decision.json").read_text()) == decision

    def rate(name: str, source: str) -> float:
        number, column = list(RATES).index(name), ("tasks", "wiki").index(source)
        edge = 1 + 0.001 * number * np.arange(len(SIZES[source]))
        return float((SIZES[source] * (RATES[name][column] * edge + NOISE[source])).sum() / SIZES[source].sum())

    scores = {name: (rate(name, "tasks") + rate(name, "wiki")) / 2 for name in RATES}
    for name, entry in decision["candidates"].items():
        assert entry["bits_per_byte"] == pytest.approx(scores[name], rel=1e-6)
        assert entry["sources"] == pytest.approx({source: rate(name, source) for source in SOURCES}, rel=1e-6)
        assert (entry["kind"], entry["id"]) == (candidate(name).kind, candidate(name).id)
        assert entry["digest"] == name[::-1]
    mean, best = decision["comparisons"]["soup_against_mean"], decision["comparisons"]["soup_against_best"]
    assert mean["difference"] == pytest.approx(scores["soup"] - (scores["one"] + scores["two"]) / 2, abs=1e-6)
    assert best["ingredient"] == "one"
    assert best["difference"] == pytest.approx(scores["soup"] - scores["one"], abs=1e-6)
    for comparison in (mean, best):
        assert comparison["low"] < comparison["difference"] < comparison["high"]
        assert comparison["confidence"] == 0.95
    assert decision["main"] == "soup"


@pytest.mark.parametrize(
    ("soup", "rule", "main"),
    [
        ((1.90, 2.90), "best", "soup"),
        ((1.90, 2.90), "soup_over_mean", "soup"),
        ((2.06, 3.05), "best", "one"),  # Between the best (2.55) and the mean (2.575) of the ingredients.
        ((2.06, 3.05), "soup_over_mean", "soup"),
        ((2.50, 3.50), "best", "one"),
        ((2.50, 3.50), "soup_over_mean", "one"),
    ],
)
def test_the_rule_chooses(tmp_path: Path, run: Run, soup: tuple[float, float], rule: str, main: str) -> None:
    release = Release(tmp_path, {**RATES, "soup": soup})
    _, decision = run(release.step(rule=rule), release.paths())
    assert decision["main"] == main
    assert decision["reason"].startswith(f"{main} has ")


def test_bytes_weigh_sources_by_size_and_sources_can_be_left_out(tmp_path: Path, run: Run) -> None:
    release = Release(tmp_path, RATES)
    (_, every), (_, by_bytes), (_, tasks) = (
        run(release.step(**config), release.paths())
        for config in ({"average": "macro"}, {"average": "bytes"}, {"sources": ("tasks",)})
    )
    shares = {source: sizes.sum() / 8250 for source, sizes in SIZES.items()}
    entry = by_bytes["candidates"]["one"]
    assert entry["bits_per_byte"] == pytest.approx(sum(shares[s] * entry["sources"][s] for s in shares), rel=1e-6)
    assert entry["bits_per_byte"] != pytest.approx(every["candidates"]["one"]["bits_per_byte"], rel=1e-3)
    assert tasks["candidates"]["one"]["bits_per_byte"] == tasks["candidates"]["one"]["sources"]["tasks"]
    assert tasks["comparisons"]["soup_against_best"]["ingredient"] == "two"
    assert tasks["sources"] == ["tasks"]


def test_the_reason_says_it_with_numbers(tmp_path: Path, run: Run) -> None:
    release = Release(tmp_path, {"one": (2.0, 3.0), "two": (2.1, 3.1), "soup": (1.9, 3.0)})
    _, decision = run(release.step(sources=("tasks",)), release.paths())
    comparison = decision["comparisons"]["soup_against_mean"]
    assert decision["reason"] == (
        f"soup has {decision['candidates']['soup']['bits_per_byte']:.4f} bits per byte on tasks: the soup is "
        f"{-comparison['difference']:.4f} below the mean of the ingredients (95% interval {comparison['low']:+.4f} to "
        f"{comparison['high']:+.4f}) and {-decision['comparisons']['soup_against_best']['difference']:.4f} below one, "
        f"the best ingredient (95% interval {decision['comparisons']['soup_against_best']['low']:+.4f} to "
        f"{decision['comparisons']['soup_against_best']['high']:+.4f})."
    )


def test_without_a_soup_the_best_candidate_is_main(tmp_path: Path, run: Run) -> None:
    release = Release(tmp_path, {"one": (2.1, 3.0), "two": (2.0, 3.0)})
    _, decision = run(release.step(rule="soup_over_mean"), release.paths())
    assert (decision["main"], decision["comparisons"]) == ("two", {})
    assert decision["reason"].endswith("the lowest of 2 candidates.")


def test_an_only_candidate_is_main(tmp_path: Path, run: Run) -> None:
    release = Release(tmp_path, {"one": (2.1, 3.0)})
    _, decision = run(release.step(), release.paths())
    assert decision["main"] == "one"
    assert decision["reason"].endswith("is the only candidate.")


def test_equal_steps_give_equal_bytes_and_the_seed_moves_the_interval(tmp_path: Path, run: Run) -> None:
    release = Release(tmp_path, RATES)
    files = [(run(release.step(seed=seed), release.paths())[0] / "decision.json").read_bytes() for seed in (0, 0, 1)]
    assert files[0] == files[1] != files[2]


def test_results_of_different_documents_are_refused(tmp_path: Path, run: Run) -> None:
    release = Release(tmp_path, RATES)
    rows = [HeldoutRow(source, "other", 10.0, 100, 9) for source in ("tasks", "wiki")]
    write_table(tmp_path / "soup" / "documents.jsonl.gz", rows)
    with pytest.raises(ValueError, match="soup and one were scored on different documents of tasks"):
        run(release.step(), release.paths())


def test_candidates_and_results_must_belong_together() -> None:
    one, two = candidate("one"), candidate("two")
    config = DecisionConfig()
    with pytest.raises(ValueError, match="need one result each"):
        decision_step(config, {"one": one, "two": two}, {"one": result("one")})
    with pytest.raises(ValueError, match="the result of one is of checkpoint/two"):
        decision_step(config, {"one": one}, {"one": result("two")})
    with pytest.raises(ValueError, match="two and one were evaluated in different ways"):
        decision_step(config, {"one": one, "two": two}, {"one": result("one"), "two": result("two", document_bytes=9)})
    other = heldout_result_step(EvaluationConfig(), two, Step("tokenizer", "tokenizer", 2), SOURCES)
    with pytest.raises(ValueError, match="two and one were evaluated in different ways"):
        decision_step(config, {"one": one, "two": two}, {"one": result("one"), "two": other})
    with pytest.raises(ValueError, match="soup1, soup2 are all soups"):
        soups = ("soup1", "soup2")
        decision_step(config, {s: candidate(s) for s in soups}, {s: result(s) for s in soups})
    with pytest.raises(ValueError, match=r"\['news'\]; the results score \['tasks', 'wiki'\]"):
        decision_step(DecisionConfig(sources=("tasks", "news")), {"one": one}, {"one": result("one")})
