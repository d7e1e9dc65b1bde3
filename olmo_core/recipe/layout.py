"""Turns a recipe into its plan: every step of the release, with its inputs. `plan` defines the plan itself."""

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from olmo_core.artifact.identity import Step
from olmo_core.documents.corpus import CorpusConfig, corpus_step, shards_of
from olmo_core.documents.file_digests import FileDigests
from olmo_core.documents.listing import File, ListingError, list_files
from olmo_core.documents.package import package_step
from olmo_core.documents.sources.files import FileSource
from olmo_core.evaluate.step import heldout_result_step, task_result_step
from olmo_core.evaluate.task import HELDOUT, task_step
from olmo_core.hub.export import export_step
from olmo_core.hub.names import MAIN, in_order, revision_name
from olmo_core.hub.pretrained import PretrainedConfig, pretrained_step, pretrained_tokenizer_step
from olmo_core.hub.revision import main_step, revision_step
from olmo_core.recipe.overrides import faults
from olmo_core.recipe.plan import Plan, Revision, Run
from olmo_core.recipe.recipe import Recipe, reference
from olmo_core.recipe.stage import SeedGroup, Stage
from olmo_core.soup.decision import decision_step
from olmo_core.soup.step import SoupConfig, soup_step
from olmo_core.tokens.mix import mix_step
from olmo_core.tokens.published import token_files_step
from olmo_core.tokens.token_file import tokens_step
from olmo_core.tokens.tokenizer import BpeConfig, tokenizer_step
from olmo_core.train.config import TrainingConfig
from olmo_core.train.step import checkpoint_step, run_step, saved_after


def lay_out(recipe: Recipe, digests: FileDigests | None = None) -> Plan:
    """Return the plan of a release; the files that its corpora are read from are listed as they are now.

    Args:
        recipe: the release.
        digests: digests of local files that have been read before.

    Raises:
        ValueError: the recipe's graph has a loop, names a checkpoint that no run makes, or contains a value that the
            code of a step refuses; or the files of a corpus cannot be listed.
    """
    plan = Plan(recipe)
    plan.packages = {name: package_step(config) for name, config in recipe.packages.items()}
    for name, corpus_config in recipe.corpora.items():
        listed = _listed(name, corpus_config, digests or FileDigests())
        plan.corpora[name] = corpus_step(name, corpus_config, plan.packages, listed)
    plan.tokenizer = _tokenizer(plan)
    for name, corpus in plan.corpora.items():
        for shard, documents in enumerate(shards_of(corpus)):
            plan.documents[f"{name}/{shard:05d}"] = documents
            plan.tokens[f"{name}/{shard:05d}"] = tokens_step(corpus, shard, plan.tokenizer)
    for name, files in recipe.token_files.items():
        for shard in range(files.shards):
            plan.tokens[f"{name}/{shard:05d}"] = token_files_step(name, files, shard, plan.tokenizer)
    _lay_out_graph(plan)
    _lay_out_evaluation(plan)
    _lay_out_revisions(plan)
    return plan


def lay_out_repository(
    recipe: Recipe, repo: str, revisions: Mapping[str, str], digests: FileDigests | None = None
) -> Plan:
    """Return a plan that evaluates the revisions of a Hub repository in the same way as the release's own models.

    Args:
        recipe: defines the tasks and the held-out text.
        repo: `organisation/name`.
        revisions: name -> commit. The commit bears the identity: two names of one commit share its steps.
        digests: digests of local files that have been read before.
    """
    plan = lay_out(recipe, digests)
    plan.repository = repo
    results: dict[str, dict[str, Step]] = {}
    for name in in_order(revisions):
        commit = revisions[name]
        if commit not in results:
            config, label = PretrainedConfig(repo=repo, revision=commit), f"{repo.partition('/')[2]}-{name}"
            model, tokenizer = pretrained_step(config, label), pretrained_tokenizer_step(config, label)
            results[commit] = _results(plan, model, tokenizer)
        plan.published[name] = results[commit]
    return plan


def _listed(name: str, config: CorpusConfig, digests: FileDigests) -> list[File]:
    if not isinstance(config.source, FileSource):
        return []
    try:
        listed = list_files(config.source.paths, digests.of)
    except ListingError as error:
        raise ListingError(f"corpora.{name}.source.paths: {error}") from error
    finally:
        digests.save()
    return listed


def _tokenizer(plan: Plan) -> Step:
    config = plan.recipe.tokenizer
    if isinstance(config, BpeConfig):
        names = plan.recipe.tokenizer_corpora or tuple(plan.recipe.corpora)
        return tokenizer_step("bpe", config, {name: plan.corpora[name] for name in names})
    return tokenizer_step(config.kind, config, plan.packages)


def _lay_out_graph(plan: Plan) -> None:
    """Add stages and soups, each after those it starts from."""
    recipe = plan.recipe
    waiting: dict[str, set[str]] = {
        name: {reference(stage.start)[0]} if isinstance(stage.start, str) else set()
        for name, stage in recipe.stages.items()
    }
    waiting |= {name: {reference(each)[0] for each in soup.ingredients} for name, soup in recipe.soups.items()}
    while waiting:
        ready = [name for name, needs in waiting.items() if not needs & waiting.keys()]
        if not ready:
            raise ValueError(f"stages and soups start from each other in a loop: {', '.join(sorted(waiting))}")
        for name in ready:
            del waiting[name]
            if name in recipe.stages:
                plan.runs[name] = list(_runs(plan, name, recipe.stages[name]))
            else:
                soup = recipe.soups[name]
                sources = [step for each in soup.ingredients for step in _resolve(plan, each)]
                config = SoupConfig.model_validate(soup.model_dump(exclude={"ingredients"}))
                plan.soups[name] = soup_step(config, {f"ingredient{i}": s for i, s in enumerate(sources, 1)}, name)


