"""The formulas of docs/sizes.md, to check the figures on the page."""

from dataclasses import dataclass

from olmo_core.model.config import ModelConfig, preset

GB = 1e9
SEQUENCE = 4096  # tokens
SLICE_LOGITS = 2**28  # olmo_core/train/objectives/loss.py, on a GPU
RESERVE = 0.9  # of a GPU's memory; the rest is for CUDA, NCCL and gaps between allocations
NODE = 8  # GPUs


@dataclass(frozen=True)
class Release:
    """One official release: tokens and batch of stage 1, and published tokens/s of one H100, if any."""

    model: str
    tokens: float
    batch: int
    rate: int
    nodes: int


# Tokens and batches: official configs. Rates: OLMo-core's README (1B, 7B, 13B), Ai2's announcement of 32B; bf16.
RELEASES = [
    Release("olmo2-1b", 4.000e12, 512, 55_000, 8),
    Release("olmo2-7b", 3.895e12, 1024, 10_000, 32),
    Release("olmo2-13b", 5.000e12, 2048, 4_600, 64),
    Release("olmo2-32b", 6.056e12, 2048, 1_800, 128),
]


def state(model: ModelConfig) -> float:
    """Return the bytes of weights, gradients and two moments, all fp32."""
    return 16 * model.parameters


def working(model: ModelConfig) -> float:
    """Return the bytes on one GPU without its share of the state: sharded weights, recomputed blocks, one sequence."""
    d, kv, h = model.d_model, model.n_kv_heads * model.head_dim, model.hidden_size
    block = 2 * d * d + 2 * d * kv + 3 * d * h
    gathered = 14 * block + 18 * model.padded_vocab_size * d
    kept = 4 * SEQUENCE * d * model.n_layers
    recomputed = SEQUENCE * (24 * d + 6 * kv + 8 * h)
    return gathered + kept + recomputed + 10 * SLICE_LOGITS


def least_gpus(model: ModelConfig, memory: float) -> int:
    """Return the smallest power of two of GPUs with this much memory that can hold a run."""
    gpus = 1
    while state(model) / gpus + working(model) > RESERVE * memory:
        gpus *= 2
    return gpus


def host_memory(model: ModelConfig, nodes: int) -> float:
    """Return the bytes of one node: system, its share of a checkpoint being written, one export, two evaluations."""
    return 64 * GB + 12 * model.parameters / nodes + 3 * 4 * model.parameters


def memory_row(release: Release) -> list[str]:
    """Return a row of the memory table."""
    model = preset(release.model)
    cells = [model.parameters / GB, state(model) / GB, working(model) / GB]
    gpus = [str(least_gpus(model, memory * GB)) for memory in (80, 141)]
    return [f"`{release.model}`", f"{cells[0]:.2f}", f"{cells[1]:.0f}", f"{cells[2]:.0f}", *gpus]


def time_row(release: Release) -> list[str]:
    """Return a row of the time table."""
    hours = release.tokens / release.rate / 3600
    total = release.nodes * NODE
    seeds = max(n for n in range(1, total + 1) if 3 * n <= total and release.batch % n == 0)
    days = hours / total / 24
    memory = host_memory(preset(release.model), release.nodes) / GB
    cells = [f"{release.tokens / 1e12:.2f}", f"{release.rate:,}", f"{hours:,.0f}", str(release.nodes), f"{days:.0f}"]
    return [f"`{release.model}`", *cells, str(total), str(seeds), f"{memory:.0f}"]


def storage_row(release: Release) -> list[str]:
    """Return a row of the storage table."""
    parameters = preset(release.model).parameters
    steps = release.tokens / (release.batch * SEQUENCE)
    cells = [4 * release.tokens / 1e12, 12 * parameters / GB, 2 * parameters / GB]
    every = steps / 1000 * 2 * parameters / 1e12
    return [
        f"`{release.model}`",
        f"{cells[0]:.1f}",
        f"{cells[1]:.0f}",
        f"{cells[2]:.0f}",
        f"{steps / 1000:.0f}",
        f"{every:.1f}",
    ]
