"""Energy readings: counters divided by CPU time, the estimate without them, and the record that holds them."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from tiny_release import Release

from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.recipe.carbon import kilograms_per_kwh
from olmo_core.recipe.compute import Compute
from tasks.workers import energy
from tasks.workers.energy import Meter, Packages

KWH = 3.6e6  # joules


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, float]:
    """Return CPU seconds of the step and of the machine, which has four cores and no counters."""
    seconds = {"own": 100.0, "busy": 1000.0}
    monkeypatch.setattr(energy, "own_seconds", lambda: seconds["own"])
    monkeypatch.setattr(energy, "busy_seconds", lambda: seconds["busy"])
    monkeypatch.setattr(energy.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    return seconds


def package(root: Path, name: str, microjoules: int, largest: int = 262_143_328_850) -> Path:
    folder = root / name
    folder.mkdir(exist_ok=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{largest}\n")
    return folder


def test_energy_is_estimated_from_cpu_time_without_counters(times: dict[str, float]) -> None:
    with Meter(watts=60)() as reading:
        times["own"] += 30
        times["busy"] += 90
    assert reading == {"cpu_estimated_kwh": pytest.approx(30 * 60 / 4 / KWH), "kwh": pytest.approx(450 / KWH)}


def test_counters_are_divided_by_cpu_time(times: dict[str, float], tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 5_000_000)
    package(tmp_path, "intel-rapl:1", 7_000_000)
    package(tmp_path, "intel-rapl:0:0", 1_000_000)  # a part of package 0, which must not count twice
    with Meter(watts=60)() as reading:
        package(tmp_path, "intel-rapl:0", 905_000_000)
        package(tmp_path, "intel-rapl:1", 307_000_000)
        package(tmp_path, "intel-rapl:0:0", 500_000_000)
        times["own"] += 30
        times["busy"] += 90
    assert reading["cpu_measured_kwh"] == pytest.approx((900 + 300) / 3 / KWH)
    assert "cpu_estimated_kwh" not in reading


def test_counter_that_wraps_loses_nothing(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 900, largest=999)
    with Packages(tmp_path) as packages:
        for now in (100, 800, 50):
            package(tmp_path, "intel-rapl:0", now, largest=999)
            packages.read()
    assert packages.joules == pytest.approx((200 + 700 + 250) / 1e6)


def test_reading_is_multiplied_by_parallel_workers(times: dict[str, float]) -> None:
    with Meter(watts=60, country="DEU", processes=3)() as reading:
        times["own"] += 30
    assert reading["kwh"] == pytest.approx(3 * 450 / KWH)
    assert reading["co2e_kg"] == pytest.approx(reading["kwh"] * 0.38095)  # codecarbon's table, Germany 2023


def test_gpus_are_measured_when_used(times: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    joules = iter([1000.0, 4600.0])
    monkeypatch.setattr(energy, "gpu_joules", lambda: next(joules))
    with Meter(watts=60, gpus=True)() as reading:
        pass
    assert reading == {"cpu_estimated_kwh": 0, "gpu_measured_kwh": pytest.approx(0.001), "kwh": pytest.approx(0.001)}


def test_readings_are_recorded_outside_the_identity(tmp_path: Path) -> None:
    meter = pickle.loads(pickle.dumps(Meter(watts=60)))
    step = Release().corpus
    metered = make(step, Store(tmp_path / "a"), meter=meter).artifact.record
    assert metered.energy is not None and metered.energy["kwh"] >= 0
    assert Store(tmp_path / "a").peek(step) == metered
    assert make(step, Store(tmp_path / "b")).artifact.record.digest == metered.digest


def test_unknown_country_is_refused_with_near_names() -> None:
    assert kilograms_per_kwh("FRA") < kilograms_per_kwh("POL")
    with pytest.raises(ValidationError, match=r"'DEX'.*DEU"):
        Compute(name="laptop", country="DEX")


def test_ended_children_count_as_own_cpu_time() -> None:
    before = energy.own_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert energy.own_seconds() - before >= 0.01
