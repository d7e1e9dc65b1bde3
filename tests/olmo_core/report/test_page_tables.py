"""Tables of the page: steps, corpora, mixes, revisions, origin and facts, of releases that are partly made."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from report_world import plan_of

from olmo_core.artifact.identity import Step
from olmo_core.recipe.plan import Plan
from olmo_core.report import page
from olmo_core.report.corpora import dropped_table, sources_table
from olmo_core.report.page import _facts, _mixes, _origin, _revisions, steps_table
from olmo_core.report.view import ReleaseView


def record(seconds: float = 10.0, finished: str = "2026-01-02T03:04:05.678+00:00", **result: Any) -> Any:
    return SimpleNamespace(seconds=seconds, finished=finished, result=result)


def view(plan: Plan, made: Mapping[str, Any] | None = None, aside: Mapping[str, str] | None = None) -> ReleaseView:
    return ReleaseView(plan, cast(Any, made or {}), aside or {}, {})


@pytest.fixture
def checkpoints(plan: Plan) -> list[Step]:
    return [step for step in plan.steps if step.kind == "checkpoint"]


def test_step_has_its_state_time_and_moment(plan: Plan, checkpoints: list[Step]) -> None:
    made, aside, missing, *_ = checkpoints
    rows = {row[0]: row[1:] for row in steps_table(view(plan, {made.id: record(75.2)}, {aside.id: "gone"})).rows}
    assert list(rows) == [step.label for step in plan.steps], "inputs first"
    assert rows[made.label] == (made.id[:12], "made", "1 min 15 s", "2026-01-02 03:04:05")
    assert rows[aside.label] == (aside.id[:12], "set aside", "-", "-")
    assert rows[missing.label] == (missing.id[:12], "missing", "-", "-")


def test_documents_left_out_are_shown_by_reason(plan: Plan) -> None:
    result = {"dropped": {"c4 curly_bracket": 1200, "duplicate": 3}, "documents_read": 4800}
    rows = dropped_table(view(plan, {plan.corpora["wisdom"].id: record(**result)}))
    assert rows is not None
    assert rows.rows == [("wisdom", "c4 curly_bracket", "1,200", "25.0%"), ("wisdom", "duplicate", "3", "0.1%")]
    assert dropped_table(view(plan, {plan.corpora["wisdom"].id: record(dropped={}, documents_read=9)})) is None
    assert dropped_table(view(plan)) is None


@pytest.mark.parametrize("most", [3, 4])
def test_kind_with_too_many_steps_is_one_row(
    most: int, plan: Plan, checkpoints: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(checkpoints) == 4
    monkeypatch.setattr(page, "MOST_OF_A_KIND", most)
    early, late = record(30.0), record(45.2, "2026-01-03T00:00:00+00:00")
    made = dict(zip((step.id for step in checkpoints), (late, early), strict=False))
    rows = [row for row in steps_table(view(plan, made)).rows if row[0].startswith("checkpoint/")]
    if most == 4:
        assert [row[2] for row in rows] == ["made", "made", "missing", "missing"]
    else:
        label = f"{checkpoints[0].label} and 3 more"
        assert rows == [(label, "-", "2 made, 2 missing", "1 min 15 s", "2026-01-03 00:00:00")]


def test_corpus_has_the_sum_of_its_shards(plan: Plan) -> None:
    shards = [{"documents": 1000, "bytes": 2_000_000}, {"documents": 234, "bytes": 500}]
    made = {plan.corpora["wisdom"].id: record(train=shards, heldout={"documents": 17})}
    rows = {row[0]: row[1:] for row in sources_table(view(plan, made)).rows}
    assert rows["wisdom"] == ("LicenseRef-public-domain", "1,234", "2,000,500", "17")
    assert rows["narrative"] == ("LicenseRef-public-domain", "-", "-", "-")


def test_published_token_files_are_listed_with_their_licence(plan: Plan) -> None:
    files = {"dolmino": SimpleNamespace(licence="odc-by")}
    elsewhere = SimpleNamespace(corpora=plan.corpora, recipe=SimpleNamespace(token_files=files))
    rows = sources_table(view(cast(Any, elsewhere))).rows
    assert [row[0] for row in rows] == [*plan.corpora, "dolmino, as token files"]
    assert rows[-1][1:] == ("odc-by", "-", "-", "-")


def test_planned_mix_has_the_shares_of_its_weights(plan: Plan) -> None:
    tables = {table.caption.partition(",")[0]: table.rows for table in _mixes(view(plan))}
    (pretrain,) = [step for step in plan.mixes.values() if step.fields["weights"] == {"narrative": 3, "wisdom": 1}]
    assert tables[f"Mix {pretrain.name}"] == [
        ("narrative", "75.0%", "-", "-", "-"),
        ("wisdom", "25.0%", "-", "-", "-"),
    ]


def test_made_mix_has_what_its_record_says(plan: Plan) -> None:
    source = {"corpus": "wisdom", "share_asked": 0.25, "share_given": 0.2504, "tokens": 16_384, "epochs": 1.006}
    first, *others = plan.mixes.values()
    table, *planned = _mixes(view(plan, {first.id: record(sources=[source])}))
    assert table.rows == [("wisdom", "25.0%", "25.0%", "16,384", "1.01")]
    assert table.caption == f"Mix {first.name}, {first.fields['tokens']:,} tokens"
    assert len(planned) == len(others)


def origin(commit: str | None, dirty: bool, python: str) -> Any:
    packages = {"torch": "2.8", "numpy": "2.1"}
    environment = SimpleNamespace(python=python, machine="x86_64", cpu="AVX2", packages=packages)
    return SimpleNamespace(code=SimpleNamespace(commit=commit, dirty=dirty), environment=environment)


def test_origin_names_each_commit_and_environment_once() -> None:
    made = (("b" * 40, False, "3.11.9"), ("a" * 40, True, "3.11.9"), ("b" * 40, False, "3.11.9"), (None, False, "3.12"))
    found = _origin([origin(*each) for each in made])
    assert found["commits"] == [f"{'a' * 40} with uncommitted changes", "b" * 40, "unknown"]
    assert found["environments"] == [
        f"Python {python}, x86_64, AVX2; numpy 2.1, torch 2.8" for python in ("3.11.9", "3.12")
    ]


def test_nothing_made_has_no_origin() -> None:
    assert _origin([]) == {"commits": [], "environments": []}


def test_facts_count_what_is_made(plan: Plan) -> None:
    revision = plan.revisions[0].step
    made = {revision.id: record(), plan.tokenizer.id: record(finished="2026-02-03T04:05:06+00:00")}
    facts = dict(_facts(view(plan, made)))
    assert facts["Revisions made"] == f"1 of {len(plan.revisions)}"
    assert facts["Steps made"] == f"2 of {len(plan.steps)}"
    assert facts["Last step made"] == "2026-02-03 04:05 UTC"
    assert facts["Training runs"] == "3"
    assert dict(_facts(view(plan)))["Last step made"] == "-"


def test_stage_that_changes_the_model_says_how() -> None:
    plan = plan_of("micro", "stages.stage2.model={context_length: 2048}")
    facts = dict(_facts(view(plan)))
    assert facts["Model of stage2"] == "context length 2,048"
    assert "Model of stage1" not in facts


def revisions(release: ReleaseView) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in _revisions(release)}


def test_undecided_main_shows_no_model_tokens_or_score() -> None:
    plan = plan_of("micro", "release.candidates=[soup, stage2/1]")
    row = revisions(view(plan))["main"]
    assert row == {"name": "main", "shows": "", "tokens": "-", "bits": "-", "state": "missing"}


def test_decided_main_names_the_model_it_shows() -> None:
    plan = plan_of("micro", "release.candidates=[soup, stage2/1]")
    main = next(each.step for each in plan.revisions if each.name == "main")
    end = plan.runs["stage2"][0].end
    own = next(each for each in plan.revisions if each.name.startswith("stage1-step75"))
    start = plan.runs["stage1"][0].checkpoints[75]
    rows = revisions(view(plan, {main.id: record(model=end.id), own.step.id: record(model=start.id)}))
    assert (rows["main"]["shows"], rows["main"]["state"]) == (end.name, "made")
    assert rows["main"]["tokens"] == "80.4K", "157 batches of 512 tokens: those of stage 1 and of the run"
    assert rows[own.name]["state"] == "made"
    assert all(row["shows"] == "" for name, row in rows.items() if name != "main"), "their names say it"


def test_revision_of_one_model_has_its_tokens_before_it_is_made(plan: Plan) -> None:
    row = revisions(view(plan))["stage1-step75-tokens39K"]
    assert (row["tokens"], row["bits"], row["state"]) == ("38.4K", "-", "missing")
