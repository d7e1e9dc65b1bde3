"""One training step on one rank: forward, loss, backward, sum over ranks, clip, update. The loop is in `loop`."""

from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from olmo_core.model.config import ModelConfig
from olmo_core.model.transformer import Transformer
from olmo_core.train.config import TrainingConfig
from olmo_core.train.loss import head_loss, shifted_labels, slice_loss
from olmo_core.train.optimizer import build_optimizer

# Kernels that ask for the number of threads when they run: a run with one thread uses what one with two has compiled.
COMPILATION: dict[str, Any] = {"cpp.dynamic_threads": True}


class Trainer:
    """Model and optimizer of a run, and the step that moves them.

    Blocks and loss are compiled each on their own: blocks share one compiled form, so a first step takes as long for 64
    layers as for 4 (11 s against 28 s for the whole `tiny` model on 2 cores, at the same speed afterwards).

    Args:
        model: shape; its first weights are drawn from the run's seed.
        config: how to train.
        device: where the weights lie.
        compile: compile the step.
        micro_batch: sequences of one forward pass; all of a rank's share when None.
    """

    def __init__(
        self,
        model: ModelConfig,
        config: TrainingConfig,
        device: torch.device,
        compile: bool,
        micro_batch: int | None = None,
    ) -> None:
        self.config = config
        self.device = device
        self.micro_batch = micro_batch
        # Drawn on the CPU, so that the first weights do not depend on the device.
        self.model = Transformer(model).initialize(torch.Generator().manual_seed(config.seed)).to(device)
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.slice_loss = slice_loss
        if compile:
            for block in self.model.blocks:
                block.compile(dynamic=False, options=COMPILATION)
            self.slice_loss = torch.compile(slice_loss, dynamic=False, options=COMPILATION)

    def update(self, tokens: Tensor, rate: float) -> Tensor:
        """Train on this rank's share of a global batch.

        Args:
            tokens: (sequences, sequence_length) ids.
            rate: learning rate.

        Returns:
            Cross-entropy, squared log-normaliser (both means over the targets of the global batch) and gradient norm
            before clipping: (3,), on the device, so that reading it can wait.
        """
        tokens = tokens.to(self.device, non_blocking=True)
        sums = torch.zeros(2, device=self.device)
        for part in torch.split(tokens, self.micro_batch or tokens.shape[0]):
            sums += self._backward(part)
        parameters = list(self.model.parameters())
        _sum_over_ranks([sums, *(p.grad for p in parameters if p.grad is not None)])
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return torch.cat((sums, norm.reshape(1)))

    def _backward(self, tokens: Tensor) -> Tensor:
        config = self.config
        with self._arithmetic():
            states = self.model.states(tokens)
        states = states.flatten(0, 1).to(torch.bfloat16 if config.precision == "bf16" else torch.float32)
        labels = shifted_labels(tokens).flatten()
        targets = config.batch_size * (config.sequence_length - 1)
        loss, *sums = head_loss(states, self.model.head.weight, labels, targets, config.z_loss, self.slice_loss)
        loss.backward()  # type: ignore[no-untyped-call]
        return torch.stack(sums)

    def _arithmetic(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")


def _sum_over_ranks(tensors: list[Tensor]) -> None:
    """Replace each tensor by its sum over all ranks, in one message."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    message = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(message)
    parts = torch.split(message, [tensor.numel() for tensor in tensors])
    for tensor, summed in zip(tensors, parts, strict=True):
        tensor.copy_(summed.view_as(tensor))
