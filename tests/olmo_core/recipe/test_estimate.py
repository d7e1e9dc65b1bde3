"""Predicted cost of a release, from the profile's figures and from records."""

from collections.abc import Iterable

import pytest
from computes import Cluster, computed_on, laptop

from olmo_core.artifact.identity import Step
from olmo_core.artifact.record import FileEntry, Input, Record, content_digest
from olmo_core.artifact.source import Code, Environment, Source
from olmo_core.evaluate.task import HELDOUT
from olmo_core.recipe.compute import Budget, Compute
from olmo_core.recipe.estimate import (
    COMPILE_SECONDS,
    EAGER_SHARE,
    STAGE_SECONDS,
    START_SECONDS,
    TRAINING_SHARE,
    Estimate,
    estimate,
    estimate_parts,
)
from olmo_core.recipe.kinds import KINDS
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.machine import Machine
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe
from olmo_core.recipe.size import scoring_flops

MACHINE = Machine("a CPU", 2, {"bf16": 5e8, "fp32": 5e8})
GPUS = "{count: 4, gpus: 2, placement: {device: cuda}}"


def record(step: Step, seconds: float) -> Record:
    """Return the record of a step that took `seconds`, without files."""
    environment = Environment(digest="0", python="3", machine="m", cpu="c", zlib="1", packages={})
    return Record(
        kind=step.kind,
        name=step.name,
        version=step.version,
        id=step.id,
        payload=step.payload,
        inputs={},
        files=[],
        result={},
        digest=content_digest(step.kind, [], {}),
        attempt=1,
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:00:00+00:00",
        seconds=seconds,
        host="h",
        code=Code(),
        source=Source(digest="0", modules={}),
        environment=environment,
    )


def linked(step: Step) -> Record:
    """Return the record of a step that took 50 s, with its inputs."""
    inputs = {
        role: Input(kind=each.kind, name=each.name, id=each.id, digest=None) for role, each in step.inputs.items()
    }
    return record(step, 50.0).model_copy(update={"inputs": inputs})


@pytest.fixture(scope="module")
def plan() -> Plan:
    return lay_out(load_recipe("micro"))


@pytest.fixture(scope="module")
def compute() -> Compute:
    return laptop("speed={flops_per_second: 1e9, watts: 36}")


def cost(
    plan: Plan,
    steps: Iterable[Step],
    compute: Compute,
    records: Iterable[Record] = (),
    machine: Machine | None = MACHINE,
) -> Estimate:
    return estimate(plan, list(steps), records, compute, machine)


def seconds(found: Estimate) -> float:
    assert found.minutes is not None
    return found.minutes * 60


def test_no_steps_cost_nothing(plan: Plan, compute: Compute) -> None:
    assert cost(plan, [], compute) == Estimate()


def test_tokens_and_flops_match_hand_calculation(plan: Plan, compute: Compute) -> None:
    """micro: 2 blocks of 4 x 64 x 64 + 3 x 64 x 192 and a head of 1024 x 64, six FLOPs per weight, and attention."""
    per_token = 6 * (2 * (4 * 64 * 64 + 3 * 64 * 192) + 1024 * 64) + 6 * 2 * 64 * 64
    everything = cost(plan, plan.steps, compute)
    assert everything.steps == len(plan.steps)
    assert everything.tokens == 64_000 + 2 * 16_000
    assert everything.flops == everything.tokens * per_token
    one = cost(plan, [plan.step("run/stage2-ingredient1")], compute)
    assert (one.tokens, one.flops) == (16_000, 16_000 * per_token)


def test_rate_of_profile_is_used_without_records(plan: Plan, compute: Compute) -> None:
    found = cost(plan, [plan.step("run/stage1")], compute)
    assert seconds(found) == pytest.approx(START_SECONDS + STAGE_SECONDS + found.flops / 1e9)
    assert found.kwh == pytest.approx(36 * seconds(found) / 3.6e6)
    both = cost(plan, [run.step for run in plan.runs["stage2"]], compute)
    assert seconds(both) == pytest.approx(START_SECONDS + STAGE_SECONDS + both.flops / 1e9), (
        "the runs share the machine"
    )


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (64, 2)])
def test_rate_of_machine_is_used_without_profile_rate(plan: Plan, cores: int, threads: int) -> None:
    """A single run has two threads, two runs have one each; two threads are 2 ** 0.8 times as fast as one."""
    machine = Machine("a CPU", cores, {"bf16": 1e9, "fp32": 1e9}, pace=2.0)
    for stage in ("stage1", "stage2"):
        found = cost(plan, [run.step for run in plan.runs[stage]], laptop(), (), machine)
        work = found.flops / (EAGER_SHARE * 1e9 * threads**0.8)
        assert seconds(found) == pytest.approx(2 * START_SECONDS + 2 * STAGE_SECONDS + work)


