"""The garbage collector is off during imports and works as before after them."""

import gc
import weakref
from pathlib import Path

import pytest

from olmo_core.artifact.imports import swift_imports


class Circle:
    """A cycle that only the collector can free."""

    itself: "Circle"


@pytest.mark.parametrize("enabled", [True, False])
def test_collector_is_restored_after_failed_import(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ImportError), swift_imports():
            assert not gc.isenabled()
            import no_such_module  # noqa: F401
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_garbage_of_earlier_step_is_collected() -> None:
    """A worker enters for every step; garbage frozen then would never be freed."""
    circle = Circle()
    circle.itself, gone = circle, weakref.ref(circle)
    with swift_imports():
        del circle
    gc.collect()
    assert gone() is None


def test_imported_objects_are_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "never_imported_before.py").write_text("kept = [[] for _ in range(1000)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = gc.get_freeze_count()
    with swift_imports():
        import never_imported_before
    assert gc.get_freeze_count() >= before + len(never_imported_before.kept)


def test_garbage_before_import_is_not_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_after_garbage.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    circle = Circle()
    circle.itself, gone = circle, weakref.ref(circle)
    del circle
    with swift_imports():
        import imported_after_garbage  # noqa: F401
    gc.collect()
    assert gone() is None
