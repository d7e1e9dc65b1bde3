"""One training step on one rank: forward, loss, backward, sum over ranks, clip, update. The loop is in `loop`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from olmo_core.model.config import ModelConfig
from olmo_core.model.transformer import Transformer
from olmo_core.train.attention_mask import document_mask
from olmo_core.train.compilation import compiles
from olmo_core.train.compile_cache import remove_torn
from olmo_core.train.config import TrainingConfig
from olmo_core.train.distributed.group import device_of
from olmo_core.train.distributed.parallel import Parallel, Replicas, Shards, initialize, local, mesh_of
from olmo_core.train.distributed.process import can_compile
from olmo_core.train.distributed.strict import CanonicalShards
from olmo_core.train.float8 import to_float8
from olmo_core.train.objectives.loss import IGNORED, head_loss, shifted_labels, slice_loss
from olmo_core.train.optimizer import build_optimizer
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.recompute import recompute
from olmo_core.train.skip import SkipStep
from olmo_core.train.step_values import StepSums, StepValues

# Kernels that ask for the number of threads when they run: a run with one thread uses what one with two has compiled.
COMPILATION: dict[str, Any] = {"cpp.dynamic_threads": True}


class Trainer:
    """Model and optimizer of a run, and the step that moves them. Weights are undefined until drawn or loaded.

    Blocks and loss are compiled each on their own: blocks share one compiled form, so a first step takes as long for 64
    layers as for 4 (11 s against 28 s for the whole `tiny` model on 2 cores, at the same speed afterwards).

    Args:
        model: shape.
        config: how to train.
        placement: device, compilation, micro-batches, how weights are shared.
        masked: whether `update` is given which tokens are targets.
    """

    def __init__(
        self, model: ModelConfig, config: TrainingConfig, placement: TrainPlacement, masked: bool = False
    ) -> None:
        self.config = config
        self.placement = placement
        self.device = device_of(placement)
        self._masked = masked
        mesh = mesh_of(placement, self.device)
        with torch.device(self.device if mesh is None else "meta"):
            self.model = Transformer(model)
        if config.precision == "float8":
            to_float8(self.model, self.device)
        recompute(self.model, placement.recompute)
        self._slice_loss = slice_loss
        if compiles(model, config, placement) and can_compile():
            from torch._inductor.runtime.cache_dir_utils import cache_dir  # imports a compiler, for 0.8 s

            remove_torn(Path(cache_dir()))
            for block in self.model.blocks:
                block.compile(dynamic=False, options=COMPILATION)
            self._slice_loss = torch.compile(slice_loss, dynamic=False, options=COMPILATION)
        self._parallel: Parallel
        if mesh is not None:
            self._parallel = Shards(self.model, mesh, placement.micro_batch)
            self.model.to_empty(device=self.device)
        elif config.canonical_shards is not None:
            self._parallel = CanonicalShards(self.model, config.canonical_shards)
        else:
            self._parallel = Replicas(self.model, placement.micro_batch)
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.skip_step = SkipStep(config.skip_step, self.device) if config.skip_step is not None else None
        self._all_targets = config.batch_size * (config.sequence_length - 1)

    def initialize(self) -> "Trainer":
        """Draw the first weights from the run's seed."""
        initialize(self.model, self.config.seed)
        return self

    def update(
        self, tokens: Tensor, rate: float, targets: Tensor | None = None, ends: Tensor | None = None
    ) -> StepValues:
        """Train on this rank's share of a global batch.

        Args:
            tokens: (sequences, sequence_length) ids.
            rate: learning rate.
            targets: which tokens are to be predicted, bool of the same shape; given where the trainer is `masked`.
            ends: which tokens are the last of their document, bool of the same shape; given where attention stays
                within documents.

        Raises:
            ValueError: `targets` or `ends` are missing where they are needed, or given where they are not.
        """
        if (targets is not None) != self._masked or (ends is not None) != self.config.document_attention:
            raise ValueError("a masked trainer needs targets, one with document_attention ends, others neither")
        tokens = tokens.to(self.device, non_blocking=True)
        targets = None if targets is None else targets.to(self.device, non_blocking=True)
        ends = None if ends is None else ends.to(self.device, non_blocking=True)
        labels = shifted_labels(tokens, targets)

        def backward(rows: slice) -> Tensor:
            return self._backward(tokens[rows], labels[rows], None if ends is None else ends[rows]).stacked()

        sums = StepSums.of(self._parallel.accumulate(len(tokens), backward))
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        if sums.targets is not None:
            sums = self._over_targets(sums, sums.targets, gradients)
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        skipped = self.skip_step.skips(sums.loss, norm).float() if self.skip_step is not None else None
        self._move(rate, norm, skipped)
        return StepValues(sums.loss, sums.z_squared, sums.targets, norm, skipped)

    def _backward(self, tokens: Tensor, labels: Tensor, ends: Tensor | None) -> StepSums:
        """Add the gradients of some rows to those there are, and return their sums."""
        config = self.config
        readable = document_mask(ends) if ends is not None else None
        with self._arithmetic():
            states = self.model.states(tokens, readable=readable)
        states = states.flatten(0, 1).to(torch.float32 if config.precision == "fp32" else torch.bfloat16)
        objective, cross_entropy, z_squared = head_loss(
            states, self.model.head.weight, labels.flatten(), self._all_targets, config.z_loss, self._slice_loss
        )
        objective.backward()  # type: ignore[no-untyped-call]
        targets = (labels != IGNORED).sum() / self._all_targets if self._masked else None
        return StepSums(cross_entropy, z_squared, targets)

    def _over_targets(self, sums: StepSums, targets: Tensor, gradients: Sequence[Tensor]) -> StepSums:
        """Divide sums and gradients by the share of tokens that were targets: means are over these alone."""
        share = targets.clamp(min=1 / self._all_targets)
        torch._foreach_div_([local(gradient) for gradient in gradients], share)
        return StepSums(sums.loss / share, sums.z_squared / share, targets)

    def _move(self, rate: float, norm: Tensor, skipped: Tensor | None) -> None:
        """Clip the gradients, let the optimizer move the weights unless the step is skipped, and drop the gradients."""
        # The fused kernel divides by the scale as it reads gradients: no pass of its own to clip them.
        self.optimizer.grad_scale = (norm / self.config.max_grad_norm).clamp(min=1.0)  # type: ignore[attr-defined]
        if skipped is not None:
            # As gradient scalers do for an overflow: the fused kernel then touches neither weights nor moments.
            self.optimizer.found_inf = skipped  # type: ignore[attr-defined]
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _arithmetic(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision != "fp32")
