"""Imports are left alone by the garbage collector, which goes on after them as it did before."""

import gc

import pytest

from olmo_core.artifact.imports import swift_imports


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_for_imports_only_however_they_end(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ImportError), swift_imports():
            assert not gc.isenabled()
            import no_such_module  # noqa: F401
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_what_was_imported_is_never_looked_at_again() -> None:
    before = gc.get_freeze_count()
    with swift_imports():
        kept = [[] for _ in range(1000)]
    assert gc.get_freeze_count() >= before + len(kept)
