"""Recipes: the built-in ones, and the errors of invalid ones."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.hub.pretrained import PretrainedConfig
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.recipe import BUILTIN, Recipe, load_recipe, reference

SINGLE = ("mix", "tokens", "seeds")  # fields of a stage with one group of seeds
BUILT_IN = sorted(path.stem for path in BUILTIN.glob("*.yaml"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_recipe_makes_a_plan(name: str) -> None:
    recipe = load_recipe(name)
    plan = lay_out(recipe)
    assert recipe.name == name
    assert recipe.description
    assert [step.kind for step in plan.steps].count("soup") == len(recipe.soups)
    assert plan.revisions[-1].name == "main"


def test_documented_recipes_exist() -> None:
    assert {"micro", "tiny", "small"} <= set(BUILT_IN)


def test_tiny_and_small_have_the_same_graph() -> None:
    """`small` differs only in size: same corpora, stages, seeds and soup."""
    tiny, small = load_recipe("tiny"), load_recipe("small")
    assert small.corpora == tiny.corpora
    assert small.mixes == tiny.mixes
    assert {name: stage.seeds for name, stage in small.stages.items()} == {
        name: stage.seeds for name, stage in tiny.stages.items()
    }
    assert small.soups == tiny.soups
    assert 25e6 < small.shape.parameters < 35e6 < 5 * tiny.shape.parameters


def test_recipe_round_trips_through_json() -> None:
    recipe = load_recipe("micro")
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_own_recipe_has_file_name_and_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: micro\nstages: {stage2: {seeds: [1, 2, 3]}}\n")
    recipe, micro = load_recipe(str(path)), load_recipe("micro")
    assert recipe.name == "mine"
    assert recipe.stages["stage2"].seeds == (1, 2, 3)
    assert recipe.stages["stage1"] == micro.stages["stage1"]


def test_base_is_relative_to_its_file_and_may_have_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "first.yaml").write_text(
        "base: micro\nname: first\nstages: {stage2: {seeds: [1, 2, 3], tokens: 20K}}\n"
    )
    (tmp_path / "deep" / "second.yaml").write_text("base: ../first.yaml\nstages: {stage2: {tokens: 30K}}\n")
    for folder, name in ((tmp_path / "deep", "second.yaml"), (Path("/"), str(tmp_path / "deep" / "second.yaml"))):
        monkeypatch.chdir(folder)
        recipe = load_recipe(name)
        assert (recipe.name, recipe.stages["stage2"].seeds, recipe.stages["stage2"].tokens) == (
            "second",
            (1, 2, 3),
            30_000,
        )
    (tmp_path / "first.yaml").write_text("base: ./deep/second.yaml\n")
    with pytest.raises(
        ConfigError, match=r"base: second\.yaml is based on first\.yaml is based on second\.yaml; remove"
    ):
        load_recipe(name)
    (tmp_path / "first.yaml").write_text("base: gone.yaml\n")
    with pytest.raises(ConfigError, match=r"first\.yaml: base gone\.yaml: no such file"):
        load_recipe(name)


def test_relative_paths_start_from_file_or_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "tune.yaml").write_text(f"""
base: micro
token_files:
  mine: {{paths: [a.npy, /x/b.npy, ~/c.npy, "s3://d/e.npy"], label_mask_paths: [a, b, c, d], licence: x}}
  listed: {{list_url: "https://x/list", folder: f/, root: files, licence: x}}
