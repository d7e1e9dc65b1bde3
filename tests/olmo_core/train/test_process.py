import logging

import pytest
import torch
from torch import Tensor

from olmo_core.artifact.job import Placement
from olmo_core.model.config import preset
from olmo_core.model.transformer import FeedForward
from olmo_core.train.distributed import process
from olmo_core.train.distributed.group import device_of
from olmo_core.train.distributed.process import can_compile, training_process


def test_settings_apply_inside_and_are_restored() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), training_process(Placement(threads=3)):
        assert torch.get_num_threads() == 3
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_compiled_forward_keeps_no_weight_copy_or_gated_product() -> None:
    config = preset("micro")
    layer, x = FeedForward(config), torch.randn(1, 256, config.d_model, requires_grad=True)
    given = {each.untyped_storage().data_ptr() for each in (x, *layer.parameters())}
    weight, wide = config.hidden_size * config.d_model, 256 * config.hidden_size
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.extend([tensor.numel()] if tensor.untyped_storage().data_ptr() not in given else [])
        return tensor

    torch.compiler.reset()
    compiled = torch.compile(layer, backend="aot_eager_decomp_partition")
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with training_process(Placement()), hooks, torch.autocast("cpu"):
        compiled(x)
    assert kept.count(wide) == 2
    assert weight not in kept


def test_missing_compiler_is_logged_and_disables_compilation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "compiler_trouble", lambda: "no compiler; install one")
    with caplog.at_level(logging.WARNING):
        assert not can_compile()
    assert [record.getMessage() for record in caplog.records] == [
        "training without torch.compile: no compiler; install one"
    ]
    monkeypatch.setattr(process, "compiler_trouble", lambda: "")
    assert can_compile()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_missing_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match=r"placement\.device is cuda, but this process sees no GPU"):
        device_of(Placement(device="cuda"))
