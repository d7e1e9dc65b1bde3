import hashlib
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from olmo_core.artifact import source
from olmo_core.artifact.job import Job, Work
from olmo_core.artifact.source import Source, code_state, environment, source_of

FILES = {
    "room/work.py": "import os\nfrom room import helper\nfrom room.deep.table import ROWS\ndef work(job):\n"
    "    from room.lazy import late\n",
    "room/helper.py": "from . import sibling\nfrom .deep import near\n",
    "room/sibling.py": "import json\n",
    "room/lazy.py": "late = 1\n",
    "room/deep/table.py": "from ..up import X\nROWS = X\n",
    "room/deep/near.py": "",
    "room/up.py": "X = 1\n",
    "room/unrelated.py": "",
    "room/typed.py": "",
    "room/runtime.py": "",
    "room/guarded.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import room.typed\nelse:\n"
    "    import room.runtime\n",
    "room/circle.py": "import room.circle\nimport room.guarded\n",
}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a small project, importable as `<unique name>`."""
    name = f"room_{tmp_path.name.replace('-', '_')}"
    for path, text in FILES.items():
        target = tmp_path / path.replace("room/", f"{name}/", 1)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("room", name))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return tmp_path / name


def work_in(room: Path, module: str) -> Work:
    """Return a function that says it is of a module of the project, which is not imported."""

    def work(job: Job) -> dict[str, Any]:
        return {}

    work.__module__ = f"{room.name}.{module}"
    return work


def names(found: Source, room: Path) -> set[str]:
    return {module.removeprefix(f"{room.name}.") for module in found.modules}


def test_the_closure_holds_what_may_run_and_nothing_else(room: Path) -> None:
    found = source_of(work_in(room, "work"))
    assert names(found, room) == {"work", "helper", "sibling", "lazy", "deep.table", "deep.near", "up"}
    for module, digest in found.modules.items():
        path = room.parent / (module.replace(".", "/") + ".py")
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not any(module.startswith(room.name) for module in sys.modules), "nothing is imported"


def test_imports_for_type_checkers_do_not_count_and_circles_end(room: Path) -> None:
    assert names(source_of(work_in(room, "circle")), room) == {"circle", "guarded", "runtime"}


@pytest.mark.parametrize("module", ["work", "lazy", "deep/table", "up"])
def test_an_edited_module_changes_the_digest_and_is_named(room: Path, module: str) -> None:
    before = source_of(work_in(room, "work"))
    path = room / f"{module}.py"
    path.write_text(path.read_text() + "\n# edited\n")
    after = source_of(work_in(room, "work"))
    assert after.digest != before.digest
    assert before.changed(after) == [f"{room.name}.{module.replace('/', '.')}"]


def test_an_unrelated_module_changes_nothing_and_a_new_import_is_named(room: Path) -> None:
    before = source_of(work_in(room, "work"))
    (room / "unrelated.py").write_text("x = 1\n")
    assert source_of(work_in(room, "work")) == before
    (room / "up.py").write_text(f"import {room.name}.unrelated\nX = 1\n")
    after = source_of(work_in(room, "work"))
    assert before.changed(after) == [f"{room.name}.unrelated", f"{room.name}.up"]


def test_the_project_itself_can_be_walked() -> None:
    modules = source_of(work_in(Path("olmo_core"), "artifact.make")).modules
    assert {"olmo_core.artifact.identity", "olmo_core.artifact.lease", "olmo_core.artifact.store"} <= modules.keys()
    assert all(module.startswith("olmo_core.") for module in modules)


def test_the_commit_is_the_one_git_says() -> None:
    project = Path(source.__file__).parents[2]
    said = subprocess.run(["git", "-C", str(project), "rev-parse", "HEAD"], capture_output=True, text=True)
    code_state.cache_clear()
    if said.returncode == 0:
        assert code_state().commit == said.stdout.strip() and code_state().dirty in (True, False)
    else:
        assert code_state() == source.Code(commit=None, dirty=None)


def test_dirty_means_that_a_tracked_file_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    module = tmp_path / "source.py"
    module.write_text("x = 1\n")
    monkeypatch.setattr(source, "__file__", str(module))
    states = []
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "somebody else's")
    for act in (lambda: None, lambda: (git("add", "."), git("commit", "-qm", "x")), lambda: module.write_text("")):
        act()
        code_state.cache_clear()
        states.append(code_state())
    code_state.cache_clear()
    assert states[0].commit is None, "untracked: installed into a folder of somebody else's checkout"
    assert len(states[1].commit or "") == 40 and states[1].dirty is False
    assert states[2].commit == states[1].commit and states[2].dirty is True


def test_the_environment_is_what_the_packages_say_without_importing_them() -> None:
    import numpy
    import torch

    found = environment()
    assert found.packages["torch"] == torch.__version__ and found.packages["numpy"] == numpy.__version__
    assert found.cpu == torch.backends.cpu.get_cpu_capability()
    check = (
        "import sys; from olmo_core.artifact.source import environment; print(environment().digest);"
        "assert not {'torch', 'transformers', 'prefect', 'ray', 'mlflow', 'datasets'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == found.digest


def test_another_version_is_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment()
    environment.cache_clear()
    monkeypatch.setattr(source, "version", lambda name: "0")
    after = environment()
    environment.cache_clear()
    assert after.digest != before.digest


def test_the_rooms_entrances_do_not_import_heavy_packages() -> None:
    check = (
        "import sys, olmo_core.artifact.make, olmo_core.artifact.why;"
        "print(*({'torch', 'numpy', 'transformers', 'prefect', 'ray', 'mlflow', 's3fs'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
