"""States of steps and histories of runs, as the page reads them from the store."""

from pathlib import Path

import pytest
from report_world import commit, fill, history, plan_of

from olmo_core.artifact.store import Store
from olmo_core.recipe.plan import Plan
from olmo_core.report.view import read_release


@pytest.fixture
def half_made(plan: Plan, tmp_path: Path) -> Store:
    """A store with the data and stage 1 up to its first checkpoint."""
    store = Store(tmp_path, warn=lambda _: None)
    fill(plan, store, plan.steps_of("data"))
    commit(plan, store, plan.runs["stage1"][0].checkpoints[75])
    return store


def test_complete_release_has_all_steps_made(plan: Plan, store: Store) -> None:
    release = read_release(plan, store)
    assert {release.state(step) for step in plan.steps} == {"made"}
    assert release.problems == {}
    for run in (run for runs in plan.runs.values() for run in runs):
        rows = [(row.tokens, row.loss, row.lr) for row in release.histories[run.step.id]]
        assert rows == [(row["tokens"], row["loss"], row["lr"]) for row in history(plan, run.step)]


def test_unfinished_run_shows_history_of_checkpoints(plan: Plan, half_made: Store) -> None:
    release = read_release(plan, half_made)
    run = plan.runs["stage1"][0]
    assert release.state(run.step) == "missing"
    assert [row.loss for row in release.histories[run.step.id]] == [row["loss"] for row in history(plan, run.step)[:75]]
    assert release.histories[plan.runs["stage2"][0].step.id] == []


def test_history_stops_at_missing_checkpoint(tmp_path: Path) -> None:
    plan, store = plan_of("micro", "stages.stage1.checkpoint_every=50"), Store(tmp_path)
    run = plan.runs["stage1"][0]
    for at in (50, 125):  # not 100: steps 101 to 125 would seem to follow step 50 directly
        commit(plan, store, run.checkpoints[at])
    assert len(read_release(plan, store).histories[run.step.id]) == 50


def test_step_set_aside_has_a_reason(plan: Plan, half_made: Store) -> None:
    step = plan.corpora["wisdom"]
    record = half_made.peek(step)
    assert record is not None
    half_made.set_aside(record, "file train.jsonl is missing")
    release = read_release(plan, half_made)
    assert release.state(step) == "set aside"
    assert release.problems[step.id] == "file train.jsonl is missing"


def test_step_with_changed_input_is_set_aside(plan: Plan, half_made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    step = plan.corpora["wisdom"]
    record = half_made.peek(step)
    assert record is not None
    half_made.set_aside(record, "for the test")
    monkeypatch.setattr("report_world.DOCUMENTS", 7)  # gives the corpus other content
    commit(plan, half_made, step)
    release = read_release(plan, half_made)
    assert release.state(step) == "made"
    assert release.state(plan.tokenizer) == "set aside"
    assert "made again with other content" in release.problems[plan.tokenizer.id]


def test_damaged_history_is_not_shown(plan: Plan, half_made: Store) -> None:
    run = plan.runs["stage1"][0]
    record = half_made.peek(run.checkpoints[75])
    assert record is not None
    file = half_made.base / record.files_folder / "history.jsonl"
    file.write_text(file.read_text().replace("8.9", "1.9", 1))
    assert half_made.peek(run.checkpoints[75]) is not None, "its size is the same"
    release = read_release(plan, half_made)
    assert release.histories[run.step.id] == []
    assert "history.jsonl of checkpoint/stage1-step75" in release.problems[run.step.id]


def test_tokens_seen_include_earlier_runs(plan: Plan, store: Store) -> None:
    release = read_release(plan, store)
    batch = 8 * 64
    (stage1,), stage2 = plan.runs["stage1"], plan.runs["stage2"]
    assert release.tokens_seen(stage1.checkpoints[75]) == 75 * batch
    assert release.tokens_seen(stage2[1].end) == (125 + 32) * batch
    assert release.tokens_seen(plan.soups["soup"]) == (125 + 32) * batch