def test_compiled_run_starts_later_and_runs_faster(plan: Plan) -> None:
    compiled = laptop("training.single.placement.compile=true")
    found = cost(plan, [plan.step("run/stage1")], compiled, (), Machine("a CPU", 1, {"bf16": 1e9}))
    before = START_SECONDS + STAGE_SECONDS + COMPILE_SECONDS
    assert seconds(found) == pytest.approx(before + found.flops / (TRAINING_SHARE * 1e9))


def test_steps_without_flops_scale_with_machine_pace(plan: Plan, compute: Compute) -> None:
    steps = [plan.step("corpus/wisdom"), plan.step("corpus/narrative")]
    for pace in (1.0, 3.0):
        machine = Machine("a CPU", 2, {}, pace)
        expected = pace * (START_SECONDS + 2 * KINDS["corpus"].seconds / 2)  # two at once
        assert seconds(cost(plan, steps, compute, (), machine)) == pytest.approx(expected)


def test_time_on_remote_gpu_is_unknown_without_rate(plan: Plan) -> None:
    runs = [run.step for run in plan.runs["stage1"]]
    training = f"training={{single: {GPUS}, seeds: {GPUS}}}"
    found = cost(plan, [plan.step("corpus/wisdom"), *runs], computed_on(Cluster, training))
    assert (found.minutes, found.kwh) == (None, None)
    assert "GPU of another machine" in found.unknown and "flops_per_second" in found.unknown
    assert found.over(Budget(minutes=1)) == []
    known = computed_on(Cluster, training, "speed={flops_per_second: 1e9}")
    parts = estimate_parts(plan, [run.step for run in plan.runs["stage2"]], (), known, MACHINE)
    stage = parts["stage2"]
    assert seconds(stage) == pytest.approx(STAGE_SECONDS + stage.flops / (2 * 4 * 1e9)), (
        "two runs at once, four workers each"
    )
    assert stage.basis == "16 GPUs by the profile"
    assert stage.kwh is None, "the power of a GPU is in no profile"


def test_unmeasured_cpu_gives_unknown_time(plan: Plan) -> None:
    found = cost(plan, [plan.step("run/stage1")], laptop(), (), None)
    assert found.minutes is None and "could not be measured" in found.unknown


def test_records_of_same_name_or_model_are_preferred(plan: Plan, compute: Compute) -> None:
    """Stage 1 was trained at 640 tokens per second, so each run of stage 2 takes 25 s; they run in parallel."""
    stage1, one, two = (plan.step(f"run/{name}") for name in ("stage1", "stage2-ingredient1", "stage2-ingredient2"))
    found = cost(plan, [one, two], compute, [record(stage1, 100.0)])
    assert seconds(found) == pytest.approx(START_SECONDS + 25)
    own = cost(plan, [one, two], compute, [record(stage1, 100.0), record(one, 70.0), record(two, 80.0)])
    assert seconds(own) == pytest.approx(START_SECONDS + 80)


def test_record_of_another_model_is_ignored(plan: Plan, compute: Compute) -> None:
    other = lay_out(load_recipe("micro", ["--model.n_layers=1"])).step("run/stage1")
    run = [plan.step("run/stage1")]
    assert cost(plan, run, compute, [record(other, 1.0)]) == cost(plan, run, compute)


def test_other_steps_use_records_of_same_name(plan: Plan, compute: Compute) -> None:
    corpus = plan.step("corpus/wisdom")
    by_name = [record(corpus, 40.0), record(plan.step("corpus/narrative"), 2.0)]
    assert seconds(cost(plan, [corpus], compute, by_name)) == pytest.approx(START_SECONDS + 40 / 2)
    other = [record(plan.step("corpus/narrative"), 400.0)]
    assert cost(plan, [corpus], compute, other) == cost(plan, [corpus], compute), "another corpus predicts nothing"


