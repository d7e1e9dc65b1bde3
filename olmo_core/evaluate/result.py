"""Work of step `result`: score held-out text or a task's items with one model; write the table and its metrics.

`documents.jsonl.gz` holds the raw numbers (see `table`); `results.json` holds the metrics (see `metrics`) and counts
what was left out. `step` declares the step; `scorer` computes the numbers.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from olmo_core.artifact.job import Job
from olmo_core.documents.corpus import read_heldout
from olmo_core.evaluate.instance import Instance, read_instances
from olmo_core.evaluate.metrics import summary
from olmo_core.evaluate.model_cache import model_of
from olmo_core.evaluate.perplexity import Selection, bits, select, windows
from olmo_core.evaluate.scorer import Request, Tree, score
from olmo_core.evaluate.step import DOCUMENTS_FILE, RESULTS_FILE, EvaluationConfig
from olmo_core.evaluate.table import ChoiceScore, HeldoutRow, Row, TaskRow, rounded, write_table
from olmo_core.evaluate.task import REQUESTS_FILE, TASK_FILE
from olmo_core.model.transformer import Transformer
from olmo_core.tokens.special_tokens import SPECIAL_TOKENS_FILE, TOKENIZER_FILE


class Encoder:
    """The tokenizer of a release, for plain text: special tokens in it are encoded as ordinary text."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        special = json.loads((folder / SPECIAL_TOKENS_FILE).read_bytes())
        self.eos: int = special["eos_id"]
        self.vocab_size: int = special["vocab_size"]

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]


class Evaluation:
    """Scores rows with one model and reports progress in tokens."""

    def __init__(self, job: Job, model: Transformer, encode: Encoder) -> None:
        self._job, self._model, self.encode = job, model, encode
        self.context_length = model.config.context_length
        self._done = self._total = 0

    def score(self, rows: Sequence[Sequence[Request]]) -> list[list[float]]:
        """Return the log-likelihood of every request, row by row."""
        trees = [Tree.of(row) for row in rows]
        self._total += sum(len(tree) for tree in trees)
        return score(self._model, trees, self._job.placement.threads, self._report)

    def _report(self, tokens: int) -> None:
        self._done += tokens
        self._job.progress(self._done, self._total, "tokens")


def score_heldout(job: Job) -> dict[str, Any]:
    """Write the table of all held-out documents and `results.json`; return the latter.

    Raises:
        ValueError: model and tokenizer do not match, or an input file is malformed.
    """
    config = EvaluationConfig.model_validate(job.fields)
    selections = {
        role.removeprefix("heldout/"): select(
            read_heldout(job.inputs[role].path), config.heldout_bytes, config.document_bytes
        )
        for role in sorted(job.inputs)
        if role.startswith("heldout/")
    }
    rows = heldout_rows(_evaluation(job), selections)
    results = summary(rows)
    for source, selection in selections.items():
        results["heldout"].setdefault(source, {"documents": 0})["left_out"] = {
            "documents": selection.left_out_documents,
            "bytes": selection.left_out_bytes,
        }
    return _written(job, rows, results)


def score_task(job: Job) -> dict[str, Any]:
    """Write the table of a task's items and `results.json`; return the latter. Raises as `score_heldout` does."""
    task = job.inputs["task"].path
    facts = json.loads((task / TASK_FILE).read_bytes())
    rows = task_rows(_evaluation(job), list(read_instances(task / REQUESTS_FILE)))
    results = summary(rows)
    entry = results["tasks"].setdefault(facts["task"], {"documents": 0})
    entry |= {"primary": facts["primary"], "too_long": facts["documents"] - entry["documents"]}
    return _written(job, rows, results)


def _evaluation(job: Job) -> Evaluation:
    encode = Encoder(job.inputs["tokenizer"].path)
    model = model_of(job.inputs["model"], job.placement.device, job.fields["precision"])
    if encode.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {encode.vocab_size} tokens, but the model {job.inputs['model'].step.label} has "
            f"{model.config.vocab_size}; evaluate it with the tokenizer it was trained with"
        )
    return Evaluation(job, model, encode)


def _written(job: Job, rows: Sequence[Row], results: dict[str, Any]) -> dict[str, Any]:
    write_table(job.out / DOCUMENTS_FILE, rows)
    (job.out / RESULTS_FILE).write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    return results


def heldout_rows(evaluation: Evaluation, selections: dict[str, Selection]) -> list[HeldoutRow]:
    """Score the selected documents of every source."""
    documents = [(source, document) for source in selections for document in selections[source].documents]
    encoded = evaluation.encode([document.text for _, document in documents])
    requests = [windows(tokens, evaluation.encode.eos, evaluation.context_length) for tokens in encoded]
    scores = iter(evaluation.score([[window] for document in requests for window in document]))
    return [
        HeldoutRow(
            source=source,
            id=document.id,
            bits=rounded(bits(sum(next(scores)[0] for _ in own))),
            bytes=document.bytes,
            tokens=len(tokens),
        )
        for (source, document), tokens, own in zip(documents, encoded, requests, strict=True)
    ]


def task_rows(evaluation: Evaluation, instances: Sequence[Instance]) -> list[TaskRow]:
    """Score every item whose choices fit the context length; the others are left out and counted by task."""
    asked = [(instance, *_requests(evaluation, instance)) for instance in instances]
    fitting = [(instance, requests, cut) for instance, requests, cut in asked if requests]
    scores = evaluation.score([requests for _, requests, _ in fitting])
    return [
        TaskRow(
            task=instance.task,
            id=instance.id,
            gold=instance.gold,
            choices=_choices(instance, requests, values),
            truncated=cut,
        )
        for (instance, requests, cut), values in zip(fitting, scores, strict=True)
    ]


def _requests(evaluation: Evaluation, instance: Instance) -> tuple[list[Request], int]:
    """Return an item's requests, unconditional ones last, and the tokens its contexts lost; none if it cannot fit.

    Context and choice are encoded separately (as in OLMo's in-loop evaluation), so that choices share their context.
    All contexts of an item are cut on the left to the length that its longest choice leaves.
    """
    choices = evaluation.encode(instance.choices)
    room = evaluation.context_length + 1 - max(len(choice) for choice in choices)
    if room < 1:
        return [], 0
    texts = list(instance.contexts) + ([] if instance.unconditional is None else [instance.unconditional])
    contexts = [ids or [evaluation.encode.eos] for ids in evaluation.encode(texts)]
    cut = max(0, max(len(context) for context in contexts) - room)
    contexts = [context[-room:] for context in contexts]
    requests: list[Request] = list(zip(contexts, choices, strict=False))
    if instance.unconditional is not None:
        requests += [(contexts[-1], choice) for choice in choices]
    return requests, cut


def _choices(instance: Instance, requests: Sequence[Request], values: Sequence[float]) -> tuple[ChoiceScore, ...]:
    count = len(instance.choices)
    without: Sequence[float | None] = values[count:] or [None for _ in range(count)]
    return tuple(
        ChoiceScore(
            loglikelihood=rounded(value),
            tokens=len(continuation),
            characters=len(text),
            bytes=len(text.encode()),
            unconditional=None if alone is None else rounded(alone),
        )
        for text, (_, continuation), value, alone in zip(
            instance.choices, requests[:count], values[:count], without, strict=True
        )
    )