mixes: {{pretrain: {{weights: {{mine: 1, listed: 1}}}}}}
stages: {{stage1: {{start: {{path: base, sha256: {"a" * 64}}}}}}}
""")
    packages = "--packages={olmo: {name: a, version: '1', filename: a-1.whl, sha256: " + "ab" * 32 + "}}"
    dolma = "--tokenizer={kind: dolma2, package: olmo}"
    recipe = load_recipe("own/tune.yaml", [packages, dolma, "--token_files.more={paths: [f.npy], licence: x}"])
    files, own = recipe.token_files, f"{tmp_path}/own"
    assert files["mine"].paths == (f"{own}/a.npy", "/x/b.npy", "/home/me/c.npy", "s3://d/e.npy")
    assert files["mine"].label_mask_paths == tuple(f"{own}/{name}" for name in "abcd")
    assert (files["listed"].list_url, files["listed"].root) == ("https://x/list", f"{own}/files")
    assert files["more"].paths == (f"{tmp_path}/f.npy",)
    assert recipe.stages["stage1"].start == PretrainedConfig(path=f"{own}/base", sha256="a" * 64)


def test_model_vocabulary_is_that_of_tokenizer() -> None:
    assert load_recipe("micro", ["--tokenizer.vocab_size=512"]).shape.vocab_size == 512
    packages = "--packages={olmo: {name: a, version: '1', filename: a-1.whl, sha256: " + "ab" * 32 + "}}"
    taken = load_recipe("micro", [packages, "--tokenizer={kind: dolma2, package: olmo}"])
    assert taken.shape.vocab_size == 100_278


FILES = "{list_url: l, folder: f, root: r, licence: x}"
PUBLISHED = [
    "--packages={olmo: {name: a, version: '1', filename: a-1.whl, sha256: " + "ab" * 32 + "}}",
    "--tokenizer={kind: dolma2, package: olmo}",
]


def test_mix_may_contain_published_token_files() -> None:
    mix = ["--token_files={far: " + FILES + "}", "--mixes.pretrain.weights={far: 1, wisdom: 1}"]
    plan = lay_out(load_recipe("micro", [*PUBLISHED, *mix]))
    (run,) = plan.runs["stage1"]
    assert {role for role, step in run.step.inputs.items() if step.kind == "tokens"} == {"far/00000", "wisdom/00000"}
    assert plan.tokens["far/00000"].inputs == {"tokenizer": plan.tokenizer}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["--token_files={far: " + FILES + "}"],
            "token_files.far: published token files need a published tokenizer",
        ),
        ([*PUBLISHED, "--token_files={wisdom: " + FILES + "}"], "token_files.wisdom: there is also a corpus wisdom"),
    ],
)
def test_unusable_token_files_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe("micro", overrides)


@pytest.mark.parametrize(
    ("override", "field", "remedy"),
    [
        ("--stagse.x=1", "stagse", "did you mean 'stages'?"),
        ("--stages.stage1.tokns=2M", "stages.stage1.tokns (value '2M')", "did you mean 'tokens'?"),
        ("--stages.stage1.optimizer.beta3=2", "stages.stage1.optimizer.beta3 (value 2)", "did you mean 'beta2'?"),
        ("--corpora.wisdom.hedlout=0.2", "corpora.wisdom.hedlout (value 0.2)", "did you mean 'heldout'?"),
        ("--corpora.wisdom.source.bok=ruth", "corpora.wisdom.source", "did you mean 'books'?"),
        ("--model.d_modl=5", "model.d_modl (value 5)", "did you mean 'd_model'?"),
    ],
)
def test_unknown_field_suggests_nearest(override: str, field: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_recipe("micro", [override])
    assert str(error.value).startswith(f"recipe micro: {field}")
    assert str(error.value).endswith(f"no such field; {remedy}")


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("--stages.stage1.batch_size=many", "stages.stage1.batch_size (value 'many')"),
        ("--stages.stage1.tokens=2.5", "stages.stage1.tokens (value 2.5)"),
        ("--stages.stage1.tokens=-4", "stages.stage1.tokens (value -4)"),
        ("--stages.stage1.seeds=7", "stages.stage1.seeds (value 7)"),
        ("--stages.stage1.seeds=[]", "stages.stage1.seeds"),
        ("--stages.stage2.seeds=[4, 2, 4]", "stages.stage2"),
        ("--stages.stage1.precision=fp64", "stages.stage1.precision (value 'fp64')"),
        ("--stages.stage1.schedule.kind=cosin", "stages.stage1.schedule.kind (value 'cosin')"),
        ("--stages.stage2.schedule.final=1.5", "stages.stage2.schedule.final (value 1.5)"),
        ("--stages.stage1.checkpoint_every=0", "stages.stage1.checkpoint_every (value 0)"),
        ("--mixes.anneal.weights=3", "mixes.anneal.weights (value 3)"),
        ("--release.dtype=float8", "release.dtype (value 'float8')"),
        ("--tokenizer.kind=bpee", "tokenizer.kind (value 'bpee')"),
        ("--corpora={}", "corpora"),
        ("--name=Big Model", "name (value 'Big Model')"),
        ("--stages.stage2.seeds=[-1, 2]", "stages.stage2.seeds.0 (value -1)"),
    ],
)
def test_wrong_value_is_named_with_its_field(override: str, field: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_recipe("micro", [override])
    assert str(error.value).startswith(f"recipe micro: {field}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--stages.stage1.mix=pretrian", "stages.stage1.mix: 'pretrian' is not defined; did you mean 'pretrain'?"),
        ("--stages.stage2.start=stage9", "stages.stage2.start: 'stage9' is not defined; did you mean 'stage2'?"),
        ("--stages.stage2.start=the end", "'the end' is not a checkpoint; write stage, stage/ingredient"),
        ("--soups.soup.ingredients=[zzz]", "soups.soup.ingredients: 'zzz' is not defined; there are stage1, stage2"),
        ("--mixes.anneal.weights.wisdm=1", "mixes.anneal.weights: 'wisdm' is not defined; did you mean 'wisdom'?"),
        ("--release.candidates=[sop]", "release.candidates: 'sop' is not defined; did you mean 'soup'?"),
        (
            "--release.card.license=Apache License 2.0",
            "release.card.license (value 'Apache License 2.0'): not a licence identifier of the Hub, where 'other' "
            "stands for any other licence; did you mean 'apache-2.0'?",
        ),
        (
            "--release.card.languages=[no, english]",
            "release.card.languages.1 (value 'english'): not an ISO 639 language code; did you mean",
        ),
        ("--evaluation.heldout=[wisdm]", "evaluation.heldout: 'wisdm' is not defined; did you mean 'wisdom'?"),
        ("--evaluation.package=tasks", "evaluation.package: 'tasks' is not defined; there are none"),
        ("--tokenizer_corpora=[wisdm]", "tokenizer_corpora: 'wisdm' is not defined; did you mean 'wisdom'?"),
        ("--stages.stage1.sequence_length=4096", "sequence_length 4096 is longer than the model's context_length 128"),
        ("--model.preset=tny", "no model preset is called 'tny'; the nearest is 'tiny'"),
        ("--model.n_heads=5", "n_heads"),
        (
            "--stages.stage1.groups=[{seeds: [1], mix: pretrain, tokens: 3}]",
            "stages.stage1: mix, seeds, tokens and groups exclude each other",
        ),
        ("--stages.stage1.seeds=null", "stages.stage1: seeds required; give them, or give groups"),
    ],
)
def test_inconsistent_parts_are_named_with_remedy(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_recipe("micro", [override])
    assert message in str(error.value)


def test_tokens_accept_all_forms_of_counts() -> None:
    for text in ("64000", "64K", "6.4e4", "64_000"):
        assert load_recipe("micro", [f"--stages.stage1.tokens={text}"]).stages["stage1"].tokens == 64_000


def test_warmup_accepts_forms_of_counts() -> None:
    for text in ("2K", "2e3"):
        recipe = load_recipe("micro", [f"--stages.stage1.schedule.warmup={text}"])
        assert recipe.stages["stage1"].schedule.warmup == 2000


names = st.from_regex(r"[a-z0-9_-]{1,8}", fullmatch=True)


@given(names, st.none() | st.integers(1, 99), st.none() | st.integers(1, 10**6))
def test_reference_is_parsed(name: str, ingredient: int | None, step: int | None) -> None:
    text = name + (f"/{ingredient}" if ingredient else "") + (f"@{step}" if step else "")
    assert reference(text) == (name, ingredient, step)


@pytest.mark.parametrize("text", ["", "a/0", "a@0", "a@", "a/b", "a@1/2", "A", "a b", "a/1/2", "a\n"])
def test_invalid_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a checkpoint"):
        reference(text)


def test_ingredients_are_numbered_across_groups() -> None:
    groups = "[{seeds: [1, 2, 3], mix: anneal, tokens: 4K}, {seeds: [1], mix: anneal, tokens: 12K}]"
    changes = [
        f"--stages.stage2.groups={groups}",
        *(f"--stages.stage2.{key}=null" for key in ("seeds", "mix", "tokens")),
    ]
    stage = load_recipe("micro", changes).stages["stage2"]
    assert [(number, seed, group.tokens) for number, seed, group in stage.runs()] == [
        (1, 1, 4000),
        (2, 2, 4000),
        (3, 3, 4000),
        (4, 1, 12000),
    ]


def test_recipe_name_must_match_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: micro\nname: yours\n")
    with pytest.raises(ConfigError, match="name: yours: a recipe has the name of its file"):
        load_recipe(str(path))
    path.write_text("base: micro\nname: mine\n")
    assert load_recipe(str(path)).name == "mine"