def _runs(plan: Plan, name: str, stage: Stage) -> Iterator[Run]:
    several = sum(len(group.seeds) for group in stage.all_groups) > 1
    start, model = _start(plan, name, stage), plan.recipe.shape_of(name)
    for number, seed, group in stage.runs():
        config = _training(name, stage, seed, group)
        label = f"{name}-ingredient{number}" if several else name
        mix = _mix(plan, group.mix, config)
        run = run_step(label, config, model, mix, start, _heldout(plan), stage.model.given)
        checkpoints = {update: checkpoint_step(run, update) for update in saved_after(config)}
        yield Run(name, number if several else None, seed, group, config, model, run, checkpoints)


def _training(name: str, stage: Stage, seed: int, group: SeedGroup) -> TrainingConfig:
    try:
        return stage.training(seed, group)
    except ValidationError as error:
        raise ValueError("; ".join(faults(type(stage), error, f"stages.{name}."))) from None


def _start(plan: Plan, name: str, stage: Stage) -> Step | None:
    if stage.start is None:
        return None
    if not isinstance(stage.start, str):
        return pretrained_step(stage.start)
    found = _resolve(plan, stage.start)
    if len(found) != 1:
        raise ValueError(f"stages.{name}.start: {stage.start} is {len(found)} checkpoints; name one, such as stage/1")
    return found[0]


def _mix(plan: Plan, mix: str, training: TrainingConfig) -> Step:
    """Return the mix of a run, sized to the whole batches that the run draws, so that no instance is repeated."""
    key = (mix, training.whole_tokens, training.sequence_length)
    if key not in plan.mixes:
        config = plan.recipe.mixes[mix]
        inputs = {role: step for role, step in plan.tokens.items() if role.rpartition("/")[0] in config.weights}
        same = [each for each in plan.mixes if each[0] == mix]
        name = mix if not same else f"{mix}-{len(same) + 1}"
        plan.mixes[key] = mix_step(name, config, *key[1:], plan.recipe.mix_seed, inputs)
    return plan.mixes[key]


def _resolve(plan: Plan, text: str) -> list[Step]:
    """Return the checkpoints or the soup that a reference names."""
    name, ingredient, at = reference(text)
    if name in plan.soups:
        return [plan.soups[name]]
    runs = plan.runs[name]
    if ingredient is not None:
        if ingredient > len(runs):
            raise ValueError(f"{text}: stage {name} has {len(runs)} runs; name one of 1 to {len(runs)}")
        runs = [runs[ingredient - 1]]
    if at is None:
        return [run.end for run in runs]
    for run in runs:
        if at not in run.checkpoints:
            raise ValueError(f"{text}: no checkpoint at step {at}; there are {', '.join(map(str, run.checkpoints))}")
    return [run.checkpoints[at] for run in runs]


def _lay_out_evaluation(plan: Plan) -> None:
    evaluation = plan.recipe.evaluation
    package = plan.packages[evaluation.package] if evaluation.package else None
    plan.tasks = {task.group: task_step(task, evaluation.suite.seed, package) for task in evaluation.suite.tasks}
    for model in [*plan.pretrained(), *plan.checkpoints(), *plan.soups.values()]:
        plan.results[model.id] = _results(plan, model, plan.tokenizer)
    candidates: dict[str, Step] = {}
    for each in plan.recipe.release.candidates:
        for step in _resolve(plan, each):
            ingredients = list(step.inputs.values()) if step.kind == "soup" else []
            candidates |= {source.name: source for source in [step, *ingredients]}
    results = {name: plan.result(step, HELDOUT) for name, step in candidates.items()}
    plan.decision = decision_step(plan.recipe.release.decision, candidates, results)


def _results(plan: Plan, model: Step, tokenizer: Step) -> dict[str, Step]:
    """Return the results of a model by group: held-out text, then the tasks of the suite."""
    scoring = plan.recipe.evaluation.scoring
    results = {HELDOUT: heldout_result_step(scoring, model, tokenizer, _heldout(plan))}
    return results | {group: task_result_step(scoring, model, tokenizer, task) for group, task in plan.tasks.items()}


def _heldout(plan: Plan) -> dict[str, Step]:
    return {name: plan.corpora[name] for name in plan.recipe.scored}


def _lay_out_revisions(plan: Plan) -> None:
    """Add an export of every checkpoint and soup and a revision of every checkpoint, `main` last."""
    release = plan.recipe.release
    for model in [*plan.checkpoints(), *plan.soups.values()]:
        plan.exports[model.id] = export_step(model, plan.tokenizer, release.dtype)
    for name, runs in plan.runs.items():
        rule = plan.recipe.stages[name].names
        for run in runs:
            for at, model in run.checkpoints.items():
                tokens = at * run.config.batch_tokens
                shown = revision_name(rule, name, at, tokens, run.group.tokens, run.ingredient)
                step = revision_step(shown, release.card, plan.exports[model.id], plan.results_of(model))
                plan.revisions.append(Revision(shown, step))
    names = [revision.name for revision in plan.revisions]
    if MAIN in names:
        raise ValueError(f"stages.*.names.overrides: a checkpoint cannot be named {MAIN}; the decision chooses that")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"two checkpoints would be named {twice[0]}; set another rounding or unit in stages.*.names")
    candidates = {step.name: step for step in plan.candidates()}
    exports = {name: plan.exports[step.id] for name, step in candidates.items()}
    results = {name: plan.results_of(step) for name, step in candidates.items()}
    main = main_step(release.card, plan.decision, exports, results, names)
    plan.revisions.append(Revision(MAIN, main))
