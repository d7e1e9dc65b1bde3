"""Gradients of replicated weights: summed over micro-batches first, and sent to the other ranks once."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from olmo_core.train.distributed import parallel
from olmo_core.train.distributed.parallel import Replicas, initialize

ROWS = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))


def layer() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


def seen(model: nn.Module, part: slice) -> Tensor:
    """Leave the gradients of a sum over some rows, and return that sum and the number of rows."""
    rows = ROWS[part]
    total = model(rows).square().sum()
    total.backward()  # type: ignore[no-untyped-call]
    return torch.stack([total.detach(), torch.tensor(float(len(rows)))])


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


class Twin:
    """The messages to another rank that holds the same gradients: each sum is twice what was sent."""

    def __init__(self) -> None:
        self.sent: list[Tensor] = []
        self.waited = 0

    def all_reduce(self, tensor: Tensor, async_op: bool = False) -> Any:
        self.sent.append(tensor)
        tensor.mul_(2)
        return self if async_op else None

    def wait(self) -> None:
        self.waited += 1


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Twin:
    found = Twin()
    monkeypatch.setattr(parallel, "rank_and_world", lambda: (0, 2))
    monkeypatch.setattr(dist, "all_reduce", found.all_reduce)
    return found


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 7, 9, None])
def test_micro_batches_add_up_to_the_whole_batch(micro_batch: int | None) -> None:
    whole, parted = layer(), layer()
    expected = seen(whole, slice(0, 7))
    found = Replicas(parted, micro_batch).accumulate(7, lambda part: seen(parted, part))
    assert torch.allclose(found, expected)
    assert found[1] == 7
    for ours, theirs in zip(gradients(parted), gradients(whole), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [2, None])
def test_each_gradient_is_sent_once_and_awaited(twin: Twin, micro_batch: int | None) -> None:
    whole, parted = layer(), layer()
    expected = seen(whole, slice(0, 7))
    replicas = Replicas(parted, micro_batch)
    found = replicas.accumulate(7, lambda part: seen(parted, part))
    assert torch.allclose(found, 2 * expected), "sums are added over the ranks too"
    for ours, theirs in zip(gradients(parted), gradients(whole), strict=True):
        assert torch.allclose(ours, 2 * theirs, atol=1e-6)
    count = len(gradients(parted))
    assert (len(twin.sent), twin.waited) == (count + 1, count)
    replicas.accumulate(7, lambda part: seen(parted, part))
    assert (len(twin.sent), twin.waited) == (2 * count + 2, 2 * count), "no message is awaited twice"


def test_gradients_are_sent_in_the_order_of_the_backward_pass(twin: Twin) -> None:
    model = layer()
    Replicas(model, None).accumulate(7, lambda part: seen(model, part))
    *sent, sums = twin.sent
    places = [gradient.data_ptr() for gradient in gradients(model)]
    layers = [places.index(gradient.data_ptr()) // 2 for gradient in sent]
    assert layers == [1, 1, 0, 0], "the last layer first, while the backward pass goes on"
    assert sums[1] == 14


def test_lone_process_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "all_reduce", lambda *_, **__: pytest.fail("there is nobody to send to"))
    model = layer()
    Replicas(model, 2).accumulate(7, lambda part: seen(model, part))
    assert len(gradients(model)) == 4


def test_first_weights_are_those_of_the_seed_wherever_the_model_is() -> None:
    from training_world import MODEL

    from olmo_core.model.transformer import Transformer

    expected = Transformer(MODEL).initialize(torch.Generator().manual_seed(5)).state_dict()
    torch.manual_seed(99)  # the process's own generator must not matter
    model = Transformer(MODEL)
    initialize(model, 5)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    initialize(model, 6)
    assert not torch.equal(model.head.weight, expected["head.weight"])
