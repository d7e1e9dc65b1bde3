"""What a rank of a Ray Train job does, and the counters of the GPUs that it may use; no Ray, no GPU."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Placement
from olmo_core.recipe.compute import Compute
from olmo_core.train.distributed import launch
from olmo_core.train.preemption import PreemptedError
from tasks.workers import energy
from tasks.workers.energy import Meter, Packages, _gpus, gpu_joules
from tasks.workers.training import _worker

STEP = Step("run", "r", 1)


class Pins:
    """A board that records the calls it gets."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: self.calls.append((name, arguments)) or name)


def answer(call: str) -> None:
    """Ray's `get`: the release never ends, and the thread that waits for it is not kept."""
    if call == "ended":
        raise ConnectionError("the board is gone")


class World:
    """A Ray Train context of some rank."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rank, self.board, self.made = 0, Pins(), list[dict[str, Any]]()
        self.failure: Exception | None = None
        context = SimpleNamespace(get_world_rank=lambda: self.rank)
        train = SimpleNamespace(get_context=lambda: context)
        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(train=train, get=answer))
        monkeypatch.setitem(sys.modules, "ray.train", train)
        monkeypatch.setattr(launch, "make_run", self._make_run)

    def _make_run(self, step: Step, store: object, placement: Placement, **options: Any) -> None:
        self.made.append(options)
        if options:
            options["metrics"](3, {"loss": 1.0})
        if self.failure is not None:
            raise self.failure

    def work(self) -> None:
        _worker({"step": STEP, "store": None, "placement": Placement(), "board": self.board, "meter": "the meter"})

    @property
    def saved(self) -> list[str]:
        return [arguments[0] for name, arguments in self.board.calls if name == "save"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_rank_0_alone_reports_meters_and_listens(world: World) -> None:
    world.work()
    (options,) = world.made
    assert options.keys() == {"progress", "metrics", "meter"} and options["meter"] == "the meter"
    assert ("metrics", (STEP.id, [(3, {"loss": 1.0})])) in world.board.calls
    assert ("progress", ("run/r", None)) in world.board.calls
    assert "ended" in {name for name, _ in world.board.calls}, "it waits for the end of the release"
    world.rank, world.board = 1, Pins()
    world.work()
    assert world.made[1] == {}
    assert world.board.calls == []


def test_stopped_run_reports_its_checkpoint_and_fails(world: World) -> None:
    world.failure = PreemptedError("run/r is saved at step 3", 15)
    with pytest.raises(PreemptedError):
        world.work()
    assert world.saved == ["run/r is saved at step 3"]
    assert world.board.calls[-2:] == [("progress", ("run/r", None)), ("flush", ())]


def test_run_that_failed_saved_nothing_but_its_metrics(world: World) -> None:
    world.failure = ValueError("diverged")
    with pytest.raises(ValueError, match="diverged"):
        world.work()
    assert world.saved == []
    assert ("metrics", (STEP.id, [(3, {"loss": 1.0})])) in world.board.calls


class Nvml:
    """Four GPUs, of which GPU `n` has used `1000 * (n + 1)` joules, with the functions of pynvml."""

    class NVMLError(Exception): ...

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def nvmlInit(self) -> None:  # noqa: N802 (NVML's name)
        if self.failure is not None:
            raise self.failure

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 4

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        return {"GPU-aaa": 2, "MIG-bbb": 3}[uuid]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        return 1_000_000 * (handle + 1)  # millijoules


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    found = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", found)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        (None, [0, 1, 2, 3]),
        ("1", [1]),
        ("3,0", [3, 0]),
        (" 0 , 2 ", [0, 2]),
        ("GPU-aaa", [2]),
        ("0,MIG-bbb", [0, 3]),
        ("", []),
    ],
)
def test_only_visible_gpus_are_counted(
    visible: str | None, gpus: list[int], nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert list(_gpus(nvml)) == gpus
    assert gpu_joules() == sum(1000 * (gpu + 1) for gpu in gpus)


def test_gpus_without_a_driver_or_counter_have_no_reading(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.failure = Nvml.NVMLError("driver not loaded")
    assert gpu_joules() is None
    with Meter(watts=60, gpus=True)() as reading:
        pass
    assert "gpu_measured_kwh" not in reading


def test_counter_that_fails_during_the_work_gives_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    readings: Iterator[float | None] = iter([1000.0, None])
    monkeypatch.setattr(energy, "gpu_joules", lambda: next(readings))
    with Meter(watts=60, gpus=True)() as reading:
        pass
    assert "gpu_measured_kwh" not in reading


@pytest.mark.parametrize(("device", "gpus"), [("cpu", False), ("cuda", True)])
def test_meter_follows_machine_and_placement(device: str, gpus: bool) -> None:
    compute = Compute.model_validate({"name": "test", "country": "FRA"})
    meter = Meter.of(compute, Placement.model_validate({"device": device}), processes=4)
    assert meter == Meter(compute.speed.watts, "FRA", gpus, 4)


def package(root: Path, readable: bool) -> None:
    folder = root / "intel-rapl:0"
    folder.mkdir()
    (folder / "max_energy_range_uj").write_text("1000\n")
    if readable:
        (folder / "energy_uj").write_text("7\n")


@pytest.mark.parametrize("made", [False, True])
def test_counters_that_are_missing_or_unreadable_count_nothing(made: bool, tmp_path: Path) -> None:
    if made:
        package(tmp_path, readable=False)  # the kernel lets root alone read it
    with Packages(tmp_path) as packages:
        packages.read()
    assert packages.joules is None


def test_counters_that_stand_still_are_zero_and_not_missing(tmp_path: Path) -> None:
    package(tmp_path, readable=True)
    with Packages(tmp_path) as packages:
        pass
    assert packages.joules == 0


def test_energy_of_work_that_failed_is_not_divided_by_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Clocks that did not move: no share of the machine can be computed from them."""
    package(tmp_path, readable=True)
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    monkeypatch.setattr(energy, "own_seconds", lambda: 1.0)
    monkeypatch.setattr(energy, "busy_seconds", lambda: 1.0)
    with Meter(watts=60)() as reading:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("507\n")
    assert reading == {"cpu_measured_kwh": 0.0, "kwh": 0.0}
