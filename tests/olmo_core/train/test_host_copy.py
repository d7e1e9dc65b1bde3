import pytest
import torch

from olmo_core.train.host_copy import HostCopy


def test_a_copy_keeps_its_memory_and_not_what_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olmo_core.train.host_copy.CHUNK_BYTES", 12)
    state = {"a": torch.randn(7, 3), "none": torch.zeros(0, 3), "count": torch.tensor([2**40])}
    copies = HostCopy(state)
    copies.touch()
    first = copies.take(state)
    places = {name: each.data_ptr() for name, each in first.items()}
    expected = {name: each.clone() for name, each in state.items()}
    state["a"].zero_()
    assert all(torch.equal(first[name], each) for name, each in expected.items())
    second = copies.take(state)
    assert {name: each.data_ptr() for name, each in second.items()} == places
    assert not second["a"].any()
