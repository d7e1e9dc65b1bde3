import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from olmo_core.artifact.identity import canonical
from olmo_core.artifact.job import Job
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.documents.corpus import CorpusConfig, corpus_step
from olmo_core.evaluate.step import EvaluationConfig, heldout_result_step, joined, task_result_step
from olmo_core.evaluate.task import HELDOUT, TaskConfig, task_step
from olmo_core.hub.cache import LocalCache
from olmo_core.hub.card import CardConfig, _cell
from olmo_core.hub.export import export_step
from olmo_core.hub.publication import publish, published
from olmo_core.hub.revision import main_step, make_revision, native_step, revision_step
from olmo_core.hub.target import RevisionFiles
from olmo_core.model.config import ModelConfig
from olmo_core.soup.decision import DecisionConfig, decision_step
from olmo_core.soup.step import SoupConfig, soup_step
from olmo_core.tokens.mix import MixConfig, mix_step
from olmo_core.tokens.token_file import tokens_step
from olmo_core.tokens.tokenizer import BpeConfig, tokenizer_step
from olmo_core.train.config import ScheduleConfig
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.step import checkpoint_step, run_step

REPO = "olmo/test"
PLACEMENT = TrainPlacement(compile=False, threads=1)
CARD = CardConfig(repo=REPO, title="OLMo test", description="A model of *very* few parameters.")
MICRO = "6f9204135dca38d9c4e008572ee0ea0ed2345bcafe0597c517ca144f113fd73a"
STAGE1, ONE, TWO = (
    "stage1-step4-tokens1K",
    "stage2-ingredient1-step2-tokens1K",
    "stage2-ingredient2-step2-tokens1K",
)


