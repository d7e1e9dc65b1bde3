"""The tables in docs/sizes.md equal the results of its formulas, which agree with published figures."""

import re
from pathlib import Path

import pytest
from sizes import GB, RELEASES, least_gpus, memory_row, state, storage_row, time_row, working
from variables import ROOT

from infra.profile import load_profile
from olmo_core.model.config import preset

PAGE = (ROOT / "docs" / "sizes.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `olmo2")
]


def test_tables_equal_the_formulas() -> None:
    assert [row(release) for row in (memory_row, time_row, storage_row) for release in RELEASES] == ROWS


def test_profile_on_page_has_the_workers_of_its_table(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)
    (tmp_path / "page.yaml").write_text(text)
    training = load_profile(str(tmp_path / "page.yaml")).training
    row = time_row(next(release for release in RELEASES if release.model == "olmo2-7b"))
    assert [str(training.single.count), str(training.seeds.count)] == row[6:8]
    assert training.seeds.placement == training.single.placement
    assert (training.single.placement.sharding, training.single.placement.recompute) == ("shard", "blocks")


@pytest.mark.parametrize(("release", "steps"), zip(RELEASES, (1_907_359, 928_646, 596_057, 721_901), strict=True))
def test_tokens_equal_the_published_last_steps(release: object, steps: int) -> None:
    """Steps of stage 1, from the names of the revisions on the Hub."""
    assert float(storage_row(release)[4]) == pytest.approx(steps / 1000, abs=1)  # type: ignore[arg-type]


def test_larger_runs_never_need_fewer_gpus() -> None:
    models = [preset(release.model) for release in RELEASES]
    for memory in (80 * GB, 141 * GB):
        assert [least_gpus(model, memory) for model in models] == sorted(least_gpus(model, memory) for model in models)
    for model in models:
        gpus = least_gpus(model, 80 * GB)
        assert state(model) / gpus + working(model) <= 0.9 * 80 * GB
        assert gpus == 1 or state(model) / (gpus // 2) + working(model) > 0.9 * 80 * GB
        assert least_gpus(model, 141 * GB) <= gpus


def test_only_the_smallest_fits_into_one_gpu() -> None:
    assert [release.model for release in RELEASES if least_gpus(preset(release.model), 141 * GB) == 1] == ["olmo2-1b"]
