"""The house rules that a machine can hold: imports between the floors, and what no source file may contain."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = SETTINGS["tool"]["importlinter"]
SOURCES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] not in {"tests", "benchmarks", "docs"}
    and path.relative_to(ROOT).parts[0][0] != "."
)
MAX_LINES = 400
HEAVY = {"torch", "transformers", "prefect", "ray", "mlflow", "datasets", "pyarrow", "pandas", "s3fs"}
LIGHT = (
    "olmo_core.recipe.plan",
    "olmo_core.recipe.estimate",
    "olmo_core.report.tables",
    "flows.cli.app",
    "flows.cli.plan",
    "flows.cli.look",
)

# Distributions whose name is not the name they are imported by.
DISTRIBUTIONS = {"backports": "backports-zstd", "pynvml": "nvidia-ml-py", "yaml": "pyyaml"}

# Machine paths, and the hosts packages are fetched from: neither belongs in a file that others will run.
PRIVATE = re.compile(r"/(?:home|root|Users|work|mnt|opt)/\w|pythonhosted\.org|pypi\.org")


def read(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield every module a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def unsafe(tree: ast.Module) -> Iterator[str]:
    """Yield what could run code that came with data: pickles, unsafe YAML, remote code, eval."""
    for module in imported(tree):
        if module.split(".")[0] in {"pickle", "dill", "cloudpickle", "shelve", "marshal"}:
            yield f"imports {module}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in {"torch.load", "eval", "exec", "yaml.load", "yaml.full_load", "yaml.unsafe_load"}:
            yield f"line {node.lineno}: {name}"
        for option in {"allow_pickle", "trust_remote_code"} & options.keys():
            if options[option] != "False":
                yield f"line {node.lineno}: {name}({option}={options[option]})"


def tracked() -> list[Path]:
    """Files of the project: what git tracks, else (an unpacked archive) what lies there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=60)
    if listed.returncode:
        return [path for path in ROOT.rglob("*") if path.is_file() and path.relative_to(ROOT).parts[0][0] != "."]
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    """A copy of the sources, with the contracts, to break in a test."""
    for package in CONTRACTS["root_packages"]:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the packages below `folder`, not over the installed ones."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"]
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, timeout=120
    )


def test_imports_only_go_down() -> None:
    found = linted(ROOT)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("tasks/stray.py", "import flows.cli.app", "flows call tasks"),
        ("olmo_core/artifact/stray.py", "import tasks.session", "flows call tasks"),
        ("olmo_core/artifact/stray.py", "import olmo_core.recipe.recipe", "rooms of olmo_core"),
        ("olmo_core/train/stray.py", "import olmo_core.hub.names", "rooms of olmo_core"),
        ("olmo_core/serve/__init__.py", "", "rooms of olmo_core"),
        ("olmo_core/train/stray.py", "import mlflow", "no orchestrator"),
        ("olmo_core/train/stray.py", "import infra.profile", "flows call tasks"),
        ("olmo_core/recipe/stray.py", "import olmo_core.train.__main__", "entry that trains alone"),
        ("infra/profile.py", "import infra.services.group", "without the servers it names"),
    ],
)
def test_an_import_that_goes_up_is_found(contracts: Path, file: str, line: str, broken: str) -> None:
    (contracts / file).parent.mkdir(exist_ok=True)
    (contracts / file).write_text(line)
    found = linted(contracts)
    assert found.returncode == 1, found.stdout + found.stderr
    assert re.search(rf"{broken}.* BROKEN", found.stdout), found.stdout


def test_every_package_is_under_contract() -> None:
    packages = {path.relative_to(ROOT).parts[0] for path in SOURCES}
    assert packages == set(CONTRACTS["root_packages"]), "add the package to root_packages and to a layer"


def test_packages_are_regular_and_their_init_files_hold_a_docstring_only() -> None:
    """A namespace package gives way to whatever else on the user's path has its name."""
    folders = {path.parent for path in SOURCES}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
    inits = [path for path in SOURCES if path.name == "__init__.py"]
    assert [path for path in inits if len(read(path).body) > 1] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_LINES
    assert ast.get_docstring(read(path)), "a module says what it is for"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_read_can_run_code(path: Path) -> None:
    assert list(unsafe(read(path))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import loads",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=flag)",
        "yaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
    ],
)
def test_what_could_run_code_is_found(line: str) -> None:
    assert len(list(unsafe(ast.parse(line)))) == 1


def test_safe_reading_is_not_called_unsafe() -> None:
    assert list(unsafe(ast.parse("yaml.safe_load(text)\nnp.load(path, allow_pickle=False)\nmodel.eval()"))) == []


def test_every_import_is_a_declared_dependency() -> None:
    names = [re.split(r"[<>=\[~!;]", line)[0].lower() for line in SETTINGS["project"]["dependencies"]]
    own = set(CONTRACTS["root_packages"]) | {*sys.stdlib_module_names, "compression"}  # of Python 3.14
    used = {module.split(".")[0] for path in SOURCES for module in imported(read(path))} - own
    assert {DISTRIBUTIONS.get(name, name).replace("_", "-") for name in used} <= {
        name.replace("_", "-") for name in names
    }


def test_lock_pins_every_dependency() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.+]*( ; .+)?", line)] == []
    pins = {line.partition("==")[0]: line.partition("==")[2].partition(" ")[0] for line in lines}
    declared = [*SETTINGS["project"]["dependencies"], *SETTINGS["project"]["optional-dependencies"]["dev"]]
    for line in declared:
        name = re.split(r"[<>=\[~!;]", line)[0].lower().replace("_", "-")
        assert name in pins, f"{name} is not in requirements.lock; run `make lock`"
    assert pins["torch"] == "2.13.0", "a build tag such as +cpu belongs to one machine"


def test_data_beside_the_code_is_installed_with_it() -> None:
    patterns = SETTINGS["tool"]["setuptools"]["package-data"]["*"]
    data = [path for path in tracked() if path.relative_to(ROOT).parts[0] in CONTRACTS["root_packages"]]
    left_out = [path for path in data if path.suffix != ".py" and not any(path.match(each) for each in patterns)]
    assert left_out == []


def test_planning_loads_no_heavy_library() -> None:
    code = f"import sys, {', '.join(LIGHT)}; print(sorted({HEAVY!r} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_no_machine_path_and_no_registry_host_is_written_down() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in tracked()
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".lock", ".txt", ".cff", ".j2", ""}
        and path.relative_to(ROOT).parts[0] != "tests"  # where made-up paths are what is tested
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for match in PRIVATE.finditer(line)
    ]
    assert found == []
