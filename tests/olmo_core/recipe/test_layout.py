"""Steps that follow from a recipe: graphs of stages and soups, names, and graphs that are refused."""

import json
import pickle
import subprocess
import sys

import pytest
from plans import GROUPS, MICRO, SINGLE, changed, planned, resting_on

from olmo_core.recipe.layout import lay_out, lay_out_repository
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.recipe import load_recipe

THREE_AND_ONE = [
    "--stages.stage2.groups=[{seeds: [1, 2, 3], mix: anneal, tokens: 4K}, {seeds: [1], mix: anneal, tokens: 12K}]",
    *(f"--stages.stage2.{key}=null" for key in SINGLE),
]


def third_stage(start: str) -> str:
    return (
        f"--stages.stage3={{start: {start}, mix: anneal, tokens: 4K, seeds: [1], batch_size: 8, sequence_length: 64, "
        "checkpoint_every: 100, schedule: {kind: linear, peak: 1.0e-3}}"
    )


def test_stage_can_start_from_pretrained_model() -> None:
    place = "{repo: allenai/OLMo-2-1124-7B, revision: " + "a" * 40 + "}"
    plan = planned(f"--stages.stage1.start={place}")
    (start,) = (step for step in plan.steps if step.kind == "pretrained")
    assert start.fields == {"repo": "allenai/OLMo-2-1124-7B", "revision": "a" * 40}
    assert plan.runs["stage1"][0].step.inputs["start"] is start
    assert start in plan.steps_of("data")
    assert plan.pretrained() == [start]
    evaluated = {step.id for step in plan.steps_of("evaluate")}
    assert {step.id for step in plan.results_of(start).values()} <= evaluated, (
        "its scores are compared with the stage's"
    )
    folder = "{path: /models/base, sha256: " + "b" * 64 + "}"
    assert planned(f"--stages.stage1.start={folder}").step("pretrained/base").fields["sha256"] == "b" * 64
    assert resting_on(plan, {start.label}) >= {"run/stage1", "run/stage2-ingredient1", "soup/soup"}
    with pytest.raises(ValueError, match="starts from pretrained/OLMo-2-1124-7B-aaaaaaaaaa, which has no rate"):
        planned(f"--stages.stage1.start={place}", "--stages.stage1.schedule.peak=inherit")
    for start_of, message in (
        ("{repo: a/b}", r"^recipe micro: stages\.stage1\.start: has repo; give repo and revision, or path and sha256$"),
        (
            "{repo: a/b, revision: main}",
            r"^recipe micro: stages\.stage1\.start\.revision \(value 'main'\): a branch moves; [^\n]*$",
        ),
        ("{rpeo: a/b}", r"^recipe micro: stages\.stage1\.start\.rpeo .*: no such field; did you mean 'repo'\?$"),
        ("stagee1", "did you mean 'stage1'"),
    ):
        with pytest.raises(ConfigError, match=message):
            planned(f"--stages.stage1.start={start_of}")


UNPICKLED = """
import json, pickle, sys
steps = pickle.load(sys.stdin.buffer)
works = [step.work and [step.work.__module__, step.work.__qualname__] for step in steps]
heavy = {"torch", "transformers", "requests", "huggingface_hub"} & sys.modules.keys()
print(json.dumps([[step.id for step in steps], works, sorted(heavy)]))
"""


def test_pickled_steps_keep_id_and_work_without_heavy_imports() -> None:
    place = "{repo: allenai/OLMo-2-1124-7B, revision: " + "a" * 40 + "}"
    plans = (
        planned(f"--stages.stage1.start={place}"),
        lay_out_repository(MICRO.recipe, "org/model", {"main": "c" * 40}),
        lay_out(load_recipe("olmo2-1b")),
    )
    steps = [step for plan in plans for step in plan.steps]
    run = subprocess.run(
        [sys.executable, "-c", UNPICKLED], input=pickle.dumps(steps), capture_output=True, check=True, timeout=60
    )
    ids, works, heavy = json.loads(run.stdout)
    assert ids == [step.id for step in steps]
    assert works == [step.work and [step.work.__module__, step.work.__qualname__] for step in steps]
    assert heavy == []
    assert {step.kind for step in steps if step.work is None} == {"checkpoint"}


