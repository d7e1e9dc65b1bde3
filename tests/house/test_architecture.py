"""The page on architecture: its files exist and import each other in its order, its rooms are those of the contract."""

import ast
import re
import tomllib
from itertools import pairwise

import pytest
from pages import ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PATHS = [
    re.findall(r"^\d+\. `([\w/]+\.py)` ", section, re.M)
    for section in PAGE.split("\n## ")
    if section.startswith("From ")
]
HOPS = [hop for path in PATHS for hop in pairwise(path)]


def imports(file: str) -> set[str]:
    """The modules that a file imports, wherever in it, and what it takes out of them, which may be modules too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def module(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def test_the_page_has_a_path_of_ten_files_and_one_of_six() -> None:
    assert [len(path) for path in PATHS] == [10, 6]


@pytest.mark.parametrize(("file", "following"), HOPS)
def test_every_file_of_a_path_imports_the_next(file: str, following: str) -> None:
    assert (ROOT / following).is_file()
    assert module(following) in imports(file)


def test_every_file_named_on_the_page_exists() -> None:
    assert [name for name in re.findall(r"`(\w+/[\w/]+\.py)`", PAGE) if not (ROOT / name).is_file()] == []


def test_floors_and_rooms_of_the_page_are_those_of_the_contracts() -> None:
    layers = {
        tuple(contract.get("containers", ())): re.findall(r"\w+", " ".join(contract["layers"]))
        for contract in CONTRACTS
        if contract["type"] == "layers"
    }
    floors, rooms = layers[()], layers[("olmo_core",)]
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.M) == rooms
    picture = (ROOT / "docs" / "images" / "floors.svg").read_text()
    assert re.findall(r'<text class="ink(?: small)? name"[^>]*>(\w+)<', picture) == [*floors, *rooms]
