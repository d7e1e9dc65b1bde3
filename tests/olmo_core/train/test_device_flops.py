import pytest
import torch

from olmo_core.train import device_flops as peak


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("NVIDIA H200", 989.5e12),
        ("NVIDIA H100 80GB HBM3", 989.5e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA B200", 2.25e15),
        ("AMD Instinct MI300X", 1307.4e12),
    ],
)
def test_peak_flops_of_known_gpus(monkeypatch: pytest.MonkeyPatch, name: str, flops: float) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    peak.peak_flops.cache_clear()
    assert peak.peak_flops(torch.device("cuda", 0), torch.bfloat16) == flops
    peak.peak_flops.cache_clear()
