"""Matrix products compared with their definition: rounded operands, summed in higher precision."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from olmo_core.artifact.source import environment
from olmo_core.model import arithmetic
from olmo_core.model.arithmetic import Linear, linear, matmul
from olmo_core.model.attention import Mask, rotary
from olmo_core.model.config import ModelConfig
from olmo_core.model.transformer import Block
from olmo_core.train.distributed.process import training_process
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.trainer import Trainer

SHAPE = ModelConfig(d_model=32, n_layers=2, n_heads=2, hidden_size=64, vocab_size=64, context_length=32)
LOWERED = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
ASK = """
import json
from olmo_core.artifact.source import environment
from olmo_core.model.arithmetic import NATIVE_BF16, ONEDNN_FP32
print(json.dumps([NATIVE_BF16, ONEDNN_FP32, environment().arithmetic]))
"""


def operands(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), requires_grad=True)


def rounded(x: Tensor) -> Tensor:
    return x.detach().bfloat16().double()


@pytest.mark.parametrize("native", [True, False])
def test_bf16_products_round_operands_forward_and_backward(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "NATIVE_BF16", native)
    x, weight, gradient = operands(3, 24, 40), operands(56, 40), operands(3, 24, 56)
    with torch.autocast("cpu", torch.bfloat16):
        out = linear(x, weight)
    assert out.dtype is torch.bfloat16
    out.backward(gradient.bfloat16())
    expected = rounded(x) @ rounded(weight).t()
    by_x, by_weight = rounded(gradient) @ rounded(weight), torch.einsum("bsn,bsk->nk", rounded(gradient), rounded(x))
    for ours, right in ((out, expected), (x.grad, by_x), (weight.grad, by_weight)):
        assert ours is not None
        # Half a unit in the last place of bf16, and the possible error of fp32 sums of 72 terms.
        assert torch.allclose(ours.double(), right, rtol=2**-8, atol=1e-5)


def test_unrounded_operands_exceed_the_tolerance() -> None:
    """Without rounded operands, the products above would differ by more than the tolerance."""
    x, weight = operands(3, 24, 40).detach(), operands(56, 40).detach()
    assert not torch.allclose(x.double() @ weight.double().t(), rounded(x) @ rounded(weight).t(), rtol=2**-8, atol=1e-5)


def losses(steps: int, precision: str = "bf16") -> Tensor:
    """Return the cross-entropy of each step on text in which each token makes some others likely."""
    fields = {"seed": 3, "batch_size": 4, "sequence_length": 32, "tokens": 128 * steps, "checkpoint_every": steps}
    schedule = {"kind": "cosine", "peak": 1e-3, "warmup": 256, "final": 0.1}
    training = LanguageModelling.model_validate({**fields, "schedule": schedule, "precision": precision})
    trainer = Trainer(SHAPE, training.build_objective(), TrainPlacement(threads=1)).initialize()
    generator = torch.Generator().manual_seed(5)
    follows = torch.softmax(3 * torch.randn(64, 64, generator=generator), dim=-1)
    columns = [torch.randint(0, 64, (4 * steps,), generator=generator)]
    for _ in range(31):
        columns.append(torch.multinomial(follows[columns[-1]], 1, generator=generator)[:, 0])
    text = torch.stack(columns, dim=1)
    return torch.stack(
        [trainer.update({"tokens": text[4 * step : 4 * step + 4]}, 1e-3).sums["loss"] for step in range(steps)]
    )


def test_native_and_emulated_bf16_losses_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "NATIVE_BF16", True)
    native = losses(100)
    monkeypatch.setattr(arithmetic, "NATIVE_BF16", False)
    emulated = losses(100)
    assert native[-1] < 0.8 * native[0], "the run learned nothing, so equal losses prove nothing"
    assert torch.allclose(native, emulated, rtol=1e-3)
    assert not torch.allclose(native, losses(100, "fp32"), rtol=1e-3), "fp32 losses must differ by more"


class _Seen(TorchDispatchMode):
    """Records the dtypes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(name in str(func) for name in (".mm", ".bmm", ".addmm", "baddbmm", "attention")):
            self.types.add(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("compiled", [False, True])
def test_emulated_step_uses_no_bf16_kernels(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "NATIVE_BF16", False)
    block = Block(SHAPE)
    torch.nn.init.normal_(block.attention.w_q.weight)
    x = operands(2, 32, 32)
    torch.compiler.reset()
    forward = torch.compile(block, backend="aot_eager_decomp_partition") if compiled else block
    with _Seen() as seen, training_process(TrainPlacement(threads=1)):
        with torch.autocast("cpu", torch.bfloat16):
            out = forward(x, rotary(32, 16, 1e4, x.device), Mask.of(x[..., 0]))
        out.sum().backward()
    assert seen.types == {torch.float32}


def test_onednn_matches_plain_fp32_products_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "ONEDNN_FP32", True)
    x, layer, gradient = operands(3, 24, 40), Linear(40, 56), operands(3, 24, 56).detach()
    plain, weight = x.detach().requires_grad_(), layer.weight.detach().requires_grad_()
    layer(x).backward(gradient)
    torch.nn.functional.linear(plain, weight).backward(gradient)
    for ours, right in ((x.grad, plain.grad), (layer.weight.grad, weight.grad)):
        assert ours is not None and right is not None
        assert torch.allclose(ours, right, rtol=1e-5, atol=1e-5)


def test_bf16_matmul_matches_rounded_product() -> None:
    a, b = operands(2, 3, 8, 16).bfloat16(), operands(2, 3, 16, 8).bfloat16()
    assert torch.allclose(matmul(a, b).double(), a.double() @ b.double(), rtol=2**-8, atol=1e-5)


def test_lowered_isa_disables_fast_kernels() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK], env={**os.environ, **LOWERED}, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [False, False, "CPU AVX2, bf16 in fp32"]


def test_record_names_arithmetic_of_this_machine() -> None:
    capability = torch.backends.cpu.get_cpu_capability()
    kernels = "own bf16" if arithmetic.NATIVE_BF16 else "bf16 in fp32"
    assert environment().arithmetic.startswith(f"CPU {capability}, {kernels}")
