"""The name of a file of an artifact is written once, beside the factory of the step that writes it."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from test_floors import SOURCES, read

NAME = re.compile(r"(?:^|/)([\w-]+\.(?:json|jsonl|jsonl\.gz|txt|safetensors))$")
# Names that two formats share by chance or by a convention of others, and the record, which is no file of an artifact.
SHARED = {
    "config.json": {"olmo_core/evaluate/task_archive.py", "olmo_core/hub/file_names.py"},
    "model.safetensors": {"olmo_core/hub/file_names.py", "olmo_core/model/config.py"},
    "record.json": {"olmo_core/artifact/attempt.py", "olmo_core/artifact/store.py"},
    "report.json": {"olmo_core/documents/shard.py", "olmo_core/tokens/mix.py"},
    "requests.jsonl.gz": {
        "olmo_core/documents/sources/olmo_tasks.py",
        "olmo_core/evaluate/task.py",
        "olmo_core/evaluate/task_archive.py",
    },
    "tokenizer.json": {"olmo_core/hub/file_names.py", "olmo_core/tokens/special_tokens.py"},
}
ROOT = Path(__file__).parents[2]


def file_names(tree: ast.Module) -> Iterator[str]:
    """Yield the file names among the strings of a module, in f-strings too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := NAME.search(node.value)):
            yield match[1]


def test_a_file_name_is_written_once() -> None:
    written = [(name, path.relative_to(ROOT).as_posix()) for path in SOURCES for name in file_names(read(path))]
    repeated = Counter(name for name, _ in written if name not in SHARED)
    assert [name for name, count in repeated.items() if count > 1] == []
    assert {name: {path for each, path in written if each == name} for name in SHARED} == SHARED


def test_a_name_in_a_path_and_in_an_f_string_is_found() -> None:
    code = 'a = "x/results.json"\nb = f"{folder}/history.jsonl"\nc = "writes results.json"\n'
    assert list(file_names(ast.parse(code))) == ["results.json", "history.jsonl"]
