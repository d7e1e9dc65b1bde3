import math

import pytest
import torch
from torch import nn
from training_world import EAGER, MODEL, config

from olmo_core.model.transformer import Transformer
from olmo_core.train.float8 import CAPABILITY, to_float8
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.trainer import Trainer

CUDA = torch.device("cuda")


def test_device_without_float8_is_refused_before_first_step() -> None:
    with pytest.raises(ValueError, match=r"precision is float8, .* capability 8\.9, but cpu has none; give bf16$"):
        Trainer(MODEL, config(precision="float8").build_objective(), EAGER)


def test_older_gpu_is_refused_with_its_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    with pytest.raises(ValueError, match=r"but cuda has 8\.0; give bf16$"):
        to_float8(Transformer(MODEL), CUDA)


def test_layer_of_unfit_shape_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: CAPABILITY)
    uneven = MODEL.model_copy(update={"hidden_size": 40})
    with pytest.raises(ValueError, match=r"blocks\.0\.feed_forward\.w1 is 40 x 32; give a width and a hidden_size"):
        to_float8(Transformer(uneven), CUDA)


def test_only_linear_layers_of_blocks_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: CAPABILITY)
    model = Transformer(MODEL)
    names = [name for name, _ in model.named_parameters()]
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    to_float8(model, CUDA)
    assert [name for name, _ in model.named_parameters()] == names
    replaced = {name for name, module in model.named_modules() if type(module).__name__ == "Float8Linear"}
    assert replaced == linear - {"head"}


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < CAPABILITY, reason="no GPU with float8"
)
def test_float8_losses_stay_close_to_bf16() -> None:
    placement = TrainPlacement(device="cuda", compile=False)
    seen = {}
    for precision in ("bf16", "float8"):
        trainer = Trainer(MODEL, config(precision=precision).build_objective(), placement).initialize()
        batch = torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(1))
        seen[precision] = [trainer.update({"tokens": batch}, 1e-2).sums["loss"].item() for _ in range(20)]
    assert all(math.isfinite(loss) for loss in seen["float8"])
    assert seen["float8"][-1] < seen["float8"][0]
    assert seen["float8"] == pytest.approx(seen["bf16"], rel=0.05)
