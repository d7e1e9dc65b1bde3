import gzip
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from olmo_core.artifact.identity import Step
from olmo_core.evaluate.instance import Instance, write_instances
from olmo_core.evaluate.metrics import summary
from olmo_core.evaluate.result import Encoder
from olmo_core.evaluate.step import EvaluationConfig, heldout_result_step, joined, task_result_step
from olmo_core.evaluate.table import HeldoutRow, TaskRow, read_table, write_table
from olmo_core.model.load import save_model
from olmo_core.model.transformer import Transformer

Run = Callable[..., tuple[Path, dict[str, Any]]]
MODEL, TOKENIZER = (Step(kind, kind, 1) for kind in ("checkpoint", "tokenizer"))
PETS, STORY = (Step("task", name, 1, {"name": name}) for name in ("pets", "story"))
SOURCES = {"stories": Step("corpus", "stories", 1), "notes": Step("corpus", "notes", 1)}
TEXTS = {
    "stories": [
        "the cat sat on the mat and the dog lay by the door " * 4,
        "rain fell <|endoftext|> again",
        "",
        "日本語 text",
    ],
    "notes": ["the door", "a quiet street, a dog"],
}


def corpus(folder: Path, texts: list[str]) -> Path:
    folder.mkdir()
    lines = "".join(json.dumps({"id": f"d{number}", "text": text}) + "\n" for number, text in enumerate(texts))
    (folder / "heldout.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder


def task(folder: Path, instances: list[Instance]) -> Path:
    folder.mkdir()
    write_instances(folder / "requests.jsonl.gz", instances)
    facts = {"task": instances[0].task, "available": 9, "documents": len(instances), "primary": "accuracy"}
    (folder / "task.json").write_text(json.dumps(facts))
    return folder


INSTANCES = [
    Instance("pets", 0, ("the cat sat on the",) * 2, (" mat", " door while"), 0, "Answer:"),
    Instance("pets", 1, ("the dog lay by the", "a dog lay by the"), (" street", " street"), 1, "Answer:"),
    Instance("pets", 2, ("the rain fell on the quiet street " * 9,) * 2, (" and", " quiet street"), 0, "Answer:"),
    Instance("pets", 3, ("the",) * 2, (" x" * 99, " mat"), 0, "Answer:"),
]
STORY_INSTANCES = [Instance("story", 0, ("",), (" the cat",), 0)]


@pytest.fixture
def models(model_folder: Path, tokenizer_folder: Path) -> dict[str, Path]:
    return {"model": model_folder, "tokenizer": tokenizer_folder}


@pytest.fixture
def heldout(models: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Inputs of the result on held-out text."""
    return models | {f"heldout/{name}": corpus(tmp_path / name, texts) for name, texts in TEXTS.items()}


@pytest.fixture
def pets(models: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Inputs of the result on the task `pets`."""
    return models | {"task": task(tmp_path / "pets", INSTANCES)}


@pytest.fixture
def story(models: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Inputs of the result on the task `story`."""
    return models | {"task": task(tmp_path / "story", STORY_INSTANCES)}


def on_heldout(**config: Any) -> Step:
    return heldout_result_step(EvaluationConfig(**config), MODEL, TOKENIZER, SOURCES)


def on_task(task: Step = PETS, **config: Any) -> Step:
    return task_result_step(EvaluationConfig(**config), MODEL, TOKENIZER, task)


def loglikelihood(model: Transformer, context: list[int], continuation: list[int]) -> float:
    with torch.no_grad():
        logprobs = model(torch.tensor([context + continuation]))[0].double().log_softmax(-1)
    return sum(float(logprobs[len(context) + place - 1, token]) for place, token in enumerate(continuation))


def test_heldout_bits_match_scoring_one_by_one(run: Run, heldout: dict[str, Path], model: Transformer) -> None:
    out, results = run(on_heldout(), heldout)
    rows = [row for row in read_table(out / "documents.jsonl.gz") if isinstance(row, HeldoutRow)]
    assert results["tasks"] == {}
    assert [(row.source, row.id) for row in rows] == [
        ("notes", "d0"),
        ("notes", "d1"),
        ("stories", "d0"),
        ("stories", "d1"),
        ("stories", "d3"),
    ]
    encode = Encoder(heldout["tokenizer"])
    length = model.config.context_length
    for row in rows:
        text = TEXTS[row.source][int(row.id[1:])]
        (tokens,) = encode([text])
        assert (row.tokens, row.bytes) == (len(tokens), len(text.encode()))
        total = sum(
            loglikelihood(model, ([0, *tokens])[start : start + 1], tokens[start : start + length])
            for start in range(0, len(tokens), length)
        )
        assert row.bits == pytest.approx(-total / math.log(2), abs=1e-3)
    assert any(row.tokens > length for row in rows)  # At least one document needs several windows.
    stories = [row for row in rows if row.source == "stories"]
    entry = results["heldout"]["stories"]
    assert entry["bits_per_byte"] == pytest.approx(
        sum(row.bits for row in stories) / sum(row.bytes for row in stories), rel=1e-6
    )
    assert entry["left_out"] == {"documents": 1, "bytes": 0}  # The empty document.


def test_task_scores_match_scoring_one_by_one(
    run: Run, pets: dict[str, Path], story: dict[str, Path], model: Transformer
) -> None:
    (out, results), (other, others) = run(on_task(), pets), run(on_task(STORY), story)
    tables = [*read_table(out / "documents.jsonl.gz"), *read_table(other / "documents.jsonl.gz")]
    rows = {(row.task, row.id): row for row in tables if isinstance(row, TaskRow)}
    assert sorted(rows) == [("pets", 0), ("pets", 1), ("pets", 2), ("story", 0)]
    encode = Encoder(pets["tokenizer"])
    for instance in INSTANCES[:2] + STORY_INSTANCES:
        row = rows[instance.task, instance.id]
        assert (row.gold, row.truncated) == (instance.gold, 0)
        for context, choice, found in zip(instance.contexts, instance.choices, row.choices, strict=True):
            before, after = encode([context])[0] or [0], encode([choice])[0]
            assert found.loglikelihood == pytest.approx(loglikelihood(model, before, after), abs=1e-4)
            assert (found.tokens, found.characters, found.bytes) == (len(after), len(choice), len(choice.encode()))
            if instance.unconditional is not None:
                alone = loglikelihood(model, encode([instance.unconditional])[0], after)
                assert found.unconditional == pytest.approx(alone, abs=1e-4)
    assert rows["pets", 1].choices[0] != rows["pets", 1].choices[1]  # Same words, another context.
    assert results["heldout"] == {} and results["tasks"].keys() == {"pets"}
    assert results["tasks"]["pets"]["too_long"] == 1
    assert results["tasks"]["pets"]["documents"] == 3
    assert others["tasks"]["story"]["primary"] == "accuracy"


def test_long_context_is_cut_equally_for_all_choices(run: Run, pets: dict[str, Path], model: Transformer) -> None:
    out, results = run(on_task(), pets)
    row = next(row for row in read_table(out / "documents.jsonl.gz") if isinstance(row, TaskRow) and row.id == 2)
    encode = Encoder(pets["tokenizer"])
    context, *choices = encode([INSTANCES[2].contexts[0], *INSTANCES[2].choices])
    room = model.config.context_length + 1 - max(map(len, choices))
    assert row.truncated == len(context) - room > 0
    assert results["tasks"]["pets"]["truncated"] == 1
    for choice, found in zip(choices, row.choices, strict=True):
        assert found.loglikelihood == pytest.approx(loglikelihood(model, context[-room:], choice), abs=1e-4)


def test_special_tokens_in_text_are_encoded_as_text(tokenizer_folder: Path) -> None:
    encode = Encoder(tokenizer_folder)
    (ids,) = encode(["rain <|endoftext|> fell"])
    assert encode.eos not in ids
    assert Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json")).decode(ids, skip_special_tokens=False) == (
        "rain <|endoftext|> fell"
    )


def test_saved_padding_and_truncation_are_ignored(tokenizer_folder: Path, tmp_path: Path) -> None:
    """A tokenizer saved after encoding a padded batch has padding in its file."""
    folder = tmp_path / "padded"
    shutil.copytree(tokenizer_folder, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=1)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(folder / "tokenizer.json"))
    texts = ["the", "the cat sat on the mat by the door"]
    alone = [ids for text in texts for ids in Encoder(tokenizer_folder)([text])]
    assert Encoder(folder)(texts) == alone


@pytest.mark.parametrize(("step", "inputs"), [(on_heldout(), "heldout"), (on_task(), "pets")])
def test_results_follow_from_stored_table(
    step: Step, inputs: str, run: Run, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out, results = run(step, request.getfixturevalue(inputs))
    assert json.loads((out / "results.json").read_text()) == results
    rows = list(read_table(out / "documents.jsonl.gz"))
    again = summary(rows)
    for part in ("heldout", "tasks"):
        assert again[part].keys() == results[part].keys()
        for name, entry in again[part].items():
            assert entry.items() <= results[part][name].items()
    write_table(tmp_path / "again.jsonl.gz", rows)
    assert (tmp_path / "again.jsonl.gz").read_bytes() == (out / "documents.jsonl.gz").read_bytes()


@pytest.mark.parametrize(("step", "inputs"), [(on_heldout(), "heldout"), (on_task(), "pets")])
def test_thread_count_does_not_change_bytes(step: Step, inputs: str, run: Run, request: pytest.FixtureRequest) -> None:
    one, two = (run(step, request.getfixturevalue(inputs), threads=threads)[0] for threads in (1, 2))
    for file in ("documents.jsonl.gz", "results.json"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    assert (one / "documents.jsonl.gz").read_bytes()[4:8] == bytes(4)  # The gzip header's time.


def test_heldout_limits_are_obeyed_and_counted(run: Run, heldout: dict[str, Path]) -> None:
    _, results = run(on_heldout(heldout_bytes=60, document_bytes=20), heldout)
    entry = results["heldout"]["stories"]
    assert entry["bytes"] <= 60
    total = sum(len(text.encode()) for text in TEXTS["stories"])
    assert entry["left_out"]["bytes"] == total - entry["bytes"]
    assert entry["documents"] + entry["left_out"]["documents"] == 4


def test_bf16_result_is_close_to_fp32(run: Run, heldout: dict[str, Path]) -> None:
    (_, full), (_, half) = (run(on_heldout(precision=precision), heldout) for precision in ("fp32", "bf16"))
    one, two = full["heldout"]["stories"]["bits_per_byte"], half["heldout"]["stories"]["bits_per_byte"]
    assert 0 < abs(one - two) < 0.02 * one


def test_progress_ends_at_total(run: Run, heldout: dict[str, Path]) -> None:
    seen: list[tuple[float, float, str]] = []
    run(on_heldout(), heldout, progress=lambda done, total, unit: seen.append((done, total, unit)))
    assert seen[-1][0] == seen[-1][1] > 0
    assert seen[-1][2] == "tokens"
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_tokenizer_of_another_model_is_refused(
    run: Run, heldout: dict[str, Path], model: Transformer, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    config = model.config.model_copy(update={"vocab_size": model.config.vocab_size - 1})
    save_model(other, config, model.state_dict())
    with pytest.raises(ValueError, match=r"the tokenizer has \d+ tokens, but the model checkpoint/checkpoint has \d+"):
        run(on_heldout(), {**heldout, "model": other})


def test_result_step_has_only_relevant_fields_and_inputs() -> None:
    one, other = on_heldout(heldout_bytes=7), on_task(heldout_bytes=7)
    assert (one.label, other.label) == ("result/checkpoint-heldout", "result/checkpoint-pets")
    assert one.inputs.keys() == {"model", "tokenizer", "heldout/stories", "heldout/notes"}
    assert other.inputs.keys() == {"model", "tokenizer", "task"}
    assert one.id != on_heldout().id
    assert one.id != heldout_result_step(EvaluationConfig(), MODEL, TOKENIZER, {"stories": SOURCES["stories"]}).id
    assert other.fields == {"precision": "fp32"} and other.id == on_task().id
    assert other.id != on_task(STORY).id and other.id != on_task(precision="bf16").id


def test_results_of_a_model_are_merged(
    run: Run, heldout: dict[str, Path], pets: dict[str, Path], story: dict[str, Path]
) -> None:
    found = [run(on_heldout(), heldout)[1], run(on_task(), pets)[1], run(on_task(STORY), story)[1]]
    whole = joined(found)
    assert whole == {"heldout": found[0]["heldout"], "tasks": found[1]["tasks"] | found[2]["tasks"]}
    assert joined([]) == {"heldout": {}, "tasks": {}}