def test_repository_is_evaluated_by_commit_like_own_models() -> None:
    shown = {"main": "c" * 40, "stage1-step20-tokens1K": "a" * 40, "renamed": "a" * 40}
    plan = lay_out_repository(MICRO.recipe, "org/model", shown)
    results = plan.published["stage1-step20-tokens1K"]
    assert tuple(results) == GROUPS
    (model,) = {step.inputs["model"].id: step.inputs["model"] for step in results.values()}.values()
    (tokenizer,) = {step.inputs["tokenizer"].id: step.inputs["tokenizer"] for step in results.values()}.values()
    assert model.fields == tokenizer.fields == {"repo": "org/model", "revision": "a" * 40}
    assert (model.kind, tokenizer.kind) == ("pretrained", "tokenizer")
    assert plan.published["renamed"] is results
    assert not {step.id for step in plan.published["main"].values()} & {step.id for step in results.values()}
    for group, ours in next(iter(MICRO.results.values())).items():
        theirs = results[group]
        assert theirs.fields == ours.fields
        same = {role: step.id for role, step in ours.inputs.items() if role not in {"model", "tokenizer"}}
        assert {role: theirs.inputs[role].id for role in same} == same
    assert list(plan.evaluated()) == ["renamed", "stage1-step20-tokens1K", "main"]
    assert {step.id for step in MICRO.steps} < {step.id for step in plan.steps}
    assert plan.step("result/model-main-kinds") is plan.published["main"]["kinds"]
    assert plan.id not in {MICRO.id, lay_out_repository(MICRO.recipe, "org/other", shown).id}


def test_graph_of_micro() -> None:
    """Two stages, two seeds, a soup: every step with its inputs."""
    graph = {step.label: sorted({source.label for source in step.inputs.values()}) for step in MICRO.steps}
    corpora = ["corpus/narrative", "corpus/wisdom"]
    tokens = ["tokens/narrative-00000", "tokens/wisdom-00000"]
    ingredients = ["stage2-ingredient1-step32", "stage2-ingredient2-step32"]
    shards = {name: f"documents/{name}-00000" for name in ("narrative", "wisdom")}
    expected: dict[str, list[str]] = {label: [] for label in [*shards.values(), "task/kinds", "task/opposites"]}
    expected |= {f"corpus/{name}": [shard] for name, shard in shards.items()}
    expected |= {"tokenizer/bpe": [*corpora, *shards.values()]}
    expected |= {f"tokens/{name}-00000": [f"corpus/{name}", shard, "tokenizer/bpe"] for name, shard in shards.items()}
    expected |= {"mix/pretrain": tokens, "mix/anneal": tokens, "run/stage1": ["mix/pretrain", *tokens]}
    for number in (1, 2):
        expected[f"run/stage2-ingredient{number}"] = ["checkpoint/stage1-step125", "mix/anneal", *tokens]
        expected[f"checkpoint/stage2-ingredient{number}-step32"] = [f"run/stage2-ingredient{number}"]
    expected |= {f"checkpoint/stage1-step{at}": ["run/stage1"] for at in (75, 125)}
    expected["soup/soup"] = [f"checkpoint/{each}" for each in ingredients]
    for name in ["stage1-step75", "stage1-step125", *ingredients, "soup"]:
        model = f"checkpoint/{name}" if name != "soup" else "soup/soup"
        expected[f"result/{name}-heldout"] = sorted([model, *corpora, "tokenizer/bpe"])
        expected |= {f"result/{name}-{task}": [model, f"task/{task}", "tokenizer/bpe"] for task in GROUPS[1:]}
        expected[f"export/{name}"] = [model, "tokenizer/bpe"]
    judged = [f"result/{each}-heldout" for each in ["soup", *ingredients]]
    expected["decision/main"] = sorted([*(f"checkpoint/{each}" for each in ingredients), "soup/soup", *judged])
    shown = [f"result/{each}-{group}" for each in ["soup", *ingredients] for group in GROUPS]
    expected["revision/main"] = sorted(
        ["decision/main", *shown, *(f"export/{each}" for each in ["soup", *ingredients])]
    )
    for name, count in {"stage1-step75": "39K", "stage1-step125": "64K", **dict.fromkeys(ingredients, "17K")}.items():
        expected[f"revision/{name}-tokens{count}"] = [f"export/{name}", *(f"result/{name}-{group}" for group in GROUPS)]
    assert graph == expected


