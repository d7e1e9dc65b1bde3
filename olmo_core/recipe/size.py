"""Amounts of work and data estimated from a recipe alone, before any of its files are read."""

import re

from olmo_core.evaluate.task import HELDOUT
from olmo_core.recipe.recipe import Recipe

# Tokens of a question with its four answers, and of each solved example before it (arc_easy, hellaswag, piqa and sciq
# with the dolma2 tokenizer); tasks without a limit have 100 (copa) to 10,000 items.
ITEM_TOKENS, SHOT_TOKENS, ITEMS = 120, 75, 1000
HELDOUT_BYTES = 1_000_000  # of a source that is scored in full
TOKEN_TEXT = 4  # bytes of text per token


def scoring_flops(recipe: Recipe) -> dict[str, float]:
    """Return group -> floating point operations of one result: a forward pass over everything that is scored."""
    evaluation = recipe.evaluation
    sources = evaluation.heldout or tuple(recipe.corpora)
    tokens = {HELDOUT: len(sources) * (evaluation.scoring.heldout_bytes or HELDOUT_BYTES) / TOKEN_TEXT}
    for task in evaluation.suite.tasks:
        shots = re.search(r"(\d+)shot", task.form)
        tokens[task.group] = (task.limit or ITEMS) * (ITEM_TOKENS + SHOT_TOKENS * (int(shots[1]) if shots else 0))
    forward = recipe.shape.flops_per_token(ITEM_TOKENS) / 3
    return {group: count * forward for group, count in tokens.items()}


def token_file_bytes(recipe: Recipe, corpus: str) -> float:
    """Return the bytes of one shard of published token files, assuming that a mix uses about one epoch of them."""
    files = recipe.token_files[corpus]
    if files.in_place:
        return 0.0
    tokens = 0.0
    for stage in recipe.stages.values():
        for group in stage.all_groups:
            weights = recipe.mixes[group.mix].weights
            tokens = max(tokens, group.tokens * weights.get(corpus, 0.0) / sum(weights.values()))
    return tokens * (2 if recipe.shape.vocab_size <= 2**16 else 4) / files.shards
