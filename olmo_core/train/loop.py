"""The training loop: batches in, checkpoints out. The same for one process, `torchrun` and Ray Train workers.

A run is a pure function of its config, its mix and its start; where it goes on after a stop changes no byte. What
surrounds it (inputs, the store, where numbers are shown) is handed in by `run`.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed

from olmo_core.artifact.job import Placement, Progress
from olmo_core.data.loader import Loader
from olmo_core.model.transformer import Transformer
from olmo_core.train.checkpoint import Row, Saver, State
from olmo_core.train.config import TrainingConfig
from olmo_core.train.loss import next_token_loss
from olmo_core.train.machine import compiled, peak_flops
from olmo_core.train.optimizer import set_rate
from olmo_core.train.schedule import rate

READ_STEPS = 10  # steps between readings of loss and norm: a reading waits for the device

PRECISION = {"bf16": torch.bfloat16, "fp32": torch.float32}


class DivergedError(ValueError):
    """The loss or the gradient is no finite number any more."""


@dataclass
class Loop:
    """Trains one model over one run.

    Attributes:
        config: how to train.
        model: the network, on its device.
        optimizer: over the model's parameters.
        loader: gives the global batches.
        peak: highest learning rate of the schedule.
        placement: compilation and micro-batch.
        saver: takes checkpoints; None on ranks that commit nothing.
        checkpoints: steps after which a checkpoint is due.
        progress: told how far the run is.
        metrics: told live numbers by step.
    """

    config: TrainingConfig
    model: Transformer
    optimizer: torch.optim.AdamW
    loader: Loader
    peak: float
    placement: Placement
    saver: Saver | None
    checkpoints: frozenset[int]
    progress: Progress
    metrics: Callable[[int, Mapping[str, float]], None]
    history: list[Row] = field(default_factory=list)
    _unread: list[tuple[int, float, Tensor, Tensor, Tensor]] = field(default_factory=list)
    _read_at: float = 0.0

    def run(self, done: int) -> State:
        """Train from step `done` to the end of the run; returns where it ended."""
        config = self.config
        loss = compiled(next_token_loss, self.placement)
        rank, world = ranks()
        total = config.steps * config.tokens_per_step
        state = State(done, done * config.tokens_per_step, 0.0)
        self._read_at = time.perf_counter()
        for step in range(done, config.steps):
            tokens = (step + 1) * config.tokens_per_step
            state = State(step + 1, tokens, rate(config.schedule, self.peak, tokens, total))
            batch = torch.from_numpy(self.loader.batch(step, rank, world)).to(next(self.model.parameters()).device)
            self._step(loss, batch, state, world)
            due = state.step in self.checkpoints
            if due or len(self._unread) == READ_STEPS:
                self._read(total)
            if due and self.saver is not None:
                self.saver.save(self.model, self.optimizer, state, self.history)
                self.history = []
        return state

    def _step(self, loss: Callable[..., tuple[Tensor, Tensor, Tensor]], batch: Tensor, state: State, world: int) -> None:
        """Forward, backward and update; nothing here waits for the device."""
        config = self.config
        targets = torch.tensor(float(config.batch_size * (config.sequence_length - 1)), device=batch.device)
        entropy = torch.zeros((), device=batch.device)
        squared = torch.zeros((), device=batch.device)
        for part in batch.split(self.placement.micro_batch or len(batch)):
            value, own_entropy, own_squared = loss(
                self.model, part, targets, config.z_loss, PRECISION[config.precision]
            )
            value.backward()  # type: ignore[no-untyped-call]
            entropy += own_entropy
            squared += own_squared
        if world > 1:
            _sum_over_ranks([entropy, squared, *(p.grad for p in self.model.parameters() if p.grad is not None)])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        set_rate(self.optimizer, state.rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._unread.append((state.step, state.rate, entropy, squared, norm))

    def _read(self, total: int) -> None:
        """Bring the numbers of the steps since the last reading to the host, all at once."""
        values = torch.stack([torch.stack(row[2:]) for row in self._unread]).tolist()
        now = time.perf_counter()
        speed = len(values) * self.config.tokens_per_step / (now - self._read_at)
        flops = self.model.config.flops_per_token(self.config.sequence_length)
        live = {"tokens_per_second": speed, "utilisation": speed * flops / self._peak_flops()}
        for (step, current, *_), (entropy, squared, norm) in zip(self._unread, values, strict=True):
            if not math.isfinite(entropy + norm):
                raise DivergedError(
                    f"step {step}: loss {entropy}, gradient norm {norm}; lower schedule.peak or lengthen its warmup"
                )
            row = {
                "step": step,
                "tokens": step * self.config.tokens_per_step,
                "loss": entropy,
                "z_loss": squared,
                "grad_norm": norm,
                "lr": current,
            }
            self.history.append(row)
            self.metrics(step, {key: value for key, value in row.items() if key != "step"} | live)
        last = self.history[-1]
        self.progress(last["tokens"], total, "tokens", loss=last["loss"])
        self._unread = []
        self._read_at = time.perf_counter()

    def _peak_flops(self) -> float:
        return peak_flops(self.placement.device) * ranks()[1]


def ranks() -> tuple[int, int]:
    """Return (rank, world size) of this process."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _sum_over_ranks(tensors: list[Tensor]) -> None:
    """Add tensors over all ranks in one exchange."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    torch._foreach_copy_(tensors, [part.view_as(each) for part, each in zip(_cut(flat, tensors), tensors, strict=True)])


def _cut(flat: Tensor, like: list[Tensor]) -> tuple[Tensor, ...]:
    return flat.split([tensor.numel() for tensor in like])