def plan():
    """A whole release of a few steps: name of the revision -> its step, `main` last."""
    source = {"reader": "shipped", "file": "micro.jsonl.gz", "sha256": MICRO, "books": ["ecclesiastes", "ruth"]}
    config = {"source": source, "licence": "LicenseRef-public-domain", "heldout": 0.3}
    corpus = corpus_step("ruth", CorpusConfig.model_validate(config), {})
    tokenizer = tokenizer_step("bpe", BpeConfig(kind="bpe", vocab_size=300), {"ruth": corpus})
    tokens = {"ruth/00000": tokens_step(corpus, 0, tokenizer)}
    mix = mix_step("all", MixConfig(weights={"ruth": 1.0}), 1024, 32, 0, tokens)
    model = ModelConfig(
        d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, hidden_size=48, vocab_size=300, context_length=64
    )
    shape = {"batch_size": 8, "sequence_length": 32, "checkpoint_every": 2, "precision": "fp32"}
    falling = ScheduleConfig(kind="cosine", peak=0.01, warmup=256, final=0.5)
    first = run_step("stage1", LanguageModelling(tokens=1024, seed=1, schedule=falling, **shape), model, mix)
    end = checkpoint_step(first, 4)
    to_zero = ScheduleConfig(kind="linear", peak="inherit", final=0.0)
    seconds = [
        run_step(
            f"stage2-ingredient{n}", LanguageModelling(tokens=512, seed=n, schedule=to_zero, **shape), model, mix, end
        )
        for n in (1, 2)
    ]
    ingredients = [checkpoint_step(run, 2) for run in seconds]
    soup = soup_step(SoupConfig(), {f"ingredient{n}": step for n, step in enumerate(ingredients, 1)})
    task = task_step(TaskConfig(name="kinds"), 1234)
    models = {step.name: step for step in (*ingredients, soup)}
    evaluation = EvaluationConfig(heldout_bytes=8000, document_bytes=1000)
    results = {
        name: {
            HELDOUT: heldout_result_step(evaluation, step, tokenizer, {"ruth": corpus}),
            "kinds": task_result_step(evaluation, step, tokenizer, task),
        }
        for name, step in models.items()
    }
    judged = {name: own[HELDOUT] for name, own in results.items()}
    decision = decision_step(DecisionConfig(resamples=100), models, judged)
    exports = {name: export_step(step, tokenizer) for name, step in models.items()}
    revisions = {STAGE1: revision_step(STAGE1, CARD, export_step(end, tokenizer), {})}
    for name, step in zip((ONE, TWO), ingredients, strict=True):
        revisions[name] = revision_step(name, CARD, exports[step.name], results[step.name])
    revisions["main"] = main_step(CARD, decision, exports, results, list(revisions))
    return revisions


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store in which the whole release is made, training and evaluation included."""
    store = Store(tmp_path_factory.mktemp("store"))
    for step in (each for last in plan().values() for each in last.closure()):
        if step.kind != "checkpoint":  # Its run has committed it.
            make(step, store, PLACEMENT)
    return store


@pytest.fixture(scope="module")
def artifacts(store):
    return {name: store.find(step) for name, step in plan().items()}


def text(artifact, name):
    return (artifact.path / name).read_text()


def test_made_again_elsewhere_the_bytes_are_the_same(store, artifacts, tmp_path):
    shutil.copytree(store.root, tmp_path / "elsewhere")
    for kind in ("export", "revision"):
        shutil.rmtree(tmp_path / "elsewhere" / kind)
    elsewhere = Store(tmp_path / "elsewhere")
    for step in (each for last in plan().values() for each in last.closure() if each.kind in {"export", "revision"}):
        make(step, elsewhere, PLACEMENT)
    for name, artifact in artifacts.items():
        again = elsewhere.find(artifact.step)
        assert again.path != artifact.path
        assert again.record.digest == artifact.record.digest, name


def test_a_revision_is_its_export_and_its_papers(artifacts):
    files = {entry.path for entry in artifacts[STAGE1].record.files}
    assert files == {
        "README.md", "lineage.json", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "special_tokens_map.json",
    }  # fmt: skip
    assert {entry.path for entry in artifacts["main"].record.files} == files | {"revisions.txt"}
    for artifact in artifacts.values():
        listed = json.loads(text(artifact, "lineage.json"))["files"]
        assert listed == [each.model_dump() for each in artifact.record.files if each.path != "lineage.json"]
    assert text(artifacts["main"], "revisions.txt") == f"{STAGE1}\n{ONE}\n{TWO}\nmain\n"


def test_lineage_proves_every_id(artifacts):
    """Ids are computed again from what the file says alone, and every input is a step of the file."""
    for artifact in artifacts.values():
        lineage = json.loads(text(artifact, "lineage.json"))
        assert lineage["id"] == artifact.step.id
        known = set()
        for entry in lineage["steps"]:
            payload = {key: entry[key] for key in ("kind", "version", "fields", "inputs")}
            assert hashlib.sha256(canonical(payload).encode()).hexdigest() == entry["id"]
            assert set(entry["inputs"].values()) <= known
            known.add(entry["id"])
        assert lineage["model"] in known


def test_lineage_tells_what_came_out(store, artifacts):
    lineage = json.loads(text(artifacts["main"], "lineage.json"))
    kinds = {entry["kind"] for entry in lineage["steps"]}
    assert kinds >= {
        "documents",
        "corpus",
        "tokenizer",
        "tokens",
        "mix",
        "run",
        "checkpoint",
        "soup",
        "result",
        "decision",
        "export",
    }
    records = {record.id: record for record in store.records()}
    for entry in lineage["steps"]:
        if entry["kind"] == "run" or entry["id"] == lineage["id"]:
            assert "digest" not in entry
        else:
            assert entry["digest"] == records[entry["id"]].digest
            assert entry["environment"] in lineage["environments"]
            assert entry["files"] == [file.model_dump() for file in records[entry["id"]].files]


def test_nothing_of_place_and_time_is_published(store, artifacts):
    record = artifacts["main"].record
    for artifact in artifacts.values():
        for name in ("lineage.json", "README.md", "config.json"):
            held = text(artifact, name)
            assert record.host not in held
            assert str(store.root) not in held
            assert not re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d", held)
            assert "/tmp" not in held and "/home" not in held


def test_main_is_what_the_decision_names(artifacts):
    main = artifacts["main"]
    decision = next(step for role, step in main.step.inputs.items() if role == "decision")
    chosen = main.record.result["candidate"]
    assert native_step(main).name == chosen
    assert decision.inputs[f"candidate/{chosen}"].id == main.record.result["model"]
    export = main.step.inputs[f"export/{chosen}"]
    lineage = json.loads(text(main, "lineage.json"))
    weights = next(file for file in main.record.files if file.path == "model.safetensors")
    (entry,) = [entry for entry in lineage["steps"] if entry["id"] == export.id]
    assert weights.sha256 in {file["sha256"] for file in entry["files"]}
    assert lineage["model"] == main.record.result["model"]


def test_main_follows_the_decision(store, artifacts, tmp_path):
    """With another verdict in the store, main shows another candidate."""
    step = artifacts["main"].step
    inputs = {role: store.find(source) for role, source in step.inputs.items()}
    weights = set()
    for candidate in (role.removeprefix("export/") for role in step.inputs if role.startswith("export/")):
        verdict = {**inputs["decision"].record.result, "main": candidate}
        altered = replace(inputs["decision"], record=inputs["decision"].record.model_copy(update={"result": verdict}))
        out = tmp_path / candidate
        out.mkdir()
        result = make_revision(Job(step, {**inputs, "decision": altered}, out, find=store.find))
        assert result["candidate"] == candidate
        weights.add(hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest())
    assert len(weights) == 3


def test_card_is_valid_and_says_what_was_done(artifacts):
    for name, artifact in artifacts.items():
        card = ModelCard.load(artifact.path / "README.md")
        assert (card.data.license, card.data.library_name) == ("apache-2.0", "transformers")
        assert card.data.pipeline_tag == "text-generation" and card.data.language == ["en"]
        assert f'from_pretrained("{REPO}", revision="{name}")' in card.text
        assert artifact.record.result["model"] in card.text
        assert CARD.description in card.text
        for line in tables(card.text):
            assert len(set(line)) == 1, f"{name}: a table whose rows differ in length"
    stage1, one, main = (text(artifacts[name], "README.md") for name in (STAGE1, ONE, "main"))
    assert "after step 4 of 4 of the run `stage1`, which had seen 1.02 thousand tokens" in stage1
    assert "published without an evaluation" in stage1
    assert "| stage1 | fresh weights | all | 4 | 1,024 | 256 | 1 | cosine from 0.01, 256 tokens of warm-up" in stage1
    assert (
        "| stage2-ingredient1 | stage1-step4 | all | 2 | 512 | 256 | 1 | linear from the last rate of stage1-step4"
        in one
    )
    assert "stage2-ingredient2" not in one
    assert "| ruth | this project | LicenseRef-public-domain |" in one
    decision = artifacts["main"].step.inputs["decision"]
    assert "**Why it is `main`:**" in main and decision.name == "main"
    assert all(f"- `{name}`" in main for name in (STAGE1, ONE, TWO, "main"))


def tables(markdown):
    """Number of cells of each row, by table."""
    rows = []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            rows.append(len(re.findall(r"(?<!\\)\|", line)))
        elif rows:
            yield rows
            rows = []


def test_card_holds_the_numbers_of_the_evaluation(store, artifacts):
    step = artifacts[ONE].step
    assert {role for role in step.inputs if role.startswith("result/")} == {f"result/{HELDOUT}", "result/kinds"}
    result = joined(
        store.find(source).record.result for role, source in step.inputs.items() if role.startswith("result/")
    )
    row = result["heldout"]["ruth"]
    card = text(artifacts[ONE], "README.md")
    assert f"| ruth | {row['bits_per_byte']:.3f} ± {row['stderr']:.3f} | {row['documents']} |" in card
    (values,) = result["tasks"].values()
    assert f"{values['accuracy']:.3f} ± {values['accuracy_stderr']:.3f} | {values['chance']:.3f} |" in card


def test_text_cannot_break_the_card():
    assert _cell("a|b\nc\\") == "a\\|b c\\\\"
    with pytest.raises(ValueError, match="repo"):
        CardConfig(repo='x/y")\nimport os', title="x")


def test_the_whole_release_is_published_and_loads(store, artifacts, tmp_path, capsys):
    target = LocalCache(tmp_path, REPO)
    for artifact in artifacts.values():
        native = store.find(native_step(artifact)).path
        assert publish(RevisionFiles.of(artifact), native, target).largest_difference < 1e-4
    assert published(target) == [STAGE1, ONE, TWO, "main"]
    (lines,) = re.findall(r"```python\n(.*?)```", text(artifacts["main"], "README.md"), re.S)
    here = f'revision="main", cache_dir={str(tmp_path)!r}, local_files_only=True'
    exec(lines.replace('revision="main"', here), {})
    assert "The history of" in capsys.readouterr().out, "the lines of the card, with what it says of a local folder"
    assert all(publish(RevisionFiles.of(a), store.find(native_step(a)).path, target).reused for a in artifacts.values())


def test_every_candidate_needs_an_export(artifacts):
    main = artifacts["main"].step
    exports = {role.removeprefix("export/"): step for role, step in main.inputs.items() if role.startswith("export/")}
    del exports["soup"]
    with pytest.raises(ValueError, match="main may become soup, which has no export"):
        main_step(CARD, main.inputs["decision"], exports, {}, [])


def test_planning_needs_no_heavy_import():
    code = (
        "import sys, olmo_core.hub.export, olmo_core.hub.names, olmo_core.hub.revision\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'huggingface_hub', 'jinja2', 'numpy'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
