"""Compilers and cache folders that do not work are reported with a remedy."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch._inductor import config
from torch._inductor.codecache import CppPythonBindingsCodeCache
from torch._inductor.cpu_vec_isa import pick_vec_isa

from olmo_core.train.compiler import compiler_trouble


@pytest.fixture(autouse=True)
def fresh_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    pick_vec_isa()  # compiles once per process and caches the result, which must not come from the compilers below
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    compiler_trouble.cache_clear()
    yield
    compiler_trouble.cache_clear()


def stand_in(folder: Path, script: str) -> str:
    """Return a compiler that reports the version of g++, but runs this script to compile."""
    path = folder / "g++"
    path.write_text(f'#!/bin/sh\ncase "$1" in --version|-v) exec {shutil.which("g++")} "$1";; esac\n{script}\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'x.cpp:4:10: fatal error: Python.h: No such file or directory' >&2; exit 1", "fails: Python.h: No such"),
        ("echo 'x.cpp:4:10: fatal error: omp.h: No such file or directory' >&2; exit 1", "fails: omp.h: No such"),
        ("echo 'Illegal instruction' >&2; exit 4", "fails: Illegal instruction"),
        ('while [ "$1" != -o ]; do shift; done; echo no library > "$2"', "cannot hold compiled code ("),
    ],
    ids=["no Python headers", "no OpenMP", "broken compiler", "output cannot be loaded"],
)
def test_failing_compiler_is_reported_with_reason(script: str, reason: str, tmp_path: Path) -> None:
    with config.patch({"cpp.cxx": (None, stand_in(tmp_path, script)), "cpp_cache_precompile_headers": False}):
        assert reason in compiler_trouble()


@pytest.mark.parametrize("name", ["/bin/false", "no-such-compiler"])
def test_command_that_is_not_a_compiler_is_named(name: str) -> None:
    with config.patch({"cpp.cxx": (None, name)}):
        assert compiler_trouble().startswith(f"{name!r} is not a working C++ compiler; install g++")


def test_noexec_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise ImportError(f"{tmp_path}/c/x.main.so: failed to map segment from shared object")

    monkeypatch.setattr(CppPythonBindingsCodeCache, "load_pybinding", load)
    trouble = compiler_trouble()
    assert trouble.startswith(f"{tmp_path / 'cache'} cannot hold compiled code (") and "noexec" in trouble
    assert "set TORCHINDUCTOR_CACHE_DIR" in trouble


def test_uncreatable_folder_is_reported_without_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert "Not a directory" in compiler_trouble()