def test_revisions_are_named_in_order() -> None:
    """64,000 tokens are 125 steps of 8 x 64; 16,000 are rounded up to 32 steps, 16,384 tokens."""
    assert [revision.name for revision in MICRO.revisions] == [
        "stage1-step75-tokens39K",
        "stage1-step125-tokens64K",
        "stage2-ingredient1-step32-tokens17K",
        "stage2-ingredient2-step32-tokens17K",
        "main",
    ]


def test_corpus_shards_are_tokenised_separately() -> None:
    plan = planned("--corpora.wisdom.shards=3")
    shards = [f"wisdom/{shard:05d}" for shard in range(3)]
    assert list(plan.documents) == ["narrative/00000", *shards]
    assert list(plan.corpora["wisdom"].inputs.values()) == [plan.documents[shard] for shard in shards]
    for shard in shards:
        assert plan.tokens[shard].inputs["documents"] is plan.documents[shard]
        assert plan.documents[shard].label == f"documents/{shard.replace('/', '-')}"
    assert [step.name for step in plan.tokenizer.inputs.values() if step.kind == "documents"] == [
        each.name for each in plan.documents.values()
    ]


def test_steps_follow_their_inputs() -> None:
    seen: set[str] = set()
    for step in MICRO.steps:
        assert {source.id for source in step.inputs.values()} <= seen
        assert step.id not in seen
        seen.add(step.id)


def test_groups_of_a_stage_can_differ_in_length() -> None:
    """Like OLMo 2 13B: three anneals of 100B tokens and one of 300B, all four in the soup."""
    plan = planned(*THREE_AND_ONE, "--stages.stage2.names.unit=K")
    assert [(run.ingredient, run.seed, run.config.steps) for run in plan.runs["stage2"]] == [
        (1, 1, 8),
        (2, 2, 8),
        (3, 3, 8),
        (4, 1, 24),
    ]
    assert [source.name for source in plan.soups["soup"].inputs.values()] == [
        "stage2-ingredient1-step8",
        "stage2-ingredient2-step8",
        "stage2-ingredient3-step8",
        "stage2-ingredient4-step24",
    ]
    lengths = {run.ingredient: run.step.inputs["mix"].fields["tokens"] for run in plan.runs["stage2"]}
    assert lengths == {1: 4096, 2: 4096, 3: 4096, 4: 12288}
    assert len({run.step.inputs["mix"].label for run in plan.runs["stage2"]}) == 2, "two mixes, two names"


def test_soup_can_use_some_ingredients() -> None:
    plan = planned(*THREE_AND_ONE, "--soups.soup.ingredients=[stage2/1, stage2/4]")
    assert [source.name for source in plan.soups["soup"].inputs.values()] == [
        "stage2-ingredient1-step8",
        "stage2-ingredient4-step24",
    ]


def test_stage_can_start_from_soup() -> None:
    plan = planned(third_stage("soup"))
    assert plan.runs["stage3"][0].step.inputs["start"] is plan.soups["soup"]
    assert list(plan.runs) == ["stage1", "stage2", "stage3"]
    assert changed(third_stage("soup")) == {"revision/main"}, "main lists one more revision; nothing else changes"


