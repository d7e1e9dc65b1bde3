"""What a record says of the machine, read from files of the kernel that are written here."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from olmo_core.artifact import source
from olmo_core.artifact.source import Code, Source, _arithmetic, _cpu_capability, code_state, environment, source_of

AVX2 = "fpu sse4_2 avx avx2 fma"
AVX512 = f"{AVX2} avx512f avx512dq avx512bw avx512vl"
GPU = "Model: \t\t {name}\nIRQ:   \t\t 12\n"


class Machine:
    """Files of the kernel by name, below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, *parts: str) -> Path:
        path = Path(*parts)
        return self._root / path.relative_to("/") if path.is_absolute() and path.parts[1] == "proc" else path

    def processor(self, flags: str) -> None:
        (self._root / "proc").mkdir(exist_ok=True)
        (self._root / "proc" / "cpuinfo").write_text(f"processor: 0\nflags\t\t: {flags}\nbugs\t\t: avx512_none\n")

    def gpu(self, address: str, name: str) -> None:
        folder = self._root / "proc" / "driver" / "nvidia" / "gpus" / address
        folder.mkdir(parents=True)
        (folder / "information").write_text(GPU.format(name=name))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)
    monkeypatch.setattr(source, "Path", found)
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.mark.parametrize(
    ("flags", "capability", "arithmetic"),
    [
        (AVX512, "AVX512", "CPU AVX512, own bf16"),
        (AVX512.replace(" avx512vl", ""), "AVX2", "CPU AVX2, bf16 in fp32"),
        (AVX512.replace(" fma", ""), "DEFAULT", "CPU DEFAULT, own bf16"),
        (AVX2, "AVX2", "CPU AVX2, bf16 in fp32"),
        (AVX2.replace(" fma", ""), "DEFAULT", "CPU DEFAULT, bf16 in fp32"),
        ("", "DEFAULT", "CPU DEFAULT, bf16 in fp32"),
    ],
)
def test_arithmetic_follows_from_the_flags_of_the_processor(
    flags: str, capability: str, arithmetic: str, machine: Machine
) -> None:
    machine.processor(flags)
    assert (_cpu_capability(), _arithmetic()) == (capability, arithmetic)


def test_machine_without_cpuinfo_has_the_plainest_arithmetic(machine: Machine) -> None:
    assert (_cpu_capability(), _arithmetic()) == ("DEFAULT", "CPU DEFAULT, bf16 in fp32")


@pytest.mark.parametrize(
    ("isa", "own"), [("AVX2", False), ("avx2_vnni", False), ("SSE41", False), ("AVX512_CORE", True), ("", True)]
)
def test_lowered_onednn_multiplies_bf16_in_fp32(
    isa: str, own: bool, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.processor(AVX512)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
    assert ("own bf16" in _arithmetic()) is own


def test_lowered_torch_is_named_as_torch_names_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.processor(AVX512)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert _arithmetic() == "CPU AVX2, own bf16"


def test_each_model_of_gpu_is_named_once(machine: Machine) -> None:
    machine.processor(AVX2)
    for number, name in enumerate(("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB", "NVIDIA H100 80GB HBM3")):
        machine.gpu(f"0000:{number:02d}:00.0", name)
    assert _arithmetic() == "CPU AVX2, bf16 in fp32, NVIDIA A100-SXM4-40GB, NVIDIA H100 80GB HBM3"


def test_environments_differ_where_the_arithmetic_does(machine: Machine) -> None:
    digests = set()
    for flags in (AVX2, AVX512, AVX2):
        machine.processor(flags)
        environment.cache_clear()
        digests.add(environment().digest)
    environment.cache_clear()
    assert len(digests) == 2


@pytest.fixture
def fresh() -> Any:
    code_state.cache_clear()
    yield
    code_state.cache_clear()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 300)])
def test_code_without_an_answer_of_git_has_no_commit(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", refuse)
    assert code_state() == Code(commit=None, dirty=None)


def test_changed_modules_are_those_added_removed_or_edited() -> None:
    was = Source(digest="1", modules={"a": "1", "b": "1", "c": "1"})
    now = Source(digest="2", modules={"d": "1", "b": "2", "c": "1"})
    assert was.changed(now) == now.changed(was) == ["a", "b", "d"]
    assert was.changed(was) == []


def test_work_without_a_file_has_an_empty_closure(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(_: object) -> dict[str, Any]:
        return {}

    monkeypatch.setitem(sys.modules, "made_by_hand", ModuleType("made_by_hand"))
    work.__module__ = "made_by_hand"
    by_hand = source_of(work)
    work.__module__ = "no_such_package.module"
    assert by_hand.modules == source_of(work).modules == {}
    assert by_hand.digest == source_of(work).digest
