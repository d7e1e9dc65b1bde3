"""Log-likelihoods of continuations given contexts, for many requests at a time.

The requests of a row form a tree of tokens: a prefix they share (a question, the first words of two answers) passes
through the model once, and every token attends only to its own ancestors. The head is applied only where a continuation
token is predicted. Rows are batched by length; the batches depend on the rows alone and each is computed by one thread,
so the numbers do not depend on the number of threads.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from olmo_core.model.transformer import Transformer

BATCH_TOKENS = 1024  # Tokens of one forward pass, padding included; more gains nothing on a CPU core.
HEAD_ROWS = 128  # Positions passed to the head at a time: 128 x 8192 logits stay in a core's cache.

Request = tuple[Sequence[int], Sequence[int]]  # Context and continuation, as token ids; neither is empty.


@dataclass
class Tree:
    """The requests of one row as a tree.

    Attributes:
        tokens: token of each node, in the order fed to the model: parents first.
        parents: index of each node's parent, -1 at a root.
        depths: number of ancestors of each node, used as its position.
        edges: (node, next token) -> index of that scored prediction.
        paths: for each request, the predictions whose log-probabilities sum to its own.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    edges: dict[tuple[int, int], int] = field(default_factory=dict)
    paths: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, requests: Sequence[Request]) -> "Tree":
        """Build the tree of `requests`; the last token of a continuation is predicted, never fed."""
        tree = cls()
        children: dict[tuple[int, int], int] = {}
        for context, continuation in requests:
            if not context or not continuation:
                raise ValueError("a request needs at least one token of context and one of continuation")
            node, path = -1, []
            sequence = [*context, *continuation]
            for place, token in enumerate(sequence):
                if place >= len(context):
                    path.append(tree.edges.setdefault((node, token), len(tree.edges)))
                if place < len(sequence) - 1:
                    node = tree._child(children, node, token)
            tree.paths.append(path)
        return tree

    def _child(self, children: dict[tuple[int, int], int], node: int, token: int) -> int:
        child = children.setdefault((node, token), len(self.tokens))
        if child == len(self.tokens):
            self.tokens.append(token)
            self.parents.append(node)
            self.depths.append(self.depths[node] + 1 if node >= 0 else 0)
        return child

    def __len__(self) -> int:
        """Return the number of nodes, that is, of tokens fed to the model."""
        return len(self.tokens)

    @property
    def is_chain(self) -> bool:
        """Whether the tree is plain text: every node follows the one before it."""
        return all(parent == node - 1 for node, parent in enumerate(self.parents))

    def ancestry(self, size: int) -> NDArray[np.bool_]:
        """Return a mask (size, size): each row's node attends to the columns of itself and its ancestors."""
        mask = np.eye(size, dtype=np.bool_)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                mask[node] |= mask[parent]
        return mask


def score(
    model: Transformer,
    trees: Sequence[Tree],
    threads: int = 1,
    report: Callable[[int], None] = lambda tokens: None,
) -> list[list[float]]:
    """Return for each tree the natural log-likelihood of each of its requests, summed in fp64.

    Args:
        model: in evaluation mode, on the device to compute on.
        trees: the rows.
        threads: batches computed in parallel, each by one thread.
        report: called after each batch with its number of tokens.
    """
    results: list[list[float]] = [[] for _ in trees]
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            batches = in_batches([len(tree) for tree in trees])
            scored = pool.map(lambda batch: _score_batch(model, [trees[index] for index in batch]), batches)
            for batch, values in zip(batches, scored, strict=True):
                for index, value in zip(batch, values, strict=True):
                    results[index] = value
                report(sum(len(trees[index]) for index in batch))
    finally:
        # Threads started later use the number set last, from whichever thread.
        torch.set_num_threads(before)
    return results


def in_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Return batches of row numbers, longest rows first, each of at most `BATCH_TOKENS` padded tokens or one row."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(index)
    return batches


@torch.inference_mode()
def _score_batch(model: Transformer, trees: list[Tree]) -> list[list[float]]:
    """Return the log-likelihood of every request of every tree, from one forward pass."""
    device = model.head.weight.device
    length = max(len(tree) for tree in trees)
    tokens = torch.from_numpy(_padded([tree.tokens for tree in trees], length)).to(device)
    positions = readable = None
    if not all(tree.is_chain for tree in trees):
        positions = torch.from_numpy(_padded([tree.depths for tree in trees], length)).to(device)
        readable = torch.from_numpy(np.stack([tree.ancestry(length) for tree in trees])).unsqueeze(1).to(device)
    places = np.array([row * length + node for row, tree in enumerate(trees) for node, _ in tree.edges])
    targets = np.array([token for tree in trees for _, token in tree.edges])
    states = model.states(tokens, positions, readable).flatten(0, 1)
    logprobs = _logprobs(model, states, places, targets)
    values, start = [], 0
    for tree in trees:
        own = logprobs[start : start + len(tree.edges)]
        values.append([float(own[path].sum()) for path in tree.paths])
        start += len(tree.edges)
    return values


def _logprobs(
    model: Transformer, states: Tensor, places: NDArray[np.int64], targets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the log-probability of each target after the state at its place; the head runs once per place."""
    unique, owner = np.unique(places, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    out = np.empty(len(places), dtype=np.float64)
    for start in range(0, len(unique), HEAD_ROWS):
        logits = model.head(states[torch.from_numpy(unique[start : start + HEAD_ROWS]).to(states.device)]).float()
        first, last = np.searchsorted(owner[order], [start, start + HEAD_ROWS])
        edges = order[first:last]
        rows, columns = (torch.from_numpy(part).to(states.device) for part in (owner[edges] - start, targets[edges]))
        out[edges] = (logits[rows, columns] - logits.logsumexp(-1)[rows]).cpu().numpy()
    return out


def _padded(rows: list[list[int]], length: int) -> NDArray[np.int64]:
    out = np.zeros((len(rows), length), dtype=np.int64)
    for number, row in enumerate(rows):
        out[number, : len(row)] = row
    return out
