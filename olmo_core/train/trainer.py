"""One training step on one rank: loss, backward, sum over ranks, clip, update.

`objectives` defines the loss, `loop` repeats the step.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from olmo_core.model.config import ModelConfig
from olmo_core.model.transformer import Transformer
from olmo_core.train.compilation import compiles
from olmo_core.train.compile_cache import remove_torn
from olmo_core.train.distributed.group import device_of
from olmo_core.train.distributed.parallel import Parallel, Replicas, Shards, initialize, local, mesh_of
from olmo_core.train.distributed.process import can_compile
from olmo_core.train.distributed.strict import CanonicalShards
from olmo_core.train.float8 import to_float8
from olmo_core.train.forward import Forward
from olmo_core.train.objectives.objective import TARGETS, Objective, Rows
from olmo_core.train.optimizer import build_optimizer
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.recompute import recompute
from olmo_core.train.skip import SkipStep
from olmo_core.train.step_values import StepValues

# Kernels read the number of threads at run time, so a run with one thread reuses those compiled for two.
COMPILATION: dict[str, Any] = {"cpp.dynamic_threads": True}


class Trainer:
    """Model and optimizer of a run, and the step that updates them. Weights are undefined until drawn or loaded.

    Blocks and loss are compiled separately. All blocks share one compiled form, so the first step takes as long for 64
    layers as for 4 (11 s against 28 s for `tiny` compiled as a whole on 2 cores, at the same speed afterwards).

    Args:
        model: shape of the model.
        objective: the objective; its config is the run's.
        placement: device, compilation, micro-batches, how weights are shared.
    """

    def __init__(self, model: ModelConfig, objective: Objective[Any], placement: TrainPlacement) -> None:
        self.objective = objective
        self.config = config = objective.config
        self.placement = placement
        self.device = device_of(placement)
        mesh = mesh_of(placement, self.device)
        with torch.device(self.device if mesh is None else "meta"):
            self.model = Transformer(model)
        if config.precision == "float8":
            to_float8(self.model, self.device)
        recompute(self.model, placement.recompute)
        if compiles(model, config, placement) and can_compile():
            from torch._inductor.runtime.cache_dir_utils import cache_dir  # imports a compiler, 0.8 s

            remove_torn(Path(cache_dir()))
            for block in self.model.blocks:
                block.compile(dynamic=False, options=COMPILATION)
            self.objective.compile(partial(torch.compile, dynamic=False, options=COMPILATION))
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
        self._forward = Forward(self.model, config.precision)

    def initialize(self) -> "Trainer":
        """Draw the first weights from the run's seed."""
        initialize(self.model, self.config.seed)
        return self

    def update(self, rows: Rows, rate: float) -> StepValues:
        """Train on this rank's share of a global batch.

        Args:
            rows: this rank's share, from `Objective.rows`.
            rate: learning rate.
        """
        rows = {name: tensor.to(self.device, non_blocking=True) for name, tensor in rows.items()}
        names: tuple[str, ...] = ()

        def backward(part: slice) -> Tensor:
            nonlocal names
            loss = self.objective.loss(self._forward, {name: tensor[part] for name, tensor in rows.items()})
            loss.total.backward()  # type: ignore[no-untyped-call]
            names = tuple(loss.sums)
            return torch.stack(list(loss.sums.values()))  # one tensor, so that ranks add the sums in one message

        totals = self._parallel.accumulate(len(next(iter(rows.values()))), backward)
        sums = dict(zip(names, totals, strict=True))
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        if TARGETS in sums:
            sums = self._over_targets(sums, gradients)
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        skipped = self.skip_step.skips(sums["loss"], norm).float() if self.skip_step is not None else None
        self._move(rate, norm, skipped)
        return StepValues(sums, norm, skipped)

    def _over_targets(self, sums: Mapping[str, Tensor], gradients: Sequence[Tensor]) -> dict[str, Tensor]:
        """Divide sums and gradients by the share of positions that are targets, so that means are over targets only."""
        share = sums[TARGETS].clamp(min=1 / self.objective.targets)
        torch._foreach_div_([local(gradient) for gradient in gradients], share)
        return {name: value if name == TARGETS else value / share for name, value in sums.items()}

    def _move(self, rate: float, norm: Tensor, skipped: Tensor | None) -> None:
        """Clip the gradients, update the weights unless the step is skipped, and drop the gradients."""
        # The fused kernel divides gradients by the scale as it reads them, which saves a separate pass to clip them.
        self.optimizer.grad_scale = (norm / self.config.max_grad_norm).clamp(min=1.0)  # type: ignore[attr-defined]
        if skipped is not None:
            # Gradient scalers set this after an overflow: the fused kernel then changes neither weights nor moments.
            self.optimizer.found_inf = skipped  # type: ignore[attr-defined]
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
