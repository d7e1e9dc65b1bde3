"""A machine is measured once for each shape of model, and again for another torch."""

from pathlib import Path
from typing import Any

import pytest

from infra import machine
from infra.machine import FILE, known_machine, measured_machine
from olmo_core.recipe.machine import REFERENCE_SECONDS
from olmo_core.recipe.recipe import Recipe, load_recipe


class Rates:
    """Replaces the process that measures, and records its calls."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, products: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(products)
        rates = {name: 1e9 * (number + 1) for number, name in enumerate(products["precisions"])}
        return {"rates": rates, "plain_seconds": 2 * REFERENCE_SECONDS}


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Rates:
    found = Rates()
    monkeypatch.setattr(machine, "_measure", found)
    return found


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("micro")


def test_machine_is_measured_once(rates: Rates, recipe: Recipe, tmp_path: Path) -> None:
    assert known_machine(recipe, tmp_path) is None
    first = measured_machine(recipe, tmp_path)
    assert first is not None and (first.rates, first.pace) == ({"bf16": 1e9, "fp32": 2e9}, 2.0)
    assert measured_machine(recipe, tmp_path) == known_machine(recipe, tmp_path) == first
    assert len(rates.calls) == 1
    assert (rates.calls[0]["rows"], rates.calls[0]["model"]["d_model"]) == (8 * 64, 64)


def test_other_shape_and_other_torch_are_measured_too(
    rates: Rates, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_machine(recipe, tmp_path)
    measured_machine(load_recipe("micro", ["--model.d_model=128"]), tmp_path)
    monkeypatch.setattr(machine, "version", lambda _: "9.9")
    measured_machine(recipe, tmp_path)
    assert len(rates.calls) == 3
    monkeypatch.undo()
    assert known_machine(recipe, tmp_path) is not None


def test_damaged_file_is_measured_again(rates: Rates, recipe: Recipe, tmp_path: Path) -> None:
    for text in ("{", "[]", '{"x": 1}'):
        (tmp_path / FILE).write_text(text)
        assert measured_machine(recipe, tmp_path) is not None
        assert known_machine(recipe, tmp_path) is not None
    assert len(rates.calls) == 3


def test_measurement_works_without_a_writable_home(rates: Rates, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home, measured in ((tmp_path / "new", 1), (tmp_path / "file" / "home", 1 + 2)):
        for _ in range(2):
            assert measured_machine(recipe, home) is not None
        assert len(rates.calls) == measured


def test_unmeasurable_machine_is_unknown(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.sys, "executable", "/bin/false")
    assert measured_machine(recipe, tmp_path) is None
    assert list(tmp_path.iterdir()) == []
