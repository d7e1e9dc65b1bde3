from pathlib import Path
from types import SimpleNamespace

import pytest

from olmo_core.train import memory
from olmo_core.train.memory import free_memory

GB = 10**9


def group(folder: Path, version: int, limit: str, used: int, cached: int) -> None:
    names = memory._V2 if version == 2 else memory._V1
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in ((names[0], limit), (names[1], used), ("memory.stat", f"anon 5\n{names[2]} {cached}")):
        (folder / name).write_text(f"{value}\n")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("inner", "outer", "free"),
    [
        (str(2 * GB), "max", 2 * GB - 500_000_000),
        ("max", str(3 * GB), 3 * GB - 500_000_000),
        (str(3 * GB), str(2 * GB), 2 * GB - 500_000_000),
        ("9223372036854771712", "9223372036854771712", 8 * GB),
        (None, str(2 * GB), 2 * GB - 500_000_000),  # inside a container that sees its own group as the root
        (None, None, 8 * GB),
        (str(400_000_000), "max", 1),
    ],
)
def test_free_memory_respects_control_group_limits(
    version: int, inner: str | None, outer: str | None, free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "groups" / ("memory" if version == 1 else ".")
    (tmp_path / "own").write_text(f"9:name=systemd:/\n4:{'cpu,memory' if version == 1 else ''}:/jobs/one\n")
    if outer is not None:
        group(root, version, outer, 800_000_000, 300_000_000)
    if inner is not None:
        group(root / "jobs" / "one", version, inner, 800_000_000, 300_000_000)
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "OWN", tmp_path / "own")
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * GB))
    assert free_memory() == free