def test_result_uses_records_of_same_group_and_model_shape(plan: Plan, compute: Compute) -> None:
    """Results run two at a time. Records of another shape or group are ignored."""
    result = plan.step("result/soup-kinds")
    unknown = seconds(cost(plan, [result], compute))
    for recipe, group, expected in (
        ("micro", "kinds", START_SECONDS + 50 / 2),
        ("micro", "opposites", unknown),
        ("micro", HELDOUT, unknown),
        ("tiny", HELDOUT, unknown),
    ):
        other = lay_out(load_recipe(recipe))
        made = [run.step for run in other.runs["stage1"]] + other.checkpoints()[:1]
        records = [linked(step) for step in [*made, other.result(made[-1], group)]]
        assert seconds(cost(plan, [result], compute, records)) == pytest.approx(expected), (recipe, group)


def test_scoring_flops_match_hand_calculation(plan: Plan) -> None:
    """4 bytes of text per token, 120 tokens per question without shots; a forward pass is 1/3 of a training step."""
    flops = scoring_flops(plan.recipe)
    assert tuple(flops) == (HELDOUT, "kinds", "opposites")
    forward = plan.recipe.shape.flops_per_token(120) / 3
    assert flops[HELDOUT] == pytest.approx(2 * 20_000 / 4 * forward)
    assert flops["kinds"] == flops["opposites"] == pytest.approx(1000 * 120 * forward)


def test_bytes_of_weights_follow_from_model(plan: Plan, compute: Compute) -> None:
    """A checkpoint has weights and two moments in fp32; a revision takes space only as a copy in a local hub."""
    weights = 4 * plan.recipe.shape.parameters
    for label, expected in (
        ("checkpoint/stage1-step75", 3 * weights),
        ("soup/soup", weights),
        ("export/soup", weights),
        ("revision/main", weights),
    ):
        assert cost(plan, [plan.step(label)], compute).bytes == expected, label
    assert cost(plan, [plan.step("revision/main")], computed_on(Cluster)).bytes == 0
    half = lay_out(load_recipe("micro", ["--release.dtype=bfloat16"]))
    assert cost(half, [half.step("export/soup")], compute).bytes == weights / 2


def test_other_bytes_come_from_similar_records(plan: Plan, compute: Compute) -> None:
    corpus, other = plan.step("corpus/wisdom"), plan.step("corpus/narrative")
    files = [FileEntry(path="text", size=700, sha256="0"), FileEntry(path="more", size=50, sha256="0")]
    assert cost(plan, [corpus], compute, [record(corpus, 2.0).model_copy(update={"files": files})]).bytes == 750
    assert cost(plan, [corpus], compute, [record(other, 2.0)]).bytes == KINDS["corpus"].bytes
    assert cost(plan, [corpus], compute).bytes == KINDS["corpus"].bytes


def test_every_kind_has_a_prediction(compute: Compute) -> None:
    tiny = lay_out(load_recipe("tiny"))
    for step in tiny.steps:
        assert seconds(cost(tiny, [step], compute)) > 0


def test_exceeded_budget_is_reported() -> None:
    spent = Estimate(steps=3, tokens=10, flops=2e12, minutes=90.0, kwh=0.5, bytes=0)
    assert spent.over(Budget()) == []
    assert spent.over(Budget(minutes=90, kwh=0.5, flops=int(2e12))) == []
    assert spent.over(Budget(minutes=60, kwh=1, flops=10**12)) == [
        "1.5 h, but the profile's budget is 60 min",
        "2.0e12 FLOPs, but the profile's budget is 1.0e12 FLOPs",
    ]


def test_published_token_files_cover_tokens_of_mix() -> None:
    """OLMo 2 7B: 3.9T tokens of four bytes in 187 shards, fetched at 100 MB/s."""
    plan = lay_out(load_recipe("olmo2-7b"))
    shards = [step for step in plan.steps_of("data") if step.name.startswith("olmo-mix-1124-")]
    data = estimate_parts(plan, shards, (), laptop(), MACHINE)["data"]
    assert data.bytes == pytest.approx(4 * 3_895_023_632_384, rel=1e-6)
    assert seconds(data) == pytest.approx(data.bytes / 100e6 + 187 * KINDS["tokens"].seconds / 2)