def test_soup_can_average_checkpoints_of_one_run() -> None:
    changes = ["--stages.stage1.checkpoint_every=25", "--soups.tail={ingredients: [stage1@50, stage1@100, stage1]}"]
    plan = planned(*changes)
    assert [source.name for source in plan.soups["tail"].inputs.values()] == [
        "stage1-step50",
        "stage1-step100",
        "stage1-step125",
    ]
    assert plan.soups["tail"].id in plan.results


def test_stage_can_start_from_intermediate_checkpoint() -> None:
    plan = planned(third_stage("stage1@75"))
    assert plan.runs["stage3"][0].step.inputs["start"].name == "stage1-step75"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--stages.stage1.start=soup", "--stages.stage1.schedule.peak=0.01"], "in a loop: soup, stage1, stage2"),
        (["--stages.stage1.start=stage1"], "in a loop: soup, stage1, stage2"),
        (["--soups.soup.ingredients=[soup, stage2]"], "in a loop: soup"),
        (["--stages.stage2.start=stage1@7"], "stage1@7: no checkpoint at step 7; there are 75, 125"),
        (["--soups.soup.ingredients=[stage2/9, stage1]"], "stage2/9: stage stage2 has 2 runs; name one of 1 to 2"),
        ([third_stage("stage2")], "stages.stage3.start: stage2 is 2 checkpoints; name one"),
        (["--soups.soup.ingredients=[stage1]"], "a soup needs at least two ingredients"),
        (["--stages.stage1.schedule.peak=inherit"], "schedule.peak is inherit, but the run has no start"),
        (["--stages.stage1.schedule.warmup=65000"], "65,000 tokens, the schedule has 64,000"),
        (
            ["--stages.stage1.batch_size=2000"],
            "stages.stage1: tokens 64,000 are less than one batch, batch_size 2000 x sequence_length 64 = 128,000",
        ),
        (["--stages.stage1.names.overrides={stage1-step75-tokens39K: stage1-step125-tokens64K}"], "two checkpoints"),
        (["--stages.stage1.names.overrides={stage1-step75-tokens39K: main}"], "main"),
        (
            ["--stages.stage1.schedule.final=0"],
            "schedule.peak is inherit, but checkpoint/stage1-step125 ends at rate 0; give the rate itself, or a "
            "schedule.final above 0",
        ),
        (["--evaluation.heldout=[narrative]"], "wisdom"),  # the decision of micro uses it
    ],
)
def test_invalid_graph_is_refused(overrides: list[str], message: str) -> None:
    recipe = load_recipe("micro", overrides)
    with pytest.raises(ValueError) as error:
        lay_out(recipe)
    assert message in str(error.value)


def test_corpus_without_heldout_text_is_not_scored() -> None:
    plan = planned("--corpora.narrative.heldout=0", "--stages.stage1.heldout={every: 50}")
    read = {role for step in plan.steps for role in step.inputs if role.startswith("heldout/")}
    assert read == {"heldout/wisdom"}
    assert [plan.judged_on(runs[0]) for runs in plan.runs.values()] == [["wisdom"], ["wisdom"]]
    for overrides, message in (
        (
            ["--evaluation.heldout=[narrative]"],
            r"evaluation\.heldout: corpora\.narrative\.heldout is 0; leave narrative out",
        ),
        (["--corpora.wisdom.heldout=0"], "corpora: heldout is 0 for all; give one a share above 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            planned("--corpora.narrative.heldout=0", *overrides)


@pytest.mark.parametrize("overrides", [[], ["--stages.stage2.batch_size=100"], THREE_AND_ONE])
def test_mix_holds_exactly_the_tokens_of_its_runs(overrides: list[str]) -> None:
    for runs in planned(*overrides).runs.values():
        for run in runs:
            instances = run.step.inputs["mix"].fields["tokens"] / run.config.sequence_length
            assert instances == run.config.steps * run.config.batch_size


def test_candidates_are_soup_and_ingredients() -> None:
    assert sorted(step.label for step in MICRO.candidates()) == [
        "checkpoint/stage2-ingredient1-step32",
        "checkpoint/stage2-ingredient2-step32",
        "soup/soup",
    ]
